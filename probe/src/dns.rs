//! One question, one answer (RFC 1035 by hickory-proto).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData};

pub use hickory_proto::op::ResponseCode;
pub use hickory_proto::rr::RecordType;

/// Longest answer that can come over UDP, in bytes: a client without EDNS is promised no more
/// (RFC 1035, section 2.3.4).
pub const MAX_UDP: usize = 512;

/// EDNS option "Extended DNS Error" (RFC 8914, section 2).
const EXTENDED_ERROR: u16 = 15;

/// A question, ready to be sent.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    bytes: Vec<u8>,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The reply's code.
    pub code: ResponseCode,
    /// The addresses in the answer section.
    pub addresses: Vec<Ipv4Addr>,
    /// The smallest TTL in the answer section, in seconds.
    pub ttl: Option<u32>,
    /// Whether an SOA record came along, as it must where something is said not to exist (RFC 2308).
    pub has_soa: bool,
    /// Why the question could not be answered: the code (RFC 8914, section 4), and what it says for people.
    pub extended_error: Option<(u16, String)>,
}

impl Question {
    /// Asks for `kind` records of `name`, with a random ID.
    ///
    /// # Errors
    /// When `name` is no domain name.
    pub fn new(name: &str, kind: RecordType) -> Result<Self> {
        Question::asked(name, kind, None)
    }

    /// The same with EDNS (RFC 6891): who cannot answer may say why.
    ///
    /// # Errors
    /// When `name` is no domain name.
    pub fn with_edns(name: &str, kind: RecordType) -> Result<Self> {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP as u16);
        Question::asked(name, kind, Some(edns))
    }

    fn asked(name: &str, kind: RecordType, edns: Option<Edns>) -> Result<Self> {
        let mut absolute = Name::from_ascii(name).with_context(|| format!("{name:?} is no domain name"))?;
        absolute.set_fqdn(true);
        let mut message = Message::new(any_id(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(absolute, kind));
        message.edns = edns;
        let bytes = message.to_vec().with_context(|| format!("encoding a question for {name:?}"))?;
        Ok(Question { id: message.metadata.id, bytes })
    }

    /// The message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the answer to this question.
    ///
    /// # Errors
    /// When `reply` is no DNS message, or answers something else.
    pub fn read(&self, reply: &[u8]) -> Result<Answer> {
        let message = Message::from_vec(reply).context("the reply is no DNS message")?;
        let id = message.metadata.id;
        ensure!(id == self.id, "the reply has ID {id}, the question had {}", self.id);
        let ttl = message.answers.iter().map(|record| record.ttl).min();
        let address = |data: &RData| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        };
        let option = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::from(EXTENDED_ERROR)));
        let extended_error = match option {
            Some(EdnsOption::Unknown(_, data)) => data
                .split_first_chunk()
                .map(|(code, text)| (u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned())),
            _ => None,
        };
        Ok(Answer {
            extended_error,
            code: message.metadata.response_code,
            addresses: message.answers.iter().filter_map(|record| address(&record.data)).collect(),
            ttl,
            has_soa: message.authorities.iter().any(|record| matches!(record.data, RData::SOA(_))),
        })
    }
}

/// An ID that differs from question to question. Not from the system's random numbers: a node that has just
/// booted has none yet, and would keep us waiting for them.
fn any_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

impl Answer {
    /// The first address.
    ///
    /// # Errors
    /// When there is none; the message says what came instead.
    pub fn address(&self) -> Result<Ipv4Addr> {
        match self.addresses.first() {
            Some(address) => Ok(*address),
            None if self.code == ResponseCode::NoError => bail!("the answer has no address in it"),
            None => bail!("the answer is {}", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    fn reply_to(question: &Question) -> Message {
        let asked = Message::from_vec(question.as_bytes()).unwrap();
        let mut reply = Message::response(asked.metadata.id, OpCode::Query);
        reply.add_queries(asked.queries);
        reply
    }

    #[test]
    fn the_address_is_read() {
        let question = Question::new("www.jitsu.test", RecordType::A).unwrap();
        let mut reply = reply_to(&question);
        let (name, address) = (reply.queries[0].name().clone(), Ipv4Addr::new(10, 0, 2, 20));
        reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address))));
        let answer = question.read(&reply.to_vec().unwrap()).unwrap();
        assert_eq!(answer.address().unwrap(), address);
        assert_eq!(answer.ttl, Some(60));
    }

    #[test]
    fn a_refusal_is_not_taken_for_an_address() {
        let question = Question::new("x.jitsu.test", RecordType::A).unwrap();
        let mut reply = reply_to(&question);
        reply.metadata.response_code = ResponseCode::NXDomain;
        let answer = question.read(&reply.to_vec().unwrap()).unwrap();
        assert_eq!(answer.code, ResponseCode::NXDomain);
        assert!(answer.address().unwrap_err().to_string().contains("Non-Existent"));
    }

    #[test]
    fn the_reason_of_a_failure_is_read() {
        let question = Question::with_edns("www.jitsu.test", RecordType::A).unwrap();
        assert!(Message::from_vec(question.as_bytes()).unwrap().edns.is_some());
        for (data, expected) in [
            (&[0, 14][..], Some((14, ""))),
            (&[0, 0, b'n', b'o'], Some((0, "no"))),
            (&[1, 0, 0xff], Some((256, "\u{fffd}"))),
            (&[0], None),
        ] {
            let mut reply = reply_to(&question);
            reply.metadata.response_code = ResponseCode::ServFail;
            let mut edns = Edns::new();
            edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, data.to_vec()));
            reply.set_edns(edns);
            let answer = question.read(&reply.to_vec().unwrap()).unwrap();
            let expected = expected.map(|(code, text)| (code, text.to_owned()));
            assert_eq!((answer.code, answer.extended_error), (ResponseCode::ServFail, expected));
        }
        let without = question.read(&reply_to(&question).to_vec().unwrap()).unwrap();
        assert_eq!(without.extended_error, None);
    }

    #[test]
    fn answers_to_others_and_garbage_are_refused() {
        let question = Question::new("www.jitsu.test", RecordType::A).unwrap();
        let mut reply = reply_to(&question);
        reply.metadata.id ^= 1;
        assert!(question.read(&reply.to_vec().unwrap()).unwrap_err().to_string().contains("has ID"));
        assert!(question.read(b"garbage").is_err());
        assert!(Question::new("a..b", RecordType::A).is_err());
    }
}
