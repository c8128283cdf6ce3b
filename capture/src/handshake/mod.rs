//! Handshakes on behalf of guests that are not up: the second way of not losing a connection.
//!
//! A held SYN is answered when the guest is up. For a guest that can take connections over, it is answered at once:
//! the client's handshake, and often its request, are done while the guest boots, and the guest goes on with the very
//! connection from its [`Record`]. The client sees one connection, and no SYN twice.
//!
//! Initial sequence numbers are RFC 6528's: a clock of 4 µs, and a keyed hash of the addresses and ports, so that one
//! connection's number tells nothing of another's. SipHash-2-4 is the hash.
//!
//! # Bounds
//! Half-open connections are what a flood makes, and few live long: a client answers within a round trip. When there
//! are as many as there may be, the oldest goes if it has been open for [`ANSWER_TIME`] and no answer has come. If it
//! has not, the new SYN is not answered but held (the first way), so that nobody is promised what is then broken:
//! whoever's half-open connection goes would get an RST for his ACK. So forged SYNs are answered at a bounded pace,
//! and never push an honest client out that answers within a second. Open connections have proved their addresses,
//! and stay. They are bounded, too, in all and per source; beyond that, SYNs are held. So they are when a guest has as
//! many connections as it can take over at once ([`Offer::connections`]), half open or not.

mod connection;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handover::{Offer, Record, State};
use siphasher::sip::SipHasher24;
use smoltcp::wire::{EthernetAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use self::connection::{Connection, Next, Secrets};
use crate::config::Limits;
use crate::moment::Moment;
use crate::source::{Key, ends, source_hash};

/// A client whose answer to a SYN-ACK has not come by then has sent another SYN meanwhile, or is none.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// An open connection that no guest has taken by then is reset: longer than any boot.
const KEPT: Duration = Duration::from_secs(60);

/// A segment of a kept connection that is sent to its client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub to: EthernetAddress,
    pub service: u16,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub segment: TcpRepr<'static>,
}

/// Figures since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HandshakeCounters {
    /// SYNs that were answered.
    pub opened: u64,
    /// Connections whose clients have answered.
    pub established: u64,
    /// Half-open connections that had to go for others, or got no answer.
    pub unanswered: u64,
    /// Connections that their clients have reset.
    pub reset: u64,
    /// Connections that were reset because no guest took them, or that broke a rule.
    pub given_up: u64,
    /// Connections handed over.
    pub handed_over: u64,
}

/// All connections that are kept.
#[derive(Debug)]
pub(crate) struct Handshakes {
    key: Key,
    connections: HashMap<u64, Connection>,
    numbers: HashMap<(SocketAddr, SocketAddr), u64>,
    /// By age: numbers only grow.
    half_open: BTreeSet<u64>,
    /// Of each service, by age.
    services: Vec<BTreeSet<u64>>,
    timers: BTreeSet<(Moment, u64)>,
    sources: HashMap<u64, usize>,
    last: u64,
    most_half_open: usize,
    most_open: usize,
    most_of_source: usize,
    pub counters: HandshakeCounters,
}

impl Handshakes {
    pub fn new(key: Key, services: usize, limits: &Limits) -> Self {
        Handshakes {
            key,
            connections: HashMap::new(),
            numbers: HashMap::new(),
            half_open: BTreeSet::new(),
            services: vec![BTreeSet::new(); services],
            timers: BTreeSet::new(),
            sources: HashMap::new(),
            last: 0,
            most_half_open: limits.half_open,
            most_open: limits.open,
            most_of_source: limits.connections_per_source,
            counters: HandshakeCounters::default(),
        }
    }

    /// Answers a SYN, and returns what is kept of it. `None` if it cannot be now; it is then to be held.
    pub fn open(
        &mut self,
        now: Moment,
        service: u16,
        ends: (EthernetAddress, SocketAddr, SocketAddr),
        syn: &TcpPacket<&[u8]>,
        offer: &Offer,
    ) -> Option<(Outgoing, &Record)> {
        let (_, remote, local) = ends;
        if !self.may_have(now, service, remote.ip(), offer) {
            return None;
        }
        let secrets = secrets(&self.key, now, local, remote);
        let connection = Connection::open(now, service, ends, syn, secrets, offer)?;
        self.counters.opened += 1;
        let answer = outgoing(&connection, connection.reply(now));
        Some((answer, &self.enter(connection).record))
    }

    /// Takes in a connection that was opened before. Returns whether there is room for it.
    pub fn adopt(&mut self, now: Moment, service: u16, record: Record, offer: &Offer) -> bool {
        let known = self.numbers.contains_key(&(record.remote, record.local));
        let fits = record.data.len() <= usize::from(offer.window);
        let adopted = !known && fits && self.may_have(now, service, record.remote.ip(), offer);
        if adopted {
            let mut connection = Connection::adopt(now, service, record, offer);
            if connection.record.state != State::SynReceived {
                connection.timer = Some(now.after(KEPT));
            }
            self.enter(connection);
        }
        adopted
    }

    /// Whether there are any.
    pub fn keeps_any(&self) -> bool {
        !self.connections.is_empty()
    }

    /// All connections that are kept, by age.
    pub fn kept(&self) -> impl Iterator<Item = &Record> {
        let mut numbers: Vec<_> = self.connections.keys().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| Some(&self.connections.get(number)?.record))
    }

    /// Whether there is room for another connection; makes some if it can.
    fn may_have(&mut self, now: Moment, service: u16, remote: IpAddr, offer: &Offer) -> bool {
        let of_source = self.sources.get(&source_hash(&self.key, remote)).copied().unwrap_or(0);
        let of_service = self.services[usize::from(service)].len();
        let open = self.connections.len() - self.half_open.len();
        of_source < self.most_of_source
            && of_service < usize::from(offer.connections)
            && open < self.most_open
            && self.has_room(now)
    }

    fn enter(&mut self, connection: Connection) -> &Connection {
        self.last += 1;
        let number = self.last;
        let Record { remote, local, state, .. } = connection.record;
        *self.sources.entry(source_hash(&self.key, remote.ip())).or_default() += 1;
        self.numbers.insert((remote, local), number);
        if state == State::SynReceived {
            self.half_open.insert(number);
        }
        self.services[usize::from(connection.service)].insert(number);
        self.timers.extend(connection.timer.map(|at| (at, number)));
        self.connections.entry(number).insert_entry(connection).into_mut()
    }

    /// Whether a segment from the first of these ends to the second is of a connection that is kept.
    pub fn knows(&self, ends: (SocketAddr, SocketAddr)) -> bool {
        self.numbers.contains_key(&ends)
    }

    /// A segment of a connection that is kept. Returns what is answered, and what is kept if that is more than before.
    pub fn segment(
        &mut self,
        now: Moment,
        ends: (SocketAddr, SocketAddr),
        tcp: &TcpPacket<&[u8]>,
    ) -> (Option<Outgoing>, Option<&Record>) {
        let Some(number) = self.numbers.get(&ends).copied() else { return (None, None) };
        let Some(connection) = self.connections.get_mut(&number) else { return (None, None) };
        let before = (connection.record.state, connection.record.rcv_nxt);
        let half_open = before.0 == State::SynReceived;
        let timer = connection.timer;
        let next = connection.segment(tcp);
        let changed = before != (connection.record.state, connection.record.rcv_nxt);
        if half_open && connection.record.state != State::SynReceived {
            self.counters.established += 1;
            self.half_open.remove(&number);
            timer.map(|at| self.timers.remove(&(at, number)));
            let until = connection.began.after(KEPT);
            connection.timer = Some(until);
            self.timers.insert((until, number));
        }
        let answer = match next {
            Next::Quiet => None,
            Next::Reply => Some(outgoing(connection, connection.reply(now))),
            Next::Reset(sequence) => Some(outgoing(connection, reset(connection, sequence))),
            Next::Gone => {
                self.counters.reset += 1;
                self.remove(number);
                return (None, None);
            }
        };
        (answer, self.connections.get(&number).map(|connection| &connection.record).filter(|_| changed))
    }

    /// When [`Handshakes::advance`] has something to do.
    pub fn next(&self) -> Option<Moment> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time has passed. Returns a segment that is due; it is called until there is none.
    pub fn advance(&mut self, now: Moment) -> Option<Outgoing> {
        while let Some((at, number)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, number));
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            if connection.record.state != State::SynReceived {
                return self.give_up(number);
            }
            match connection.timer(now) {
                Next::Reply => {
                    self.timers.extend(connection.timer.map(|at| (at, number)));
                    return Some(outgoing(connection, connection.reply(now)));
                }
                _ => {
                    self.counters.unanswered += 1;
                    self.remove(number);
                }
            }
        }
        None
    }

    /// Connections that are kept for a service.
    pub fn count(&self, service: u16) -> usize {
        self.services[usize::from(service)].len()
    }

    /// Gives up a service's connections. Returns a segment that is due; it is called until there is none. Half-open
    /// ones go in silence: their clients will try again.
    pub fn give_up_one(&mut self, service: u16) -> Option<Outgoing> {
        while let Some(number) = self.services[usize::from(service)].first().copied() {
            if !self.half_open.contains(&number) {
                return self.give_up(number);
            }
            self.counters.given_up += 1;
            self.remove(number);
        }
        None
    }

    /// Takes a service's connections out, in the order in which they were opened.
    pub fn hand_over(&mut self, service: u16) -> Vec<Record> {
        let numbers: Vec<_> = self.services[usize::from(service)].iter().copied().collect();
        let taken = numbers.into_iter().filter_map(|number| self.remove(number));
        let records: Vec<_> = taken.map(|connection| connection.record).collect();
        self.counters.handed_over += records.len() as u64;
        records
    }

    fn has_room(&mut self, now: Moment) -> bool {
        if self.half_open.len() < self.most_half_open {
            return true;
        }
        let oldest = self.half_open.first().copied();
        let old = oldest.filter(|number| {
            self.connections.get(number).is_some_and(|connection| now.since(connection.began) >= ANSWER_TIME)
        });
        if let Some(number) = old {
            self.counters.unanswered += 1;
            self.remove(number);
        }
        old.is_some()
    }

    fn give_up(&mut self, number: u64) -> Option<Outgoing> {
        let connection = self.remove(number)?;
        self.counters.given_up += 1;
        Some(outgoing(&connection, reset(&connection, connection.last_sequence())))
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        let Record { remote, local, .. } = connection.record;
        self.numbers.remove(&(remote, local));
        self.half_open.remove(&number);
        self.services[usize::from(connection.service)].remove(&number);
        connection.timer.map(|at| self.timers.remove(&(at, number)));
        let source = source_hash(&self.key, remote.ip());
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        Some(connection)
    }
}

fn outgoing(connection: &Connection, segment: TcpRepr<'static>) -> Outgoing {
    let Record { local, remote, .. } = connection.record;
    let (to, service) = (connection.mac, connection.service);
    Outgoing { to, service, source: local.ip(), destination: remote.ip(), segment }
}

fn reset(connection: &Connection, sequence: u32) -> TcpRepr<'static> {
    TcpRepr {
        src_port: connection.record.local.port(),
        dst_port: connection.record.remote.port(),
        control: TcpControl::Rst,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// RFC 6528, section 3.
fn secrets(key: &Key, now: Moment, local: SocketAddr, remote: SocketAddr) -> Secrets {
    let hash = SipHasher24::new_with_key(key).hash(&ends(local, remote));
    let clock = (now.0 / 4000) as u32;
    Secrets { iss: clock.wrapping_add(hash as u32), timestamp_offset: (hash >> 32) as u32 }
}
