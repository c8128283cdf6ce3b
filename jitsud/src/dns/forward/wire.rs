//! Messages as bytes (RFC 1035, section 4; RFC 6891 for EDNS): as much of them as forwarding needs.
//!
//! A reply goes on as it came. It is not taken apart and written anew, so records of types that nobody here has
//! heard of arrive whole; names may be compressed against the question, and it keeps its length and its place.
//! What is looked at is checked once: [`walk`] goes through every record of a message and finds it inside.

use std::ops::Range;

/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// Bytes of a question behind its name: type and class.
pub const QUESTION_TAIL: usize = 4;
/// Bytes of a record between its name and its data: type, class, TTL and the data's length.
const RECORD_HEAD: usize = 10;
/// Longest name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Longest label; what would be a greater length is a pointer (RFC 1035, section 4.1.4).
const MAX_LABEL: u8 = 63;
/// The two bits of a pointer, in its first byte.
const POINTER: u8 = 0xc0;

/// Bits of the header's third byte.
pub mod flags2 {
    /// The message is a reply.
    pub const REPLY: u8 = 0x80;
    /// What kind of question it is; all zeros for a plain one.
    pub const OPCODE: u8 = 0x78;
    /// Not all of the answer is in it.
    pub const TRUNCATED: u8 = 0x02;
    /// Others are to be asked.
    pub const RECURSION_DESIRED: u8 = 0x01;
}

/// Bits of the header's fourth byte.
pub mod flags3 {
    /// Others can be asked.
    pub const RECURSION_AVAILABLE: u8 = 0x80;
    /// Signatures are not to be checked (RFC 4035, section 3.2.2).
    pub const CHECKING_DISABLED: u8 = 0x10;
    /// The response code.
    pub const CODE: u8 = 0x0f;
}

/// Numbers of record types (IANA, "Domain Name System (DNS) Parameters").
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// Start of a zone of authority: how long an absence may be remembered.
    pub const SOA: u16 = 6;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS: not data but about the message.
    pub const OPT: u16 = 41;
    /// Everything there is.
    pub const ANY: u16 = 255;
}

/// Numbers of response codes (same place).
pub mod code {
    /// All is well.
    pub const NO_ERROR: u8 = 0;
    /// The question is not understood.
    pub const FORM_ERR: u8 = 1;
    /// The server cannot find out.
    pub const SERV_FAIL: u8 = 2;
    /// There is no such name.
    pub const NX_DOMAIN: u8 = 3;
    /// The server does not do that.
    pub const NOT_IMP: u8 = 4;
    /// The server will not do that.
    pub const REFUSED: u8 = 5;
}

/// Which part of the message a record stands in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who knows, or the SOA record that goes with an absence.
    Authority,
    /// What else may be of use.
    Additional,
}

/// One record, all of which is inside of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its section.
    pub section: Section,
    /// Where it begins.
    pub start: usize,
    /// Its type.
    pub kind: u16,
    /// Its class; in an OPT record, how many bytes its sender takes.
    pub class: u16,
    /// Where its TTL stands; in an OPT record, the upper bits of the response code, the version and flags.
    pub ttl_at: usize,
    /// Its data.
    pub data: Range<usize>,
}

/// The number at this place, in network order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The number at this place, in network order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Where the question of a message with one question ends, whose name stands there whole.
pub fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = *message.get(at)?;
        at += 1;
        match length {
            0 => break,
            1..=MAX_LABEL => at += usize::from(length),
            _ => return None,
        }
        if at - HEADER >= MAX_NAME {
            return None;
        }
    }
    let end = at + QUESTION_TAIL;
    (end <= message.len()).then_some(end)
}

/// Where the name at `at` ends. A pointer in it must lead to what stands before the name.
fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=MAX_LABEL => at += 1 + usize::from(length),
            POINTER.. => {
                let target = usize::from(u16_at(message, at)? & !(u16::from(POINTER) << 8));
                return (HEADER..start).contains(&target).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start >= MAX_NAME {
            return None;
        }
    }
}

/// Every record of a message whose question ends at `from`, in order. `None` if the message ends before its last
/// record does, or a name in it is none.
pub fn walk(message: &[u8], from: usize) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut start = from;
    for (section, count_at) in [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)] {
        // What the count claims costs nothing: each record there is has bytes of its own.
        for _ in 0..u16_at(message, count_at)? {
            let record = record_at(message, start, section)?;
            start = record.data.end;
            records.push(record);
        }
    }
    Some(records)
}

/// The record at this place.
pub fn record_at(message: &[u8], start: usize, section: Section) -> Option<Record> {
    let head = name_end(message, start)?;
    let length = usize::from(u16_at(message, head + RECORD_HEAD - 2)?);
    let data = head + RECORD_HEAD..head + RECORD_HEAD + length;
    message.get(data.clone())?;
    let (kind, class) = (u16_at(message, head)?, u16_at(message, head + 2)?);
    Some(Record { section, start, kind, class, ttl_at: head + 4, data })
}

/// What an OPT record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns {
    /// How many bytes the sender takes over UDP.
    pub payload: u16,
    /// The sender wants signatures (RFC 3225).
    pub dnssec: bool,
}

/// The bit for signatures in an OPT record's flags.
const DNSSEC_OK: u16 = 0x8000;

impl Edns {
    /// Reads an OPT record of this message.
    pub fn of(message: &[u8], record: &Record) -> Option<Self> {
        let flags = u16_at(message, record.ttl_at + 2)?;
        Some(Edns { payload: record.class, dnssec: flags & DNSSEC_OK != 0 })
    }

    /// Appends an OPT record of version 0. `options` are whole ones, 65,535 bytes at most.
    pub fn put(self, message: &mut Vec<u8>, options: &[u8]) {
        message.push(0);
        for number in [kind::OPT, self.payload, 0, if self.dnssec { DNSSEC_OK } else { 0 }] {
            message.extend(number.to_be_bytes());
        }
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
    }
}

/// The options of an OPT record: code and data. Ends where they make no sense.
pub fn options(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (u16_at(data, 0)?, usize::from(u16_at(data, 2)?));
        let value = data.get(4..4 + length)?;
        data = &data[4 + length..];
        Some((code, value))
    })
}
