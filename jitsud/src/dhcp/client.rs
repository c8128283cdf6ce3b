//! One lease: asked for, kept, lost and asked for again (RFC 2131, section 4.4). No I/O.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::message::{Kind, Question, Reply, question};
use super::{Identity, Lease};
use crate::directory::Moment;
use crate::random::Random;

/// First and longest pause between questions; doubled each time (RFC 2131, section 4.1).
const FIRST_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
/// Pauses vary by so many milliseconds, up or down (same place).
const JITTER: u32 = 1000;

/// How often an offered address is asked for: with the pauses, the 60 s that RFC 2131 gives as an example
/// (section 3.1).
const REQUESTS: u32 = 4;

/// Shortest pause while a lease is being prolonged (RFC 2131, section 4.4.5).
const PROLONG_PAUSE: Duration = Duration::from_secs(60);

/// What happened to the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The client has a lease: the first one, one that was prolonged, or another one.
    Leased(Lease),
    /// A server says that the address is not the client's (any more). Another one is asked for.
    Refused,
    /// It has expired and no server has prolonged it. One is asked for as at first.
    Expired,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// To be broadcast.
    pub send: Option<Vec<u8>>,
    /// To be told.
    pub event: Option<Event>,
}

/// The client of one lease.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    /// The number of the present exchange; replies to others are not for us.
    xid: u32,
    /// Since when it has been without an answer, for servers that care.
    began: Moment,
    /// When the state was entered.
    since: Moment,
    /// Questions sent in this state.
    sent: u32,
    /// Refusals since there was a lease.
    refusals: u32,
    /// What is to happen next happens then.
    deadline: Moment,
    /// What it has or had last.
    lease: Option<Lease>,
}

/// As in figure 5 of RFC 2131, which has the names.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// DHCPDISCOVER is out, or will be at the deadline.
    Selecting,
    /// DHCPREQUEST is out for this.
    Requesting(Lease),
    /// All is well until the deadline.
    Bound { address: Ipv4Addr, expires: Moment },
    /// DHCPREQUEST is out for what it has. RENEWING and INIT-REBOOT are the same here: see the module.
    Rebinding { address: Ipv4Addr, expires: Moment },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Selecting => "SELECTING",
            State::Requesting(_) => "REQUESTING",
            State::Bound { .. } => "BOUND",
            State::Rebinding { .. } => "REBINDING",
        })
    }
}

impl Client {
    /// A client without a lease, which asks for one at once.
    pub fn new(identity: Identity, now: Moment, random: &mut Random) -> Self {
        Client {
            identity,
            state: State::Selecting,
            xid: random.number(),
            began: now,
            since: now,
            sent: 0,
            refusals: 0,
            deadline: now,
            lease: None,
        }
    }

    /// A client that goes on with a lease that an earlier one has asked for at `asked`. It is used at once, and asked
    /// for again at once: the network may be another one by now.
    pub fn resume(identity: Identity, lease: Lease, asked: Moment, now: Moment, random: &mut Random) -> Self {
        let (address, expires) = (lease.addressing.address, asked.after(lease.duration));
        let state = State::Bound { address, expires };
        Client { state, lease: Some(lease), ..Self::new(identity, now, random) }
    }

    /// The lease that it has now, and when it was asked for.
    pub fn holds(&self) -> Option<(Moment, &Lease)> {
        let (State::Bound { expires, .. } | State::Rebinding { expires, .. }) = self.state else {
            return None;
        };
        let lease = self.lease.as_ref()?;
        Some((expires.before(lease.duration), lease))
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it has, or had last: an address stays in use when its lease has expired, until there is another one.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When [`Self::timer`] is to be called next.
    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    /// To be called at the deadline, or later. Earlier, nothing happens.
    pub fn timer(&mut self, now: Moment, random: &mut Random) -> Output {
        if now < self.deadline {
            return Output::default();
        }
        match self.state {
            State::Selecting => self.ask(now, random),
            // The server that offered it is gone.
            State::Requesting(_) if self.sent >= REQUESTS => self.start_over(now, random),
            State::Requesting(_) => self.ask(now, random),
            State::Bound { address, expires } => {
                self.enter(State::Rebinding { address, expires }, now, "the lease is to be prolonged");
                (self.xid, self.began) = (random.number(), now);
                self.ask(now, random)
            }
            State::Rebinding { expires, .. } if now >= expires => {
                Output { event: Some(Event::Expired), ..self.start_over(now, random) }
            }
            State::Rebinding { .. } => self.ask(now, random),
        }
    }

    /// To be called with everything that arrives, whoever it is for.
    pub fn receive(&mut self, now: Moment, reply: &Reply, random: &mut Random) -> Output {
        // One that is about to ask has asked nobody yet.
        if reply.xid != self.xid || reply.mac != self.identity.mac || self.sent == 0 {
            return Output::default();
        }
        match (&self.state, reply.kind, &reply.lease) {
            (State::Selecting, Kind::Offer, Some(offer)) => {
                self.enter(State::Requesting(offer.clone()), now, "an address was offered");
                self.ask(now, random)
            }
            (State::Requesting(offer), Kind::Ack, Some(lease))
                if reply.server == offer.server && lease.addressing.address == offer.addressing.address =>
            {
                self.bind(lease.clone(), now)
            }
            (State::Rebinding { address, .. }, Kind::Ack, Some(lease))
                if lease.addressing.address == *address =>
            {
                self.bind(lease.clone(), now)
            }
            (State::Requesting(offer), Kind::Nak, _) if reply.server == offer.server => {
                self.refused(now, random)
            }
            // Whichever server knows better.
            (State::Rebinding { .. }, Kind::Nak, _) => self.refused(now, random),
            _ => Output::default(),
        }
    }

    fn bind(&mut self, lease: Lease, now: Moment) -> Output {
        // It runs from when it was first asked for (RFC 2131, section 4.4.1).
        let asked = self.since;
        let (address, expires) = (lease.addressing.address, asked.after(lease.duration));
        self.enter(State::Bound { address, expires }, now, "the server agreed");
        self.deadline = asked.after(lease.renewal).max(now);
        self.refusals = 0;
        self.lease = Some(lease.clone());
        Output { send: None, event: Some(Event::Leased(lease)) }
    }

    /// Asks again after a pause that grows: a server that refuses what it has just offered would make the two
    /// talk without end.
    fn refused(&mut self, now: Moment, random: &mut Random) -> Output {
        self.enter(State::Selecting, now, "the server refused");
        self.refusals = self.refusals.saturating_add(1);
        self.xid = random.number();
        self.deadline = now.after(pause(self.refusals, random));
        self.began = self.deadline;
        Output { send: None, event: Some(Event::Refused) }
    }

    fn start_over(&mut self, now: Moment, random: &mut Random) -> Output {
        self.enter(State::Selecting, now, "no server answers");
        (self.xid, self.began) = (random.number(), now);
        self.ask(now, random)
    }

    /// Sends the state's question and sets the deadline for the next one.
    fn ask(&mut self, now: Moment, random: &mut Random) -> Output {
        self.sent = self.sent.saturating_add(1);
        let (say, next) = match &self.state {
            State::Selecting => {
                let wish = self.lease.as_ref().map(|lease| lease.addressing.address);
                (Question::Discover(wish), now.after(pause(self.sent, random)))
            }
            State::Requesting(offer) => (
                Question::Request(offer.addressing.address, offer.server),
                now.after(pause(self.sent, random)),
            ),
            State::Bound { address, expires } | State::Rebinding { address, expires } => {
                let half = expires.since(now) / 2;
                (Question::Prolong(*address), now.after(half.max(PROLONG_PAUSE)).min(*expires))
            }
        };
        self.deadline = next;
        let secs = u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX);
        Output { send: Some(question(&self.identity, self.xid, secs, say)), event: None }
    }

    fn enter(&mut self, state: State, now: Moment, why: &str) {
        tracing::debug!(name = self.identity.name, from = %self.state, to = %state, why, "DHCP");
        (self.state, self.since, self.sent) = (state, now, 0);
    }
}

/// How long to wait after the `number`th question, counted from 1.
fn pause(number: u32, random: &mut Random) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(number.saturating_sub(1)).unwrap_or(u32::MAX));
    let jitter = Duration::from_millis(random.below(2 * JITTER).into());
    doubled.min(LONGEST_PAUSE) + jitter - Duration::from_millis(JITTER.into())
}
