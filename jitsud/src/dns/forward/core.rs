//! The forward table: what has been asked, of whom, and who waits for it. No I/O; time comes in as an argument.
//!
//! A *flight* is one question on its way, for any number of clients who wait for its answer, and an *attempt* is one
//! message of it to one server, with a socket of its own. What comes in at that socket must have the attempt's number
//! and its name in the attempt's spelling (RFC 5452; draft-vixie-dnsext-dns0x20-00): with the port, some 40 bits to
//! guess. Where there is doubt, and where an answer is too long for a datagram, the same server is asked over TCP.
//!
//! No client can keep others out. It may have [`SHARE`] questions of the [`MAX_WAITING`] there is room for; one more
//! takes the place of its own oldest. When there is no room at all, whoever has the most gives up its oldest.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, ErrorCode, Match, held_against, is_truncated};
use super::cache::Cache;
use super::numbers::Numbers;
use super::question::{EDNS_UDP, Key, Question};
use super::special::{self, Scope};
use super::upstreams::Upstreams;
use super::wire::{Edns, HEADER, code, flags2, flags3};
use crate::directory::Moment;

/// Most clients' questions that wait, and so most flights.
pub const MAX_WAITING: usize = 256;
/// Most of them by one client.
pub const SHARE: usize = 64;
/// Most open attempts of one flight: when a third begins, the first is given up.
const MAX_ATTEMPTS: usize = 2;
/// Most open TCP connections, for each of which there can be 64 KiB of an answer; and most for one client.
pub const MAX_TCP: usize = 32;
const TCP_SHARE: usize = 8;

/// How long a question is worth an answer: as long as a client's resolver waits (glibc, `RES_TIMEOUT`).
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take over TCP before another one is asked, too.
const TCP_WAIT: Duration = Duration::from_millis(1500);

/// How many messages that are no answer a socket takes before it is believed that somebody guesses.
const MAX_STRAYS: u32 = 8;

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// One message to one server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct FlightId(u64);

/// How a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this from a new socket, and tell what comes in there.
    Open {
        /// Which attempt it is.
        attempt: AttemptId,
        /// The server.
        server: SocketAddr,
        /// How.
        via: Via,
        /// The message.
        message: Vec<u8>,
    },
    /// Close the attempt's socket.
    Close(AttemptId),
    /// Give this reply to who waits.
    Reply(Ticket, Vec<u8>),
}

/// What becomes of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Here is the reply.
    Now(Vec<u8>),
    /// The reply will come with this ticket.
    Later(Ticket),
}

/// What there is, and what there has been.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Questions that wait for an answer, [`MAX_WAITING`] at most.
    pub waiting: usize,
    /// Open sockets, two for each question at most.
    pub sockets: usize,
    /// Answers in the cache.
    pub kept: usize,
    /// The bytes that they take, [`super::cache::MAX_BYTES`] at most.
    pub kept_bytes: usize,
    /// Questions so far.
    pub questions: u64,
    /// Those of them that the cache had the answer to.
    pub from_cache: u64,
    /// Messages to upstream servers.
    pub sent: u64,
    /// Questions without an answer, those included whose place was given to others.
    pub unanswered: u64,
}

/// The table, the cache, and what is known of the servers.
#[derive(Debug)]
pub struct Core {
    upstreams: Upstreams,
    cache: Cache,
    numbers: Numbers,
    flights: BTreeMap<FlightId, Flight>,
    by_key: HashMap<Key, FlightId>,
    waiting: BTreeMap<Ticket, Waiter>,
    attempts: HashMap<AttemptId, FlightId>,
    last: u64,
    figures: Figures,
}

#[derive(Debug)]
struct Waiter {
    question: Question,
    flight: FlightId,
}

#[derive(Debug)]
struct Flight {
    key: Key,
    /// Never empty.
    waiters: Vec<Ticket>,
    /// The servers in the order in which they are asked, over and over.
    order: Vec<SocketAddr>,
    turn: usize,
    /// The servers that need not be asked again.
    failed: Vec<SocketAddr>,
    open: Vec<Attempt>,
    /// When another server is asked.
    next: Moment,
    /// When it is given up.
    deadline: Moment,
    /// What is said if nobody has an answer.
    otherwise: Otherwise,
}

#[derive(Debug)]
enum Otherwise {
    /// Nobody has said anything.
    Silence,
    /// The last to be asked could not be reached.
    Unreachable,
    /// A server has said that there is no answer, perhaps with an extended error.
    Failure(Option<Box<[u8]>>),
    /// There is an answer that is too long for a datagram, but none to be had over TCP.
    Truncated,
}

#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    server: SocketAddr,
    via: Via,
    number: u16,
    /// Name, type and class as they were sent.
    asked: Box<[u8]>,
    with_edns: bool,
    since: Moment,
    strays: u32,
}

impl Core {
    /// With these servers, the most preferred first. `numbers` are those that nobody can guess.
    pub fn new(upstreams: &[SocketAddr], numbers: Numbers) -> Self {
        let mut core = Core {
            upstreams: Upstreams::default(),
            cache: Cache::default(),
            numbers,
            flights: BTreeMap::new(),
            by_key: HashMap::new(),
            waiting: BTreeMap::new(),
            attempts: HashMap::new(),
            last: 0,
            figures: Figures::default(),
        };
        core.upstreams.replace(upstreams);
        core
    }

    /// Other servers from now on. What the ones before have said is forgotten: it may be of another network.
    pub fn replace_upstreams(&mut self, upstreams: &[SocketAddr]) {
        if self.upstreams.replace(upstreams) {
            self.cache = Cache::default();
        }
    }

    /// A client's question.
    pub fn ask(&mut self, question: Question, now: Moment, effects: &mut Vec<Effect>) -> Asked {
        self.figures.questions += 1;
        let at_once = |answer: &Answer| Asked::Now(answer.reply(&question, Duration::ZERO));
        let scope = special::scope(&question.key);
        if let Scope::Here(answer) = &scope {
            return at_once(answer);
        }
        if let Some((answer, age)) = self.cache.get(&question.key, now) {
            self.figures.from_cache += 1;
            return Asked::Now(answer.reply(&question, age));
        }
        if !question.recursion_desired {
            const WHY: &str = "not in the cache, and recursion is not desired";
            return at_once(&Answer::bare(code::REFUSED).because(ErrorCode::NotAuthoritative, WHY));
        }
        let order = self.upstreams.order(matches!(scope, Scope::House(_)));
        if order.is_empty() {
            const WHY: &str = "no upstream server is known";
            return match &scope {
                Scope::House(answer) => at_once(answer),
                _ => at_once(&Answer::failure(ErrorCode::NoReachableAuthority, WHY)),
            };
        }
        self.make_room(question.client, effects);
        let ticket = Ticket(self.number());
        let flight = match self.by_key.get(&question.key) {
            Some(flight) => *flight,
            None => self.take_off(question.key.clone(), order, now, effects),
        };
        if let Some(flight) = self.flights.get_mut(&flight) {
            flight.waiters.push(ticket);
        }
        self.waiting.insert(ticket, Waiter { question, flight });
        Asked::Later(ticket)
    }

    /// A message came in at an attempt's socket.
    pub fn received(&mut self, id: AttemptId, message: &[u8], now: Moment, effects: &mut Vec<Effect>) {
        let Some((flight_id, attempt)) = self.attempt(id) else { return };
        let (server, via) = (attempt.server, attempt.via);
        let found = held_against(message, attempt.number, &attempt.asked);
        let (end, since, with_edns) = (HEADER + attempt.asked.len(), attempt.since, attempt.with_edns);
        match (found, via) {
            (Match::Stray, Via::Udp) => {
                attempt.strays += 1;
                if attempt.strays == MAX_STRAYS {
                    self.over_tcp(flight_id, id, now, effects);
                }
                return;
            }
            (Match::Stray, Via::Tcp) => return self.server_failed(flight_id, id, now, effects),
            (Match::OtherCase, Via::Udp) if !self.upstreams.respells(server) => {
                return self.over_tcp(flight_id, id, now, effects);
            }
            (Match::OtherCase, Via::Tcp) => self.upstreams.has_respelt(server),
            (Match::OtherCase, Via::Udp) | (Match::Ours, _) => {}
        }
        let Some(flight) = self.flights.get_mut(&flight_id) else { return };
        if is_truncated(message) {
            if via == Via::Tcp {
                return self.server_failed(flight_id, id, now, effects);
            }
            flight.otherwise = Otherwise::Truncated;
            return self.over_tcp(flight_id, id, now, effects);
        }
        let Some(answer) = Answer::read(message, end, flight.key.kind()) else {
            return self.server_failed(flight_id, id, now, effects);
        };
        match answer.code {
            code::NO_ERROR | code::NX_DOMAIN => {
                if via == Via::Udp {
                    self.upstreams.has_answered(server, now.since(since));
                }
                self.land(flight_id, answer, now, effects);
            }
            // A server that does not know EDNS (RFC 6891, section 7).
            code::FORM_ERR | code::NOT_IMP if with_edns => {
                self.close(flight_id, id, effects);
                self.attempt_at(flight_id, server, via, false, now, effects);
            }
            code => {
                if code == code::SERV_FAIL {
                    self.upstreams.has_answered(server, now.since(since));
                    if !matches!(flight.otherwise, Otherwise::Truncated) {
                        flight.otherwise = Otherwise::Failure(answer.extended_error);
                    }
                } else {
                    self.upstreams.is_silent(server);
                }
                self.server_failed(flight_id, id, now, effects);
            }
        }
    }

    /// An attempt's socket is of no use any more: the server cannot be reached, or has closed the connection.
    pub fn failed(&mut self, id: AttemptId, now: Moment, effects: &mut Vec<Effect>) {
        let Some((flight_id, attempt)) = self.attempt(id) else { return };
        let (server, via) = (attempt.server, attempt.via);
        // Over TCP it is no more than a server that does not speak it.
        if via == Via::Udp {
            self.upstreams.is_useless(server);
        }
        if let Some(flight) = self.flights.get_mut(&flight_id)
            && matches!(flight.otherwise, Otherwise::Silence)
        {
            flight.otherwise = Otherwise::Unreachable;
        }
        self.server_failed(flight_id, id, now, effects);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due = self.flights.iter().filter(|(_, flight)| flight.next.min(flight.deadline) <= now);
        let due: Vec<FlightId> = due.map(|(id, _)| *id).collect();
        for id in due {
            let Some(flight) = self.flights.get(&id) else { continue };
            if flight.deadline <= now {
                self.give_up(id, now, effects);
                continue;
            }
            if let Some(Attempt { server, via: Via::Udp, .. }) = flight.open.last() {
                self.upstreams.is_silent(*server);
            }
            self.ask_another(id, true, now, effects);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        self.flights.values().map(|flight| flight.next.min(flight.deadline)).min()
    }

    /// What there is, and what there has been.
    pub fn figures(&self) -> Figures {
        Figures {
            waiting: self.waiting.len(),
            sockets: self.attempts.len(),
            kept: self.cache.count(),
            kept_bytes: self.cache.bytes(),
            ..self.figures
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn attempt(&mut self, id: AttemptId) -> Option<(FlightId, &mut Attempt)> {
        let flight_id = *self.attempts.get(&id)?;
        let flight = self.flights.get_mut(&flight_id)?;
        let attempt = flight.open.iter_mut().find(|attempt| attempt.id == id)?;
        Some((flight_id, attempt))
    }

    /// Sees to it that this client can have one more question.
    fn make_room(&mut self, client: IpAddr, effects: &mut Vec<Effect>) {
        let of = |client: IpAddr| move |(_, waiter): &(&Ticket, &Waiter)| waiter.question.client == client;
        let oldest = if self.waiting.iter().filter(of(client)).count() >= SHARE {
            self.waiting.iter().find(of(client))
        } else if self.waiting.len() >= MAX_WAITING {
            let mut counts: HashMap<IpAddr, usize> = HashMap::new();
            for waiter in self.waiting.values() {
                *counts.entry(waiter.question.client).or_default() += 1;
            }
            let most = counts.values().copied().max().unwrap_or_default();
            self.waiting.iter().find(|(_, waiter)| counts.get(&waiter.question.client) == Some(&most))
        } else {
            None
        };
        if let Some(ticket) = oldest.map(|(ticket, _)| *ticket) {
            self.displace(ticket, effects);
        }
    }

    fn displace(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Some(Waiter { question, flight: id }) = self.waiting.remove(&ticket) else { return };
        self.figures.unanswered += 1;
        const WHY: &str = "too many questions wait for an answer";
        let answer = Answer::failure(ErrorCode::Other, WHY);
        effects.push(Effect::Reply(ticket, answer.reply(&question, Duration::ZERO)));
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.waiters.retain(|waiter| *waiter != ticket);
        if flight.waiters.is_empty() {
            self.remove(id, effects);
        }
    }

    fn take_off(
        &mut self,
        key: Key,
        order: Vec<SocketAddr>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> FlightId {
        let id = FlightId(self.number());
        let trial = self.upstreams.trial(&order, now);
        self.by_key.insert(key.clone(), id);
        let flight = Flight {
            key,
            waiters: Vec::new(),
            order,
            turn: 0,
            failed: Vec::new(),
            open: Vec::new(),
            next: now,
            deadline: now.after(PATIENCE),
            otherwise: Otherwise::Silence,
        };
        self.flights.insert(id, flight);
        if let Some(server) = trial {
            self.attempt_at(id, server, Via::Udp, true, now, effects);
        }
        self.ask_another(id, true, now, effects);
        id
    }

    /// Asks the next server, if there is one that is worth it. `again`: even one that has been asked and may yet answer.
    fn ask_another(&mut self, id: FlightId, again: bool, now: Moment, effects: &mut Vec<Effect>) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let turns = flight.turn..flight.turn + flight.order.len();
        let worth = |turn: &usize| {
            let server = &flight.order[turn % flight.order.len()];
            let is_open = flight.open.iter().any(|attempt| attempt.server == *server);
            !flight.failed.contains(server) && (again || !is_open)
        };
        let Some(turn) = turns.into_iter().find(worth) else {
            match flight.open.is_empty() {
                true => self.give_up(id, now, effects),
                false if again => flight.next = flight.deadline,
                false => {}
            }
            return;
        };
        flight.turn = turn + 1;
        let (server, round) = (flight.order[turn % flight.order.len()], turn / flight.order.len());
        let wait = self.upstreams.wait(server) * (1 << round.min(4));
        flight.next = now.after(wait);
        self.upstreams.is_asked(server, now);
        self.attempt_at(id, server, Via::Udp, true, now, effects);
    }

    fn attempt_at(
        &mut self,
        flight_id: FlightId,
        server: SocketAddr,
        via: Via,
        with_edns: bool,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let id = AttemptId(self.number());
        let respells = self.upstreams.respells(server);
        let Some(flight) = self.flights.get_mut(&flight_id) else { return };
        if flight.open.len() >= MAX_ATTEMPTS {
            let first = flight.open.remove(0);
            self.attempts.remove(&first.id);
            effects.push(Effect::Close(first.id));
        }
        let number = self.numbers.number() as u16;
        let mut asked = flight.key.question().to_vec();
        if !respells {
            self.numbers.spell(&mut asked[..flight.key.name().len()]);
        }
        let mut message = Vec::with_capacity(HEADER + asked.len() + 11);
        message.extend(number.to_be_bytes());
        let disabled = if flight.key.checking_disabled() { flags3::CHECKING_DISABLED } else { 0 };
        message.extend([flags2::RECURSION_DESIRED, disabled, 0, 1, 0, 0, 0, 0, 0, with_edns.into()]);
        message.extend(&asked);
        if with_edns {
            Edns { payload: EDNS_UDP, dnssec: flight.key.dnssec() }.put(&mut message, &[]);
        }
        flight.open.push(Attempt {
            id,
            server,
            via,
            number,
            asked: asked.into(),
            with_edns,
            since: now,
            strays: 0,
        });
        self.attempts.insert(id, flight_id);
        self.figures.sent += 1;
        effects.push(Effect::Open { attempt: id, server, via, message });
    }

    /// Asks the same server over TCP instead, if there is room for a connection.
    fn over_tcp(&mut self, flight_id: FlightId, id: AttemptId, now: Moment, effects: &mut Vec<Effect>) {
        let Some((_, attempt)) = self.attempt(id) else { return };
        let (server, with_edns) = (attempt.server, attempt.with_edns);
        let owner = |flight: &Flight| {
            let first = flight.waiters.first().and_then(|ticket| self.waiting.get(ticket));
            first.map(|waiter| waiter.question.client)
        };
        let mine = self.flights.get(&flight_id).and_then(owner);
        let (mut all, mut own) = (0, 0);
        for flight in self.flights.values() {
            let connections = flight.open.iter().filter(|attempt| attempt.via == Via::Tcp).count();
            all += connections;
            own += if connections > 0 && owner(flight) == mine { connections } else { 0 };
        }
        if all >= MAX_TCP || own >= TCP_SHARE {
            return self.server_failed(flight_id, id, now, effects);
        }
        self.close(flight_id, id, effects);
        self.attempt_at(flight_id, server, Via::Tcp, with_edns, now, effects);
        if let Some(flight) = self.flights.get_mut(&flight_id) {
            flight.next = now.after(TCP_WAIT);
        }
    }

    /// This server will not give an answer: on to the next.
    fn server_failed(&mut self, flight_id: FlightId, id: AttemptId, now: Moment, effects: &mut Vec<Effect>) {
        let Some((_, attempt)) = self.attempt(id) else { return };
        let server = attempt.server;
        self.close(flight_id, id, effects);
        if let Some(flight) = self.flights.get_mut(&flight_id) {
            flight.failed.push(server);
        }
        self.ask_another(flight_id, false, now, effects);
    }

    /// There is no answer.
    fn give_up(&mut self, id: FlightId, now: Moment, effects: &mut Vec<Effect>) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        self.figures.unanswered += flight.waiters.len() as u64;
        let answer = match &mut flight.otherwise {
            Otherwise::Silence | Otherwise::Failure(None) => silence(),
            Otherwise::Unreachable => {
                Answer::failure(ErrorCode::NetworkError, "no upstream server can be reached")
            }
            Otherwise::Failure(error) => silence().saying(error.take()),
            Otherwise::Truncated => Answer::truncated(),
        };
        self.land(id, answer, now, effects);
    }

    /// The answer is here: everybody who waits gets it.
    fn land(&mut self, id: FlightId, answer: Answer, now: Moment, effects: &mut Vec<Effect>) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let answer = Arc::new(answer);
        self.cache.put(&flight.key, &answer, now);
        for ticket in std::mem::take(&mut flight.waiters) {
            if let Some(Waiter { question, .. }) = self.waiting.remove(&ticket) {
                let reply = match answer.truncated && question.over_tcp {
                    true => silence().reply(&question, Duration::ZERO),
                    false => answer.reply(&question, Duration::ZERO),
                };
                effects.push(Effect::Reply(ticket, reply));
            }
        }
        self.remove(id, effects);
    }

    fn remove(&mut self, id: FlightId, effects: &mut Vec<Effect>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.by_key.remove(&flight.key);
        for attempt in flight.open {
            self.attempts.remove(&attempt.id);
            effects.push(Effect::Close(attempt.id));
        }
    }

    fn close(&mut self, flight: FlightId, id: AttemptId, effects: &mut Vec<Effect>) {
        if let Some(flight) = self.flights.get_mut(&flight) {
            flight.open.retain(|attempt| attempt.id != id);
        }
        if self.attempts.remove(&id).is_some() {
            effects.push(Effect::Close(id));
        }
    }
}

fn silence() -> Answer {
    Answer::failure(ErrorCode::NoReachableAuthority, "no upstream server has answered the question")
}
