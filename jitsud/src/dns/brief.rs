//! Replies that do not say what was asked for: for those who may not ask, and for those who are to come again by TCP.

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::opt::EdnsOption;

use super::encode::{EDNS_UDP, EXTENDED_ERROR};

/// "The server is configured to block the client" (RFC 8914, section 4.19).
const PROHIBITED: u16 = 18;
const PROHIBITED_TEXT: &[u8] = b"the node answers questions from its own network only";

/// The reply to a question from somebody who may not ask; none to what is no question.
pub fn prohibited(message: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(message).ok()?;
    if question.metadata.message_type != MessageType::Query || question.metadata.op_code != OpCode::Query {
        return None;
    }
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.response_code = ResponseCode::Refused;
    reply.queries = question.queries;
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP);
        let data = [&PROHIBITED.to_be_bytes(), PROHIBITED_TEXT].concat();
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
        reply.set_edns(edns);
    }
    reply.to_vec().ok()
}

/// A reply without its records, and with the bit that says so.
pub fn slipped(reply: &[u8]) -> Option<Vec<u8>> {
    let mut reply = Message::from_vec(reply).ok()?;
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.authorities.clear();
    reply.additionals.clear();
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use hickory_server::proto::op::Query;
    use hickory_server::proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn question(edns: bool) -> Message {
        let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii("wWw.jitsu.test.").unwrap(), RecordType::A));
        if edns {
            question.set_edns(Edns::new());
        }
        question
    }

    #[test]
    fn who_may_not_ask_is_told_why() {
        for edns in [false, true] {
            let asked = question(edns);
            let reply = Message::from_vec(&prohibited(&asked.to_vec().unwrap()).unwrap()).unwrap();
            assert_eq!((reply.metadata.id, reply.metadata.response_code), (4711, ResponseCode::Refused));
            assert!(reply.queries[0].name().eq_case(asked.queries[0].name()));
            assert_eq!(reply.edns.is_some(), edns);
        }
        let mut reply = question(false);
        reply.metadata.message_type = MessageType::Response;
        assert_eq!(prohibited(&reply.to_vec().unwrap()), None);
        assert_eq!(prohibited(b"no message"), None);
    }

    #[test]
    fn what_is_slipped_is_the_question_with_a_bit() {
        for edns in [false, true] {
            let mut reply = question(edns);
            reply.metadata.message_type = MessageType::Response;
            let name = reply.queries[0].name().clone();
            for host in 0..20 {
                let data = RData::A(std::net::Ipv4Addr::new(10, 0, 0, host).into());
                reply.add_answer(Record::from_rdata(name.clone(), 60, data));
            }
            let slipped = slipped(&reply.to_vec().unwrap()).unwrap();
            assert_eq!(slipped.len(), question(edns).to_vec().unwrap().len());
            let slipped = Message::from_vec(&slipped).unwrap();
            assert!(slipped.metadata.truncation && slipped.answers.is_empty());
            assert!(slipped.queries[0].name().eq_case(&name));
            assert_eq!((slipped.metadata.id, slipped.edns.is_some()), (4711, edns));
        }
    }
}
