//! Who is answered, and how often. No I/O; time is an argument.
//!
//! - *Allow-list.* Who is not on it is told so, a few times a second on the whole node, and otherwise hears nothing.
//! - *Questions per source*, an IPv4 address or an IPv6 network of 64 bits. What is beyond is dropped when it came in a
//!   datagram; a connection is not read on before there is a token. Questions that start a service have a limit of their
//!   own.
//! - *Response rate limiting*: who forges the source of questions makes the node send replies to a victim. So equal
//!   responses to one network are limited over UDP: an answer is equal to those for the same name and type, all names
//!   that do not exist are, and all errors of a kind. Of what is beyond, some are sent without content and with the bit
//!   that says so: who has really asked comes again by TCP, and a victim gets no more bytes than were sent in its name.
//!
//! All tables have a fixed size; [`table::Table`] says who is forgotten.

pub mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capture::{Bucket, IpCidr, Key, Rate};
use siphasher::sip::SipHasher13;

use super::counters::{Counters, count};
use crate::config::{Dns, Node};
use crate::directory::Moment;
use table::{Table, Taken};

/// Networks whose packets do not come across the Internet: private, of this link, of this host (RFC 1918, 3927, 4193,
/// 4291, 1122).
const NEAR: [(IpAddr, u8); 8] = [
    (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(std::net::Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V6(std::net::Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128),
];

/// Buckets of each kind. One takes 16 bytes.
const SOURCES: usize = 4096;
const STARTERS: usize = 1024;
const RESPONSES: usize = 8192;

/// Refusals of those who are not allowed, on the whole node.
const REFUSALS_A_SECOND: u32 = 20;
const REFUSALS_AT_ONCE: u32 = 20;

/// Lengths of prefixes within which clients count as one for responses, BIND's and Knot's: a victim is often a network.
const VICTIM_V4: u8 = 24;
const VICTIM_V6: u8 = 56;

/// Length of an IPv6 network of which one host may have all addresses (RFC 4291, section 2.5.4).
const LINK: u8 = 64;

/// What is to be done with a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is dealt with.
    Yes,
    /// Its source is not allowed to ask, and is told.
    Refuse,
    /// Its source is not allowed to ask, and is not told.
    Ignore,
    /// Its source has asked too much. It may again at this time.
    TooMuch(Moment),
}

/// What is to be done with a response over UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// It is sent.
    Whole,
    /// It is sent without what it says, so that who asked comes again by TCP.
    Slipped,
    /// It is not sent.
    Not,
}

/// What responses are equal to each other: a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(u64);

/// The limits of one node, shared by all who answer.
#[derive(Debug)]
pub struct Limits {
    key: Key,
    allow: Vec<IpCidr>,
    /// Whether hosts of the network in which the node was asked are allowed, too.
    on_link: bool,
    queries: Rate,
    boots: Rate,
    responses: Rate,
    slip: u32,
    /// See [`Dns::tcp_idle`].
    pub tcp_idle: Duration,
    buckets: Mutex<Buckets>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Buckets {
    sources: Table,
    starters: Table,
    responses: Table,
    refusals: Bucket,
}

impl Limits {
    /// The limits of a configuration. `key` is a secret of the node; `counters` is where it is counted what they do.
    pub fn new(node: &Node, key: Key, counters: Arc<Counters>) -> Self {
        let Dns { allow, queries, boots, responses, slip, tcp_idle } = node.dns.clone();
        let on_link = allow.is_none();
        let allow = allow.unwrap_or_else(|| {
            let near = NEAR.into_iter().map(|(network, prefix)| IpCidr::new(network.into(), prefix));
            let own = IpCidr::new(IpAddr::V4(node.address).into(), node.prefix);
            near.chain([own]).collect()
        });
        let buckets = Buckets {
            sources: Table::new(SOURCES),
            starters: Table::new(STARTERS),
            responses: Table::new(RESPONSES),
            refusals: Bucket::default(),
        };
        Limits {
            key,
            allow,
            on_link,
            queries,
            boots,
            responses,
            slip,
            tcp_idle,
            buckets: Mutex::new(buckets),
            counters,
        }
    }

    /// Whether a question from `source` is dealt with that has come to the node's address `local`.
    pub fn admit(&self, now: Moment, source: IpAddr, local: Option<IpAddr>) -> Admission {
        let source = source.to_canonical();
        if !self.is_allowed(source, local) {
            let refusals = Rate::per_second(REFUSALS_A_SECOND, REFUSALS_AT_ONCE);
            return if self.buckets().refusals.take(capture::Moment(now.0), &refusals) {
                count(&self.counters.refused);
                Admission::Refuse
            } else {
                count(&self.counters.ignored);
                Admission::Ignore
            };
        }
        if self.queries.interval.is_zero() {
            return Admission::Yes;
        }
        let hash = self.hash(&[&self::source(source)]);
        match self.buckets().sources.take(capture::Moment(now.0), &self.queries, hash) {
            Taken::Yes => Admission::Yes,
            Taken::No { again, .. } => {
                count(&self.counters.limited);
                Admission::TooMuch(Moment(again.0))
            }
        }
    }

    /// Whether a question from `source` may start a service.
    ///
    /// # Errors
    /// Says when it may.
    pub fn may_start(&self, now: Moment, source: IpAddr) -> Result<(), Moment> {
        let hash = self.hash(&[&self::source(source)]);
        match self.buckets().starters.take(capture::Moment(now.0), &self.boots, hash) {
            Taken::Yes => Ok(()),
            Taken::No { again, .. } => {
                count(&self.counters.boots_limited);
                Err(Moment(again.0))
            }
        }
    }

    /// What a response is equal to.
    pub fn kind(&self, response: &[u8]) -> Kind {
        const NAME: usize = 12;
        let code = response.get(3).map_or(0, |flags| flags & 0x0f);
        let has_question = response.get(4..6) == Some(&[0, 1]);
        let mut question = [0; 260];
        let mut length = 0;
        // Of errors and names that do not exist it is not said which: there are as many as somebody wants.
        if code == 0 && has_question {
            let name = response.get(NAME..).unwrap_or_default();
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            let asked = &name[..name.len().min(end + 3).min(question.len())];
            length = asked.len();
            question[..length].copy_from_slice(asked);
            question[..length].make_ascii_lowercase();
        }
        Kind(self.hash(&[&[code], &question[..length]]))
    }

    /// What is to be done with a response of this kind to `client`.
    pub fn respond(&self, now: Moment, client: IpAddr, kind: Kind) -> Sending {
        if self.responses.interval.is_zero() {
            return Sending::Whole;
        }
        let victim = network(client.to_canonical(), VICTIM_V4, VICTIM_V6);
        let hash = self.hash(&[&victim, &kind.0.to_ne_bytes()]);
        match self.buckets().responses.take(capture::Moment(now.0), &self.responses, hash) {
            Taken::Yes => Sending::Whole,
            Taken::No { times, .. } if self.slip > 0 && times % self.slip == 0 => {
                count(&self.counters.slipped);
                Sending::Slipped
            }
            Taken::No { .. } => {
                count(&self.counters.suppressed);
                Sending::Not
            }
        }
    }

    fn is_allowed(&self, source: IpAddr, local: Option<IpAddr>) -> bool {
        let same_link = || match (source, local.map(|local| local.to_canonical())) {
            (IpAddr::V6(_), Some(local @ IpAddr::V6(_))) => {
                network(source, 32, LINK) == network(local, 32, LINK)
            }
            _ => false,
        };
        self.allow.iter().any(|network| network.contains_addr(&source.into())) || self.on_link && same_link()
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut bytes = [0; 300];
        let mut length = 0;
        for part in parts {
            bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        SipHasher13::new_with_key(&self.key).hash(&bytes[..length])
    }

    fn buckets(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whose a question is: as far as a host can choose its address, all of these are one.
pub fn source(address: IpAddr) -> [u8; 17] {
    network(address.to_canonical(), 32, LINK)
}

/// An address's network: its kind, and the bits of the prefix.
fn network(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> [u8; 17] {
    let (kind, bits, prefix) = match address {
        IpAddr::V4(address) => (4, u128::from(address.to_bits()) << 96, prefix_v4),
        IpAddr::V6(address) => (6, address.to_bits(), prefix_v6),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    let mut network = [kind; 17];
    network[1..].copy_from_slice(&(bits & mask).to_be_bytes());
    network
}
