//! A client's question.

use std::net::IpAddr;

use super::wire::{self, Edns, HEADER, QUESTION_TAIL, flags2, flags3, kind};

/// Longest reply over UDP without EDNS (RFC 1035, section 2.3.4).
const PLAIN_UDP: usize = 512;
/// Longest reply over UDP that we send with EDNS, and take: no fragments anywhere (DNS flag day 2020).
pub const EDNS_UDP: u16 = 1232;

/// What is asked, in lower case, with type, class, and whether signatures are wanted and checked: two questions with
/// the same key have the same answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(Box<[u8]>);

impl Key {
    /// Name, type and class as in a message, in lower case.
    pub fn question(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }

    /// The name as in a message, in lower case.
    pub fn name(&self) -> &[u8] {
        &self.0[..self.0.len() - 1 - QUESTION_TAIL]
    }

    /// The type that is asked for.
    pub fn kind(&self) -> u16 {
        wire::u16_at(&self.0, self.name().len()).unwrap_or_default()
    }

    /// Whether signatures are wanted.
    pub fn dnssec(&self) -> bool {
        self.last() & DNSSEC != 0
    }

    /// Whether others are not to check signatures.
    pub fn checking_disabled(&self) -> bool {
        self.last() & CHECKING_DISABLED != 0
    }

    /// Bytes of memory that it takes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn last(&self) -> u8 {
        self.0.last().copied().unwrap_or_default()
    }
}

const DNSSEC: u8 = 1;
const CHECKING_DISABLED: u8 = 2;

/// One question, and how its reply is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Who asks.
    pub client: IpAddr,
    /// The client's number for it.
    pub id: u16,
    /// Name, type and class, byte for byte.
    pub asked: Box<[u8]>,
    /// The same as a key.
    pub key: Key,
    /// Whether others may be asked.
    pub recursion_desired: bool,
    /// What the client says of itself; a reply has EDNS if and only if its question had (RFC 6891, section 6.1.1).
    pub edns: Option<Edns>,
    /// Most bytes of the reply.
    pub limit: usize,
    /// Whether it came on a connection, and so will its reply.
    pub over_tcp: bool,
}

impl Question {
    /// Reads a message that has been found to be a query with one question. `None` if it is none after all.
    pub fn read(message: &[u8], client: IpAddr, over_tcp: bool) -> Option<Self> {
        let end = wire::question_end(message)?;
        if message.get(4..6)? != [0, 1] || message[2] & (flags2::REPLY | flags2::OPCODE) != 0 {
            return None;
        }
        let records = wire::walk(message, end)?;
        let edns = match records.iter().find(|record| record.kind == kind::OPT) {
            Some(opt) => Some(Edns::of(message, opt)?),
            None => None,
        };
        let limit = match (over_tcp, edns) {
            (true, _) => usize::from(u16::MAX),
            (false, None) => PLAIN_UDP,
            (false, Some(edns)) => usize::from(edns.payload).clamp(PLAIN_UDP, EDNS_UDP.into()),
        };
        let asked = &message[HEADER..end];
        let mut flags = 0;
        flags |= if edns.is_some_and(|edns| edns.dnssec) { DNSSEC } else { 0 };
        flags |= if message[3] & flags3::CHECKING_DISABLED != 0 { CHECKING_DISABLED } else { 0 };
        let mut key = asked.to_vec();
        // Lengths of labels are below 64, where no letters are; type and class are not to be changed.
        key[..end - HEADER - QUESTION_TAIL].make_ascii_lowercase();
        key.push(flags);
        Some(Question {
            client,
            id: u16::from_be_bytes([message[0], message[1]]),
            asked: asked.into(),
            key: Key(key.into()),
            recursion_desired: message[2] & flags2::RECURSION_DESIRED != 0,
            edns,
            limit,
            over_tcp,
        })
    }
}
