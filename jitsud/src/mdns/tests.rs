//! The responder by scripts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hickory_server::proto::op::{Message, MessageType, OpCode, Query};
use hickory_server::proto::rr::rdata::{A, PTR};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::records::{Host, Served};
use super::responder::{Effect, GROUP, PORT, Responder, Ticket};
use crate::config::{Offer, Quiet};
use crate::directory::Moment;
use crate::random::Random;
use crate::summoner::ServiceId;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), PORT);
/// A client that knows nothing of mDNS.
const PLAIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 8), 40000);
/// One that starts nothing.
const QUIET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), PORT);

const TOP_BIT: u16 = 0x8000;

struct Bench {
    responder: Responder,
    now: Moment,
    sent: Vec<(SocketAddrV4, Message)>,
    summons: Vec<(ServiceId, Ticket)>,
}

/// The node, `www` that packets start, and `cold` that they do not.
fn hosts() -> Vec<Host> {
    let quiet = Quiet { networks: vec!["10.0.0.9/32".parse().unwrap()], names: Vec::new() };
    let service = |label: &str, last, id, woken| Host {
        label: label.to_owned(),
        v4: Ipv4Addr::new(10, 0, 0, last),
        v6: None,
        offers: vec![Offer { kind: "_http._tcp".to_owned(), port: 80 }],
        service: Some(Served { id: ServiceId(id), quiet: quiet.clone(), woken }),
    };
    let node = Host {
        label: "node".to_owned(),
        v4: OWN,
        v6: Some("fd00::1".parse().unwrap()),
        offers: vec![Offer { kind: "_http._tcp".to_owned(), port: 80 }],
        service: None,
    };
    vec![node, service("www", 20, 0, true), service("cold", 21, 1, false)]
}

impl Bench {
    fn new() -> Self {
        let now = Moment(1);
        let responder = Responder::new(OWN, hosts(), Random::seeded(7), now).unwrap();
        Bench { responder, now, sent: Vec::new(), summons: Vec::new() }
    }

    /// Names asked for, taken and announced, and long enough ago to be told again.
    fn settled() -> Self {
        let mut bench = Bench::new();
        bench.pass(10_000);
        bench.sent.clear();
        bench
    }

    fn pass(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        while let Some(due) = self.responder.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            let mut effects = Vec::new();
            self.responder.tick(self.now, &mut effects);
            self.take(effects);
        }
        self.now = end;
    }

    fn receive(&mut self, from: SocketAddrV4, message: &Message) {
        let mut effects = Vec::new();
        self.responder.received(&message.to_vec().unwrap(), from, self.now, &mut effects);
        self.take(effects);
    }

    fn ask(&mut self, from: SocketAddrV4, name: &str, kind: RecordType) {
        self.receive(from, &question(name, kind));
    }

    fn summoned(&mut self, ticket: Ticket, ttl: Option<u64>) {
        let mut effects = Vec::new();
        self.responder.summoned(ticket, ttl.map(Duration::from_secs), self.now, &mut effects);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(to, message) => {
                    assert!(message.len() <= 1400, "{} bytes", message.len());
                    self.sent.push((to, Message::from_vec(&message).unwrap()));
                }
                Effect::Summon(service, ticket, _) => self.summons.push((service, ticket)),
            }
        }
    }

    /// The only message since this was asked last.
    fn only(&mut self) -> (SocketAddrV4, Message) {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent.remove(0)
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(asked: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name(asked), kind));
    message
}

/// The same, to be answered to whoever asks alone.
fn alone(mut message: Message) -> Message {
    message.queries[0].set_query_class(DNSClass::from(u16::from(DNSClass::IN) | TOP_BIT));
    message
}

fn saying(record: Record) -> Message {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_answer(record);
    message
}

fn has(records: &[Record], owner: &str, data: &str) -> bool {
    records.iter().any(|record| record.name == name(owner) && record.data.to_string() == data)
}

fn address(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 120, RData::A(A::new(10, 0, 0, last)))
}

#[test]
fn names_are_asked_for_three_times_and_announced_twice() {
    let mut bench = Bench::new();
    bench.ask(PEER, "node.local.", RecordType::A);
    bench.pass(740);
    let probes = std::mem::take(&mut bench.sent);
    assert_eq!(probes.len(), 9, "three for each of three");
    for (to, probe) in &probes {
        assert_eq!((*to, probe.metadata.message_type), (GROUP, MessageType::Query));
        assert!(probe.queries.iter().all(|query| query.query_type() == RecordType::ANY));
        assert!(probe.queries.iter().all(|query| u16::from(query.query_class()) == 0x8001));
        assert!(!probe.authorities.is_empty() && probe.answers.is_empty());
    }
    bench.pass(3000);
    let said: Vec<Record> = bench.sent.iter().flat_map(|(_, message)| message.answers.clone()).collect();
    for (owner, data, times) in [
        ("node.local.", "10.0.0.1", 2),
        ("node.local.", "fd00::1", 2),
        ("www.local.", "10.0.0.20", 2),
        ("_http._tcp.local.", "www._http._tcp.local.", 2),
        ("_services._dns-sd._udp.local.", "_http._tcp.local.", 2),
        ("www._http._tcp.local.", "0 0 80 www.local.", 2),
        // It would be of no use.
        ("cold.local.", "10.0.0.21", 0),
    ] {
        let same = |record: &&Record| record.name == name(owner) && record.data.to_string() == data;
        assert_eq!(said.iter().filter(same).count(), times, "{owner} {data}");
    }
    let flush = |record: &Record| u16::from(record.dns_class) & TOP_BIT != 0;
    assert!(said.iter().all(|record| flush(record) != (record.record_type() == RecordType::PTR)));
    assert!(bench.summons.is_empty());
    assert_eq!(bench.responder.deadline(), None);
}

#[test]
fn the_nodes_address_is_told_at_once() {
    let mut bench = Bench::settled();
    bench.ask(PEER, "NODE.local.", RecordType::A);
    let (to, reply) = bench.only();
    assert_eq!((to, reply.metadata.id), (GROUP, 0));
    assert!(reply.metadata.authoritative && reply.queries.is_empty());
    assert!(has(&reply.answers, "node.local.", "10.0.0.1"));
    assert!(has(&reply.additionals, "node.local.", "fd00::1"));
    // Not again within a second.
    bench.ask(PEER, "node.local.", RecordType::A);
    assert!(bench.sent.is_empty());
    bench.pass(1000);
    bench.ask(PEER, "node.local.", RecordType::A);
    bench.only();
}

#[test]
fn an_address_starts_its_service_and_is_told_then() {
    for (asked, last, service) in [("www.local.", 20, 0), ("cold.local.", 21, 1)] {
        let mut bench = Bench::settled();
        bench.ask(PEER, asked, RecordType::A);
        assert!(bench.sent.is_empty());
        let (summoned, ticket) = bench.summons[0];
        assert_eq!(summoned, ServiceId(service));
        bench.summoned(ticket, Some(60));
        let (to, reply) = bench.only();
        assert_eq!(to, GROUP);
        assert!(has(&reply.answers, asked, &format!("10.0.0.{last}")));
        assert_eq!(reply.answers[0].ttl, 60);
    }
}

#[test]
fn a_service_that_does_not_start_is_not_told_of() {
    let mut bench = Bench::settled();
    bench.ask(PEER, "cold.local.", RecordType::A);
    let (_, ticket) = bench.summons[0];
    bench.summoned(ticket, None);
    bench.summoned(ticket, Some(60));
    assert!(bench.sent.is_empty());
}

#[test]
fn whoever_is_quiet_starts_nothing_and_is_told_all_the_same() {
    let mut bench = Bench::settled();
    bench.ask(QUIET, "cold.local.", RecordType::A);
    assert!(bench.summons.is_empty());
    let (_, reply) = bench.only();
    assert!(has(&reply.answers, "cold.local.", "10.0.0.21"));
    assert_eq!(reply.answers[0].ttl, 1);
}

#[test]
fn looking_around_starts_nothing() {
    let mut bench = Bench::settled();
    for (asked, kind) in [
        ("_services._dns-sd._udp.local.", RecordType::PTR),
        ("_http._tcp.local.", RecordType::PTR),
        ("www._http._tcp.local.", RecordType::SRV),
        ("cold._http._tcp.local.", RecordType::SRV),
        ("www._http._tcp.local.", RecordType::TXT),
        ("www.local.", RecordType::AAAA),
        ("cold.local.", RecordType::AAAA),
        ("www.local.", RecordType::ANY),
        ("cold.local.", RecordType::ANY),
    ] {
        bench.ask(PEER, asked, kind);
        bench.pass(2000);
        assert!(bench.summons.is_empty(), "{asked} {kind}");
        assert!(!bench.sent.is_empty(), "{asked} {kind}");
        let told = |(_, message): &(SocketAddrV4, Message)| {
            has(&message.answers, "cold.local.", "10.0.0.21")
                || has(&message.additionals, "cold.local.", "10.0.0.21")
        };
        assert!(!bench.sent.iter().any(told), "{asked} {kind}");
        bench.sent.clear();
    }
}

#[test]
fn what_a_name_has_not_is_said_by_a_record() {
    let mut bench = Bench::settled();
    bench.ask(PEER, "www.local.", RecordType::AAAA);
    let (_, reply) = bench.only();
    let [nsec] = &reply.answers[..] else { panic!("{reply:?}") };
    let RData::Unknown { code: RecordType::NSEC, rdata } = &nsec.data else { panic!("{nsec:?}") };
    // The name itself, and of the first 256 types number 1 alone.
    assert_eq!(rdata.anything[..], *b"\x03www\x05local\0\x00\x01\x40");
}

#[test]
fn a_browser_gets_all_in_one_message_a_moment_later() {
    let mut bench = Bench::settled();
    bench.ask(PEER, "_http._tcp.local.", RecordType::PTR);
    assert!(bench.sent.is_empty());
    bench.pass(19);
    assert!(bench.sent.is_empty());
    bench.pass(110);
    let (to, reply) = bench.only();
    assert_eq!((to, reply.answers.len()), (GROUP, 3));
    assert!(has(&reply.additionals, "node._http._tcp.local.", "0 0 80 node.local."));
    assert!(has(&reply.additionals, "node.local.", "10.0.0.1"));
}

#[test]
fn what_the_other_side_knows_is_not_repeated() {
    let mut bench = Bench::settled();
    let mut asked = question("_http._tcp.local.", RecordType::PTR);
    let known = |label: &str, ttl| {
        let data = RData::PTR(PTR(name(&format!("{label}._http._tcp.local."))));
        Record::from_rdata(name("_http._tcp.local."), ttl, data)
    };
    // The last one is not going to be known for long.
    asked.add_answers([known("node", 4500), known("www", 2250), known("cold", 2000)]);
    bench.receive(PEER, &asked);
    bench.pass(200);
    let (_, reply) = bench.only();
    assert_eq!(reply.answers.len(), 1);
    assert!(has(&reply.answers, "_http._tcp.local.", "cold._http._tcp.local."));

    // In two messages: the second has more of what is known.
    bench.pass(2000);
    let mut asked = question("_http._tcp.local.", RecordType::PTR);
    asked.metadata.truncation = true;
    asked.add_answers([known("node", 4500), known("www", 4500)]);
    bench.receive(PEER, &asked);
    bench.pass(300);
    let mut more = Message::new(0, MessageType::Query, OpCode::Query);
    more.add_answer(known("cold", 4500));
    bench.receive(PEER, &more);
    bench.pass(1000);
    assert!(bench.sent.is_empty());

    // Whoever knows a service's address does not start it.
    let mut asked = question("www.local.", RecordType::A);
    asked.add_answer(address("www.local.", 20));
    bench.receive(PEER, &asked);
    assert!(bench.summons.is_empty() && bench.sent.is_empty());
}

#[test]
fn one_is_answered_alone_and_everybody_from_time_to_time() {
    let mut bench = Bench::settled();
    bench.receive(PEER, &alone(question("node.local.", RecordType::A)));
    let (to, _) = bench.only();
    assert_eq!(to, PEER);
    // A quarter of 120 s after everybody was told.
    bench.pass(30_000);
    bench.receive(PEER, &alone(question("node.local.", RecordType::A)));
    let (to, _) = bench.only();
    assert_eq!(to, GROUP);
    bench.receive(PEER, &alone(question("node.local.", RecordType::A)));
    let (to, _) = bench.only();
    assert_eq!(to, PEER);
}

#[test]
fn a_client_that_knows_nothing_of_mdns_gets_a_plain_reply() {
    let mut bench = Bench::settled();
    let mut asked = question("node.local.", RecordType::A);
    asked.metadata.id = 4711;
    bench.receive(PLAIN, &asked);
    let (to, reply) = bench.only();
    assert_eq!((to, reply.metadata.id, &reply.queries), (PLAIN, 4711, &asked.queries));
    assert!(reply.answers.iter().all(|record| record.ttl <= 10 && record.dns_class == DNSClass::IN));

    asked.queries = question("www.local.", RecordType::A).queries;
    bench.receive(PLAIN, &asked);
    let (_, ticket) = bench.summons[0];
    bench.summoned(ticket, Some(60));
    let (to, reply) = bench.only();
    assert_eq!((to, reply.metadata.id, reply.answers[0].ttl), (PLAIN, 4711, 10));
}

#[test]
fn a_name_that_somebody_has_is_left_to_them() {
    let mut bench = Bench::new();
    bench.pass(300);
    bench.receive(PEER, &saying(address("www.local.", 99)));
    bench.sent.clear();
    bench.pass(10_000);
    let said: Vec<Record> = bench.sent.iter().flat_map(|(_, message)| message.answers.clone()).collect();
    assert!(has(&said, "www-2.local.", "10.0.0.20"));
    assert!(has(&said, "www-2._http._tcp.local.", "0 0 80 www-2.local."));
    assert!(!has(&said, "www.local.", "10.0.0.20"));
    assert!(has(&said, "node.local.", "10.0.0.1"));
}

#[test]
fn a_name_is_defended_and_given_up_only_to_who_insists() {
    let mut bench = Bench::settled();
    // What the same record says is no conflict, nor is a farewell.
    bench.receive(PEER, &saying(address("node.local.", 1)));
    let mut gone = address("node.local.", 99);
    gone.ttl = 0;
    bench.receive(PEER, &saying(gone));
    assert_eq!(bench.responder.deadline(), None);
    // Somebody asks for it: they are told that it is taken.
    bench.receive(PEER, &alone(question("node.local.", RecordType::ANY)));
    let (_, reply) = bench.only();
    assert!(has(&reply.answers, "node.local.", "10.0.0.1"));
    // Even if its address is nobody's business.
    bench.receive(PEER, &alone(question("cold.local.", RecordType::ANY)));
    let (_, reply) = bench.only();
    assert_eq!(reply.answers[0].record_type(), RecordType::NSEC);

    // Somebody claims it: it is asked for again, and kept if they are silent.
    bench.receive(PEER, &saying(address("node.local.", 99)));
    bench.pass(10_000);
    bench.sent.clear();
    bench.ask(PEER, "node.local.", RecordType::A);
    assert!(has(&bench.only().1.answers, "node.local.", "10.0.0.1"));
    // And given up if they insist.
    bench.receive(PEER, &saying(address("node.local.", 99)));
    bench.pass(400);
    bench.receive(PEER, &saying(address("node.local.", 99)));
    bench.pass(10_000);
    bench.sent.clear();
    bench.ask(PEER, "node.local.", RecordType::A);
    assert!(bench.sent.is_empty());
    bench.ask(PEER, "node-2.local.", RecordType::A);
    assert!(has(&bench.only().1.answers, "node-2.local.", "10.0.0.1"));
}

#[test]
fn of_two_who_ask_at_once_the_greater_has_the_name() {
    for (theirs, taken) in [(99, false), (1, true)] {
        let mut bench = Bench::new();
        bench.pass(300);
        let mut probe = question("www.local.", RecordType::ANY);
        probe.add_authority(address("www.local.", theirs));
        bench.receive(PEER, &probe);
        bench.sent.clear();
        bench.pass(900);
        let said = bench.sent.iter().any(|(_, message)| has(&message.answers, "www.local.", "10.0.0.20"));
        assert_eq!(said, taken);
        // It waits a second, and asks again.
        bench.pass(3000);
        let said = bench.sent.iter().any(|(_, message)| has(&message.answers, "www.local.", "10.0.0.20"));
        assert!(said);
    }
}

#[test]
fn one_who_always_has_the_name_does_not_keep_it_busy() {
    let mut bench = Bench::new();
    for _ in 0..2000 {
        bench.pass(100);
        let probing: Vec<Name> = bench
            .sent
            .iter()
            .flat_map(|(_, message)| &message.queries)
            .map(|query| query.name().clone())
            .collect();
        bench.sent.clear();
        for owner in probing.iter().filter(|name| name.num_labels() == 2) {
            bench.receive(
                PEER,
                &saying(Record::from_rdata(owner.clone(), 120, RData::A(A::new(10, 0, 0, 99)))),
            );
        }
    }
    bench.sent.clear();
    bench.pass(20_000);
    // Left alone, it settles.
    assert!(bench.sent.iter().any(|(_, message)| has(
        &message.answers,
        "_services._dns-sd._udp.local.",
        "_http._tcp.local."
    )));
}

#[test]
fn noise_does_nothing() {
    let mut bench = Bench::settled();
    let mut random = Random::seeded(3);
    let good = question("node.local.", RecordType::A).to_vec().unwrap();
    for _ in 0..20_000 {
        let mut noise = good.clone();
        for _ in 0..1 + random.below(4) {
            let place = random.below(noise.len() as u32) as usize;
            noise[place] = random.number() as u8;
        }
        let mut effects = Vec::new();
        bench.responder.received(&noise, PEER, bench.now, &mut effects);
        bench.pass(1);
    }
    bench.pass(10_000);
    bench.sent.clear();
    bench.ask(PEER, "node.local.", RecordType::A);
    assert!(has(&bench.only().1.answers, "node.local.", "10.0.0.1"));
    // Nor does what one has said oneself.
    bench.ask(SocketAddrV4::new(OWN, PORT), "www.local.", RecordType::A);
    assert!(bench.summons.is_empty());
}

#[test]
fn a_flood_of_questions_is_bounded() {
    let mut bench = Bench::settled();
    for _ in 0..1000 {
        bench.ask(PEER, "www.local.", RecordType::A);
        bench.ask(PEER, "_http._tcp.local.", RecordType::PTR);
    }
    assert!(bench.summons.len() <= 64, "{}", bench.summons.len());
    bench.pass(500);
    assert!(bench.sent.len() < 10, "{} messages", bench.sent.len());
}

#[test]
fn at_the_end_everything_is_taken_back() {
    let bench = Bench::settled();
    let mut effects = Vec::new();
    bench.responder.farewell(&mut effects);
    let mut gone = Vec::new();
    for effect in effects {
        let Effect::Send(GROUP, message) = effect else { panic!("{effect:?}") };
        gone.extend(Message::from_vec(&message).unwrap().answers.clone());
    }
    assert!(gone.iter().all(|record| record.ttl == 0));
    assert!(has(&gone, "_http._tcp.local.", "www._http._tcp.local."));
}
