//! What an upstream server has said, as it is kept and told.

use std::time::Duration;

use super::question::{EDNS_UDP, Question};
use super::wire::{self, Edns, HEADER, Record, Section, code, flags2, flags3, kind};

/// Longest time that something is kept. Nothing is promised to a client for longer, either.
const MAX_TTL: u32 = 24 * 60 * 60;
/// Longest time that an absence is kept (RFC 2308, section 5: one to three hours).
const MAX_NEGATIVE_TTL: u32 = 60 * 60;
/// How long it is kept that nobody answers. RFC 9520, section 3.2, wants a second at least; the network may be back
/// any moment.
const FAILURE_TTL: u32 = 1;

/// Bytes of the numbers in an SOA record.
const SOA_NUMBERS: usize = 20;

/// Option "Extended DNS Error" (RFC 8914, section 2).
const EXTENDED_ERROR: u16 = 15;
/// Longest extended error that goes on to clients: code and text.
const MAX_EXTENDED_ERROR: usize = 202;

/// Codes of extended errors (RFC 8914, section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// None of the others: the text says it.
    Other = 0,
    /// The question is about a zone that the server is not authoritative for.
    NotAuthoritative = 20,
    /// Nobody who knows answers.
    NoReachableAuthority = 22,
    /// Nobody who knows can be reached.
    NetworkError = 23,
}

/// A message that came in, held against the question that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// Not a reply to this question: somebody's guess, or noise.
    Stray,
    /// A reply to this question but for the spelling of its name. Half of it may be a guess.
    OtherCase,
    /// The reply.
    Ours,
}

/// Whether this is the reply to a question with this number, name, type and class (RFC 5452, section 9.1).
pub fn held_against(message: &[u8], id: u16, asked: &[u8]) -> Match {
    let (Some(header), Some(question)) = (message.get(..HEADER), message.get(HEADER..HEADER + asked.len()))
    else {
        return Match::Stray;
    };
    let is_reply = header[2] & (flags2::REPLY | flags2::OPCODE) == flags2::REPLY;
    if !is_reply || header[..2] != id.to_be_bytes() || header[4..6] != [0, 1] {
        return Match::Stray;
    }
    if question == asked {
        Match::Ours
    } else if question.eq_ignore_ascii_case(asked) {
        // Type and class: no two that differ in the bit of a letter's case are both in use, and neither is kept.
        Match::OtherCase
    } else {
        Match::Stray
    }
}

/// Whether a reply says that it does not hold everything.
pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & flags2::TRUNCATED != 0)
}

/// An answer to a question, without the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// One of [`code`].
    pub code: u8,
    /// Not all of it is here: whoever wants it is to ask over TCP.
    pub truncated: bool,
    /// How many records there are in each section.
    counts: [u16; 3],
    /// The records. None of them is an OPT record.
    records: Box<[u8]>,
    /// Where the additional section begins in them.
    additional: usize,
    /// An extended error: code and text.
    pub extended_error: Option<Box<[u8]>>,
    /// How long it may be kept; `None` if it may not be.
    pub ttl: Option<u32>,
}

impl Answer {
    /// Reads a reply whose question ends at `end` and asked for `asked_kind`. `None` if it makes no sense.
    pub fn read(message: &[u8], end: usize, asked_kind: u16) -> Option<Self> {
        let records = wire::walk(message, end)?;
        let opt = records.iter().position(|record| record.kind == kind::OPT);
        // What is behind an OPT record cannot be moved, for names may point into it; and it is nothing that had to be
        // there. OPT itself is the affair of each two that talk to each other.
        let kept = &records[..opt.unwrap_or(records.len())];
        let opt = opt.map(|opt| &records[opt]);
        let count = |section| kept.iter().filter(|record| record.section == section).count() as u16;
        let begin = |section| {
            let first = kept.iter().find(|record| record.section >= section);
            first.map(|record| record.start)
        };
        let kept_end = kept.last().map_or(end, |record| record.data.end);
        let upper_code = opt.map_or(0, |opt| message[opt.ttl_at]);
        let extended_error = opt.and_then(|opt| {
            let mut options = wire::options(&message[opt.data.clone()]);
            let (_, value) = options.find(|(code, value)| *code == EXTENDED_ERROR && value.len() >= 2)?;
            Some(value[..value.len().min(MAX_EXTENDED_ERROR)].into())
        });
        let code = message[3] & flags3::CODE;
        // An OPT record anywhere else than at the end of the message's sections is against RFC 6891, section 6.1.1.
        let misplaced = opt.is_some_and(|opt| opt.section != Section::Additional);
        if misplaced || upper_code != 0 {
            return None;
        }
        Some(Answer {
            code,
            truncated: false,
            counts: [count(Section::Answer), count(Section::Authority), count(Section::Additional)],
            records: message[end..kept_end].into(),
            additional: begin(Section::Additional).unwrap_or(kept_end) - end,
            extended_error,
            ttl: lifetime(message, kept, code, asked_kind),
        })
    }

    /// An answer without records.
    pub fn bare(code: u8) -> Self {
        Answer {
            code,
            truncated: false,
            counts: [0; 3],
            records: Box::default(),
            additional: 0,
            extended_error: None,
            ttl: None,
        }
    }

    /// One that says that nobody answers, and why.
    pub fn failure(why: ErrorCode, text: &str) -> Self {
        Answer { ttl: Some(FAILURE_TTL), ..Answer::bare(code::SERV_FAIL) }.because(why, text)
    }

    /// The same with a reason for people. `text` is short: some 100 bytes.
    pub fn because(self, why: ErrorCode, text: &str) -> Self {
        let error = [&(why as u16).to_be_bytes(), text.as_bytes()].concat();
        Answer { extended_error: Some(error.into()), ..self }
    }

    /// The same with an extended error that another server has found, if it has.
    pub fn saying(self, error: Option<Box<[u8]>>) -> Self {
        Answer { extended_error: error.or(self.extended_error), ..self }
    }

    /// One that sends the client to TCP.
    pub fn truncated() -> Self {
        Answer { truncated: true, ..Answer::bare(code::NO_ERROR) }
    }

    /// An answer with records of class IN: type, TTL in seconds and data of those at the question's own name, and name,
    /// type, TTL and data of one for the authority section.
    pub fn of(code: u8, answers: &[(u16, u32, &[u8])], authority: Option<(&[u8], u16, u32, &[u8])>) -> Self {
        // The question's name stands behind the header.
        const ASKED: &[u8] = &[0xc0, HEADER as u8];
        const IN: u16 = 1;
        let mut records = Vec::new();
        let own = answers.iter().map(|(kind, ttl, data)| (ASKED, *kind, *ttl, *data));
        for (name, kind, ttl, data) in own.chain(authority) {
            records.extend(name);
            records.extend([kind, IN].map(u16::to_be_bytes).as_flattened());
            records.extend(ttl.to_be_bytes());
            records.extend((data.len() as u16).to_be_bytes());
            records.extend(data);
        }
        Answer {
            counts: [answers.len() as u16, authority.is_some().into(), 0],
            additional: records.len(),
            records: records.into(),
            ..Answer::bare(code)
        }
    }

    /// Bytes of memory that it takes.
    pub fn size(&self) -> usize {
        size_of::<Answer>() + self.records.len() + self.extended_error.as_ref().map_or(0, |error| error.len())
    }

    /// The reply to a question. `age` is for how long the answer has been kept: so much less is left of its TTLs.
    pub fn reply(&self, question: &Question, age: Duration) -> Vec<u8> {
        let whole = self.reply_of(question, age, true, self.truncated);
        if whole.len() <= question.limit {
            return whole;
        }
        // What is additional may go without a word (RFC 2181, section 9); then it is nothing but the advice to use TCP.
        let without = self.reply_of(question, age, false, self.truncated);
        if without.len() <= question.limit {
            return without;
        }
        Answer { code: self.code, ..Answer::truncated() }.reply_of(question, age, false, true)
    }

    fn reply_of(
        &self,
        question: &Question,
        age: Duration,
        with_additional: bool,
        truncated: bool,
    ) -> Vec<u8> {
        let records = if with_additional { &self.records } else { &self.records[..self.additional] };
        let mut message = Vec::with_capacity(HEADER + question.asked.len() + records.len() + 32);
        message.extend(question.id.to_be_bytes());
        message.push(
            flags2::REPLY
                | if truncated { flags2::TRUNCATED } else { 0 }
                | if question.recursion_desired { flags2::RECURSION_DESIRED } else { 0 },
        );
        // Neither authoritative nor authentic: the node has checked nothing.
        let disabled = if question.key.checking_disabled() { flags3::CHECKING_DISABLED } else { 0 };
        message.push(flags3::RECURSION_AVAILABLE | disabled | self.code);
        let [answers, authority, additional] = self.counts;
        let additional = if with_additional { additional } else { 0 };
        let edns = u16::from(question.edns.is_some());
        for count in [1, answers, authority, additional + edns] {
            message.extend(count.to_be_bytes());
        }
        message.extend(&question.asked);
        let end = message.len();
        message.extend(records);
        age_by(&mut message, end, age);
        if let Some(edns) = question.edns {
            let mut options = Vec::new();
            if let Some(error) = &self.extended_error {
                options.extend(EXTENDED_ERROR.to_be_bytes());
                options.extend((error.len() as u16).to_be_bytes());
                options.extend(error);
            }
            Edns { payload: EDNS_UDP, dnssec: edns.dnssec }.put(&mut message, &options);
        }
        message
    }
}

/// Takes the age off the TTLs of all records behind the question, which ends at `end`.
fn age_by(message: &mut [u8], end: usize, age: Duration) {
    let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
    let mut at = end;
    while at < message.len() {
        let Some(record) = wire::record_at(message, at, Section::Answer) else { return };
        let ttl = wire::u32_at(message, record.ttl_at).map_or(0, sane).saturating_sub(age);
        message[record.ttl_at..record.ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
        at = record.data.end;
    }
}

/// A TTL as it is meant: one with the highest bit set is none (RFC 2181, section 8).
fn sane(ttl: u32) -> u32 {
    if ttl > u32::MAX / 2 { 0 } else { ttl.min(MAX_TTL) }
}

/// How long the answer may be kept: as long as each of its records. An absence as long as the SOA record says that
/// goes with it, and not at all without one (RFC 2308, section 5), which is also how a referral looks.
fn lifetime(message: &[u8], records: &[Record], code: u8, asked_kind: u16) -> Option<u32> {
    if !matches!(code, code::NO_ERROR | code::NX_DOMAIN) {
        return None;
    }
    let ttl = |record: &Record| wire::u32_at(message, record.ttl_at).map_or(0, sane);
    let stated = records.iter().filter(|record| record.section != Section::Additional);
    let shortest = stated.map(ttl).min()?;
    let is_answer = |record: &Record| {
        record.section == Section::Answer && (record.kind == asked_kind || asked_kind == kind::ANY)
    };
    let lifetime = if code == code::NO_ERROR && records.iter().any(is_answer) {
        shortest
    } else {
        let is_soa = |record: &&Record| record.section == Section::Authority && record.kind == kind::SOA;
        let soa = records.iter().find(is_soa)?;
        // The last of its five numbers, behind two names, is for how long an absence holds.
        let numbers = soa.data.len().checked_sub(SOA_NUMBERS).map(|_| soa.data.end - 4)?;
        let minimum = wire::u32_at(message, numbers).map_or(0, sane);
        shortest.min(minimum).min(MAX_NEGATIVE_TTL)
    };
    (lifetime > 0).then_some(lifetime)
}
