//! A DNS question for a server's address, and what the reply says. No I/O.
//!
//! The C library's resolver is not for static programs, and one question to a server that the network itself named
//! needs no more than this: aliases are followed by that server (RFC 1034, section 5.2.2).

use std::net::Ipv4Addr;

use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, RecordType};

/// Longest reply over UDP to a question without extensions (RFC 1035, section 2.3.4).
pub const LONGEST_REPLY: usize = 512;

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or DHCP gave something else.
    #[error("not a host name")]
    NotAName,
    /// The question cannot be written.
    #[error("the question cannot be written")]
    Unwritable(#[from] ProtoError),
    /// Not a reply to this question.
    #[error("a reply to another question")]
    Stray,
    /// The server says no.
    #[error("the DNS server says {0}")]
    Refused(ResponseCode),
    /// The name exists and has no IPv4 address.
    #[error("it has no IPv4 address")]
    NoAddress,
}

/// One question.
#[derive(Debug)]
pub struct Question(Message);

impl Question {
    /// Asks for the IPv4 address of a host. `id` is to be one that others cannot guess.
    pub fn new(host: &str, id: u16) -> Result<Self, Error> {
        let mut name = Name::from_ascii(host).map_err(|_| Error::NotAName)?;
        // There is no search list: a name is a whole one.
        name.set_fqdn(true);
        if name.is_root() {
            return Err(Error::NotAName);
        }
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, RecordType::A));
        Ok(Question(message))
    }

    /// The question on the wire.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        Ok(self.0.to_vec()?)
    }

    /// The first address in a reply.
    pub fn answer(&self, reply: &[u8]) -> Result<Ipv4Addr, Error> {
        let reply = Message::from_vec(reply).map_err(|_| Error::Stray)?;
        let ours = reply.metadata.id == self.0.metadata.id
            && reply.metadata.message_type == MessageType::Response
            && reply.queries == self.0.queries;
        if !ours {
            return Err(Error::Stray);
        }
        match reply.metadata.response_code {
            ResponseCode::NoError => {}
            code => return Err(Error::Refused(code)),
        }
        let address = |record: &hickory_server::proto::rr::Record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        };
        reply.answers.iter().find_map(address).ok_or(Error::NoAddress)
    }
}

#[cfg(test)]
mod tests {
    use hickory_server::proto::rr::Record;
    use hickory_server::proto::rr::rdata::{A, CNAME};

    use super::*;

    fn reply(question: &Question, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(question.0.metadata.id, question.0.metadata.op_code);
        message.queries = question.0.queries.clone();
        let (asked, real) = (question.0.queries[0].name().clone(), Name::from_ascii("t.example.").unwrap());
        message.add_answer(Record::from_rdata(asked, 60, RData::CNAME(CNAME(real.clone()))));
        message.add_answer(Record::from_rdata(real, 60, RData::A(A::new(192, 0, 2, 7))));
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn an_address_behind_an_alias() {
        let question = Question::new("ntp.example", 4711).unwrap();
        let sent = Message::from_vec(&question.to_bytes().unwrap()).unwrap();
        assert!(sent.metadata.recursion_desired);
        assert_eq!(sent.queries[0].name().to_string(), "ntp.example.");
        assert_eq!(question.answer(&reply(&question, |_| {})).unwrap(), Ipv4Addr::new(192, 0, 2, 7));
    }

    #[test]
    fn replies_without_one() {
        let question = Question::new("ntp.example", 4711).unwrap();
        let stray = |change: fn(&mut Message)| {
            matches!(question.answer(&reply(&question, change)), Err(Error::Stray))
        };
        assert!(stray(|message| message.metadata.id ^= 1));
        assert!(stray(|message| message.metadata.message_type = MessageType::Query));
        assert!(stray(|message| message.queries.clear()));
        assert!(matches!(question.answer(b"noise"), Err(Error::Stray)));
        let refused = reply(&question, |message| message.metadata.response_code = ResponseCode::NXDomain);
        assert!(matches!(question.answer(&refused), Err(Error::Refused(ResponseCode::NXDomain))));
        let empty = reply(&question, |message| message.answers.truncate(1));
        assert!(matches!(question.answer(&empty), Err(Error::NoAddress)));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for wrong in ["", ".", "a..b", &"x".repeat(64), "two words"] {
            assert!(matches!(Question::new(wrong, 4711), Err(Error::NotAName)), "{wrong:?}");
        }
    }
}
