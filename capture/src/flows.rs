//! The open TCP connections of guests that are up: whoever has one is not ended for want of traffic.
//!
//! Fed with the segments that begin and end connections, in both directions, as a packet socket on a guest's vif sees
//! them: those with SYN, FIN or RST. A classic BPF filter keeps the others from it, so that this costs nothing while data
//! flows. That is enough to count connections, not to know what is sent on them.
//!
//! # What counts
//! ```text
//!           SYN          SYN-ACK                FIN from both sides, RST
//!   (none) ─────▶ asked ─────────▶ open ───────────────────────────────────▶ (none)
//!                   │               │ ▲
//!    64 s after the │  SYN-ACK again│ │ overdue
//!    last SYN, or   ▼               ▼ │
//!    SYN-ACK     (none) ◀───────── doubtful
//! ```
//! All but the first and the last count as connections, whoever has begun them; *asked* and *doubtful* are half open.
//!
//! The segment that completes the handshake has none of the flags. If it never comes, the SYN-ACK is sent again, each
//! time after twice as long: so it goes for a forged SYN, six times within 31 s (Linux: `tcp_synack_retries`). If a
//! SYN-ACK comes a second or third time and the next is overdue then, the segment must have come; from the fourth on
//! nobody believes in it. So forged SYNs keep a guest up for 95 s after the last of them, not for hours; but for a guest
//! that answers with SYN cookies, and sends each SYN-ACK once.
//!
//! # What is not known
//! - Connections whose ends nobody says: a client's machine has been switched off. Whoever asks how many are open also
//!   knows when the guest's last packet was, and believes in none of them [`CONNECTION_LIFE`] after that.
//! - Whether an RST is in the window. Somebody who guesses both ends of a connection can have it counted as closed.
//!
//! # When there is no room
//! The guest's oldest half-open connection goes, or that of the guest that has most of them if all have too many together.
//! It is noted anew at its SYN-ACK. If there is none, the new connection is not noted, and the guest counts as having one
//! for [`CONNECTION_LIFE`].
//!
//! A connection takes about 150 bytes, a half-open one 80 more: 2 MiB at the most with the default [`FlowBounds`].

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::capture::ServiceId;
use crate::moment::Moment;
use crate::source::ends;

/// An open connection on which nothing is sent for so long need not be kept (RFC 5382, REQ-5: 2 h 4 min).
pub const CONNECTION_LIFE: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);

/// A connection is half open for so long after its last SYN or SYN-ACK: twice the longest time between two of them.
pub const HALF_OPEN: Duration = Duration::from_secs(64);

/// A SYN-ACK that came so often was never answered.
const TOO_OFTEN: u8 = 4;

/// The next SYN-ACK is overdue after so many times the time between the last two; it is due after two.
const OVERDUE: u32 = 3;

/// Extension headers of IPv6 that are looked past; senders have use for two or three (RFC 8200, section 4.1).
const MOST_EXTENSIONS: usize = 6;

/// TCP's flags (RFC 9293, section 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Which way a segment goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To the guest.
    ToGuest,
    /// From the guest.
    FromGuest,
}

/// How many connections are noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowBounds {
    /// Of one guest.
    pub per_guest: usize,
    /// Of all.
    pub total: usize,
}

impl Default for FlowBounds {
    /// 2048 of one guest, 8192 of all.
    fn default() -> Self {
        FlowBounds { per_guest: 2048, total: 8192 }
    }
}

/// Both ends, the guest's last.
type Ends = [u8; 36];

/// A connection.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// SYN-ACKs that have been seen; 0 while it is asked for, 1 while it is open.
    answers: u8,
    /// Which sides have sent FIN.
    ended: [bool; 2],
    /// When the last SYN or SYN-ACK was seen.
    last: Moment,
    /// When it is given up, or believed in; while it is half open.
    due: Option<Moment>,
}

#[derive(Debug, Default)]
struct Guest {
    flows: HashMap<Ends, Flow>,
    /// The half-open ones, by the time at which something becomes of them.
    due: BTreeSet<(Moment, Ends)>,
    /// When there was last no room for a connection.
    unnoted: Option<Moment>,
}

/// The connections of all guests.
#[derive(Debug)]
pub struct Flows {
    bounds: FlowBounds,
    /// Those that have any.
    guests: HashMap<u16, Guest>,
    total: usize,
}

impl Flows {
    /// None so far.
    pub fn new(bounds: FlowBounds) -> Self {
        Flows { bounds, guests: HashMap::new(), total: 0 }
    }

    /// A frame from or to a guest: any bytes whatever, also the first part of a frame. Only TCP segments with SYN, FIN
    /// or RST matter; checksums are not looked at, for the guest's kernel or ours may have left them to be filled in.
    /// Returns a guest that has had its last connection with that: this one, or one that had to make room.
    pub fn segment(
        &mut self,
        now: Moment,
        guest: ServiceId,
        direction: Direction,
        frame: &[u8],
    ) -> Option<ServiceId> {
        let Segment { source, destination, flags } = Segment::parse(frame)?;
        let ends = match direction {
            Direction::ToGuest => ends(source, destination),
            Direction::FromGuest => ends(destination, source),
        };
        let begins = flags & SYN != 0 && flags & (FIN | RST) == 0;
        let Some(known) = self.guests.get_mut(&guest.0).filter(|known| known.flows.contains_key(&ends))
        else {
            return begins.then(|| self.enter(now, guest.0, ends, flags & ACK != 0)).flatten();
        };
        if begins {
            known.begins(now, ends, flags & ACK != 0);
        } else if flags & RST != 0 || flags & FIN != 0 && known.has_ended(ends, direction) {
            known.remove(&ends);
            self.total -= 1;
            return self.tidy(guest.0).then_some(guest);
        }
        None
    }

    /// A guest goes on with a connection that was opened on its behalf, of which it has sent no SYN-ACK: `local` is its
    /// end. `ended`: the client has already sent its FIN. Returns as [`Flows::segment`].
    pub fn handed_over(
        &mut self,
        now: Moment,
        guest: ServiceId,
        local: SocketAddr,
        remote: SocketAddr,
        ended: bool,
    ) -> Option<ServiceId> {
        let ends = ends(remote, local);
        let known = self.guests.get(&guest.0).is_some_and(|guest| guest.flows.contains_key(&ends));
        let without = if known { None } else { self.enter(now, guest.0, ends, true) };
        if let Some(flow) = self.guests.get_mut(&guest.0).and_then(|guest| guest.flows.get_mut(&ends)) {
            flow.ended[Direction::ToGuest as usize] |= ended;
        }
        without
    }

    /// A guest may have connections that were not seen to begin: it counts as having one for [`CONNECTION_LIFE`].
    pub fn suspect(&mut self, now: Moment, guest: ServiceId) {
        self.guests.entry(guest.0).or_default().unnoted = Some(now);
    }

    /// Connections of a guest, half-open ones among them.
    pub fn open(&self, guest: ServiceId) -> usize {
        self.guests.get(&guest.0).map_or(0, |guest| guest.flows.len() + usize::from(guest.unnoted.is_some()))
    }

    /// Half-open connections of a guest.
    pub fn half_open(&self, guest: ServiceId) -> usize {
        self.guests.get(&guest.0).map_or(0, |guest| guest.due.len())
    }

    /// Connections that are noted, of all guests.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The guest has ended, and its connections with it.
    pub fn forget(&mut self, guest: ServiceId) {
        if let Some(guest) = self.guests.remove(&guest.0) {
            self.total -= guest.flows.len();
        }
    }

    /// When [`Flows::advance`] has something to do, if nothing else happens before.
    pub fn next(&self) -> Option<Moment> {
        self.guests.values().filter_map(Guest::next).min()
    }

    /// Time has passed. Returns the guests that have had their last connection with that.
    pub fn advance(&mut self, now: Moment) -> Vec<ServiceId> {
        let mut ended = Vec::new();
        let is_late = |guest: &Guest| guest.next().is_some_and(|next| next <= now);
        let late: Vec<u16> =
            self.guests.iter().filter(|(_, guest)| is_late(guest)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(guest) = self.guests.get_mut(&id) else { continue };
            self.total -= guest.advance(now);
            if self.tidy(id) {
                ended.push(ServiceId(id));
            }
        }
        ended.sort_unstable();
        ended
    }

    /// Notes a new connection, if there is room. Returns a guest that has none any more.
    fn enter(&mut self, now: Moment, id: u16, ends: Ends, answered: bool) -> Option<ServiceId> {
        let full = self.guests.get(&id).is_some_and(|guest| guest.flows.len() >= self.bounds.per_guest);
        let victim = if full {
            Some(id)
        } else if self.total >= self.bounds.total {
            let most = self.guests.iter().max_by_key(|(id, guest)| (guest.due.len(), **id));
            most.map(|(id, _)| *id)
        } else {
            None
        };
        let gone = victim.and_then(|victim| self.guests.get_mut(&victim)).is_some_and(Guest::remove_oldest);
        self.total -= usize::from(gone);
        let made_room = victim.is_none() || gone;
        let guest = self.guests.entry(id).or_default();
        if made_room {
            let answers = u8::from(answered);
            guest.flows.insert(ends, Flow { answers, ended: [false; 2], last: now, due: None });
            guest.set_due(ends, (!answered).then(|| now.after(HALF_OPEN)));
            self.total += 1;
        } else {
            guest.unnoted = Some(now);
        }
        victim.filter(|victim| self.tidy(*victim)).map(ServiceId)
    }

    /// Forgets a guest without connections; whether it has none.
    fn tidy(&mut self, id: u16) -> bool {
        let none =
            self.guests.get(&id).is_some_and(|guest| guest.flows.is_empty() && guest.unnoted.is_none());
        if none {
            self.guests.remove(&id);
        }
        none
    }
}

impl Guest {
    fn next(&self) -> Option<Moment> {
        let due = self.due.first().map(|(due, _)| *due);
        due.into_iter().chain(self.unnoted.map(|at| at.after(CONNECTION_LIFE))).min()
    }

    /// A SYN or a SYN-ACK of a connection that is known.
    fn begins(&mut self, now: Moment, ends: Ends, answer: bool) {
        let Some(flow) = self.flows.get_mut(&ends) else { return };
        if !answer && flow.ended != [false; 2] {
            // One that had not ended on both sides gives way to another between the same ends.
            (flow.answers, flow.ended) = (0, [false; 2]);
        }
        if answer {
            flow.answers = flow.answers.saturating_add(1);
        } else if flow.answers > 0 {
            // The answer to it was lost. It comes again, and tells more.
            return;
        }
        let overdue = now.since(flow.last).saturating_mul(OVERDUE).min(HALF_OPEN);
        flow.last = now;
        let due = match flow.answers {
            1 => None,
            2..TOO_OFTEN => Some(now.after(overdue)),
            0 | TOO_OFTEN.. => Some(now.after(HALF_OPEN)),
        };
        self.set_due(ends, due);
    }

    /// Notes that one side has ended a connection; whether both have.
    fn has_ended(&mut self, ends: Ends, direction: Direction) -> bool {
        let Some(flow) = self.flows.get_mut(&ends) else { return false };
        flow.ended[direction as usize] = true;
        flow.ended == [true; 2]
    }

    /// Whatever is due happens; how many connections have gone.
    fn advance(&mut self, now: Moment) -> usize {
        let mut gone = 0;
        while let Some((_, ends)) = self.due.first().filter(|(due, _)| *due <= now).copied() {
            match self.flows.get_mut(&ends) {
                Some(flow) if (1..TOO_OFTEN).contains(&flow.answers) => {
                    flow.answers = 1;
                    self.set_due(ends, None);
                }
                _ => {
                    self.remove(&ends);
                    gone += 1;
                }
            }
        }
        self.unnoted = self.unnoted.filter(|at| at.after(CONNECTION_LIFE) > now);
        gone
    }

    fn remove_oldest(&mut self) -> bool {
        let oldest = self.due.first().copied();
        oldest.inspect(|(_, ends)| self.remove(ends)).is_some()
    }

    fn remove(&mut self, ends: &Ends) {
        self.set_due(*ends, None);
        self.flows.remove(ends);
    }

    fn set_due(&mut self, ends: Ends, due: Option<Moment>) {
        let Some(flow) = self.flows.get_mut(&ends) else { return };
        if let Some(before) = flow.due {
            self.due.remove(&(before, ends));
        }
        flow.due = due;
        self.due.extend(due.map(|due| (due, ends)));
    }
}

/// What there is of interest in a TCP segment.
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
}

impl Segment {
    /// The segment in a frame, if there is the beginning of one. Unlike [`crate::frame`] it takes what is cut off, too
    /// long, or without checksums: no guest is given any of it.
    fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(14)?;
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match ethernet.last_chunk::<2>()? {
            [0x08, 0x00] => ipv4(packet)?,
            [0x86, 0xdd] => ipv6(packet)?,
            _ => return None,
        };
        let [s, t, d, e, .., flags] = *tcp.first_chunk::<14>()?;
        let (source_port, destination_port) = (u16::from_be_bytes([s, t]), u16::from_be_bytes([d, e]));
        Some(Segment {
            source: (source, source_port).into(),
            destination: (destination, destination_port).into(),
            flags,
        })
    }
}

const TCP: u8 = 6;

/// The addresses, and what a packet of TCP carries (RFC 791, section 3.1).
fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = packet.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0x0f) * 4;
    // A fragment after the first has no ports.
    let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if header[0] >> 4 != 4 || header[9] != TCP || later || length < 20 {
        return None;
    }
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?)));
    Some((address(12)?, address(16)?, packet.get(length..)?))
}

/// The same for IPv6 (RFC 8200, sections 3 and 4).
fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let (header, mut rest) = packet.split_at_checked(40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut protocol = header[6];
    for _ in 0..MOST_EXTENSIONS {
        if !matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION) {
            break;
        }
        protocol = *rest.first()?;
        rest = rest.get(8 + usize::from(*rest.get(1)?) * 8..)?;
    }
    let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?)));
    (protocol == TCP).then_some(())?;
    Some((address(8)?, address(24)?, rest))
}
