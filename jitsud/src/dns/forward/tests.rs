//! The forward table by scripts. The other side's messages are written and ours read by hickory, which shares no code
//! with what is tried here.

mod answers;
mod loopback;
mod names;
mod servers;
mod shares;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{A, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::core::{Asked, AttemptId, Core, Effect, Ticket, Via};
use super::numbers::Numbers;
use super::question::Question;
use crate::directory::Moment;

/// Servers: two in the house, one outside.
pub const NEAR: &str = "192.168.1.1:53";
pub const NEXT: &str = "192.168.1.2:53";
pub const FAR: &str = "192.0.2.53:53";

pub const ALICE: &str = "192.168.1.50";
pub const BOB: &str = "192.168.1.51";

/// A message on its way to a server.
#[derive(Clone, Debug)]
pub struct Sent {
    pub attempt: AttemptId,
    pub server: SocketAddr,
    pub via: Via,
    pub message: Message,
}

/// The table, a clock, and what it has done.
pub struct Bench {
    pub core: Core,
    pub now: Moment,
    pub sent: Vec<Sent>,
    pub replies: Vec<(Ticket, Message)>,
    pub closed: Vec<AttemptId>,
}

impl Bench {
    pub fn new(servers: &[&str]) -> Self {
        let servers: Vec<SocketAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        Bench {
            core: Core::new(&servers, Numbers::new(&[7; 16])),
            now: Moment(1),
            sent: Vec::new(),
            replies: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub fn ask(&mut self, client: &str, message: &Message) -> Result<Message, Ticket> {
        self.ask_via(client, message, false)
    }

    pub fn ask_via(&mut self, client: &str, message: &Message, tcp: bool) -> Result<Message, Ticket> {
        let client: IpAddr = client.parse().unwrap();
        let question = Question::read(&message.to_vec().unwrap(), client, tcp).unwrap();
        let mut effects = Vec::new();
        let asked = self.core.ask(question, self.now, &mut effects);
        self.take(effects);
        match asked {
            Asked::Now(reply) => Ok(Message::from_vec(&reply).unwrap()),
            Asked::Later(ticket) => Err(ticket),
        }
    }

    /// A plain question for an address by a client who then waits.
    pub fn wait_for(&mut self, client: &str, name: &str) -> Ticket {
        self.ask(client, &query(name, RecordType::A)).unwrap_err()
    }

    pub fn receive(&mut self, attempt: AttemptId, message: &[u8]) {
        let mut effects = Vec::new();
        self.core.received(attempt, message, self.now, &mut effects);
        self.take(effects);
    }

    /// The server answers with what it was asked and these records.
    pub fn answer(&mut self, sent: &Sent, change: impl FnOnce(&mut Message)) {
        let message = answer_to(&sent.message, change);
        self.receive(sent.attempt, &message);
    }

    pub fn fail(&mut self, attempt: AttemptId) {
        let mut effects = Vec::new();
        self.core.failed(attempt, self.now, &mut effects);
        self.take(effects);
    }

    /// Lets so many milliseconds go by, and what is due happen when it is.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        while let Some(due) = self.core.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            let mut effects = Vec::new();
            self.core.tick(self.now, &mut effects);
            self.take(effects);
        }
        self.now = end;
    }

    /// The messages sent since this was asked last.
    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The only one.
    pub fn only(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    pub fn reply(&self, ticket: Ticket) -> Option<&Message> {
        self.replies.iter().find(|(to, _)| *to == ticket).map(|(_, reply)| reply)
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open { attempt, server, via, message } => {
                    let message = Message::from_vec(&message).unwrap();
                    self.sent.push(Sent { attempt, server, via, message });
                }
                Effect::Close(attempt) => self.closed.push(attempt),
                Effect::Reply(ticket, reply) => {
                    assert!(self.reply(ticket).is_none(), "a second reply");
                    self.replies.push((ticket, Message::from_vec(&reply).unwrap()));
                }
            }
        }
    }
}

pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub fn with_edns(mut message: Message, dnssec: bool) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    edns.set_dnssec_ok(dnssec);
    message.edns = Some(edns);
    message
}

pub fn answer_to(query: &Message, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.queries = query.queries.clone();
    if query.edns.is_some() {
        message.edns = Some(Edns::new());
    }
    change(&mut message);
    message.to_vec().unwrap()
}

pub fn address(message: &mut Message, ttl: u32) {
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, ttl, RData::A(A::new(192, 0, 2, 80))));
}

pub fn absence(message: &mut Message, code: ResponseCode, ttl: u32, minimum: u32) {
    message.metadata.response_code = code;
    let name = |text| Name::from_ascii(text).unwrap();
    let soa = SOA::new(name("ns.example."), name("root.example."), 1, 3600, 600, 86400, minimum);
    message.add_authority(Record::from_rdata(name("example."), ttl, RData::SOA(soa)));
}

pub fn extended_error(message: &Message) -> Option<(u16, String)> {
    let edns = message.edns.as_ref()?;
    let option = edns.option(15.into())?;
    let data: Vec<u8> = option.try_into().ok()?;
    Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8_lossy(&data[2..]).into_owned()))
}
