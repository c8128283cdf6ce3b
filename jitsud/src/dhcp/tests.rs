//! Messages by the byte, and one client by script.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

use super::*;
use crate::directory::Moment;
use crate::random::Random;

pub const MAC: Mac = Mac([0x00, 0x16, 0x3e, 1, 2, 3]);
const SERVER: [u8; 4] = [192, 168, 7, 1];
const HOUR: [u8; 4] = 3600_u32.to_be_bytes();

/// A reply, written as RFC 2131 draws it.
#[derive(Clone)]
pub struct Message {
    pub fixed: [u8; 240],
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// A good one for [`MAC`]: `.20` of 192.168.7.0/24 for an hour.
    pub fn new(kind: u8, xid: u32) -> Self {
        let mut fixed = [0; 240];
        fixed[..3].copy_from_slice(&[2, 1, 6]);
        fixed[4..8].copy_from_slice(&xid.to_be_bytes());
        fixed[16..20].copy_from_slice(&[192, 168, 7, 20]);
        fixed[28..34].copy_from_slice(&MAC.0);
        fixed[236..].copy_from_slice(&[99, 130, 83, 99]);
        let options = vec![
            (53, vec![kind]),
            (54, SERVER.to_vec()),
            (51, HOUR.to_vec()),
            (1, vec![255, 255, 255, 0]),
            (3, SERVER.to_vec()),
        ];
        Message { fixed, options }
    }

    /// With another option, or without it.
    pub fn with(mut self, number: u8, data: &[u8]) -> Self {
        self.options.retain(|(other, _)| *other != number);
        if !data.is_empty() {
            self.options.push((number, data.to_vec()));
        }
        self
    }

    /// With other bytes in the fixed part.
    pub fn at(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.fixed[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed.to_vec();
        for (number, data) in &self.options {
            bytes.extend([*number, data.len() as u8]);
            bytes.extend(data);
        }
        bytes.push(255);
        bytes
    }

    fn parse(&self) -> Option<Reply> {
        Reply::parse(&self.bytes())
    }
}

/// What a question says: type, transaction, requested address, server.
pub fn read_question(bytes: &[u8]) -> (DhcpMessageType, u32, Option<Ipv4Addr>, Option<Ipv4Addr>) {
    let packet = DhcpPacket::new_checked(bytes).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert!(repr.broadcast && repr.client_ip.is_unspecified() && repr.relay_agent_ip.is_unspecified());
    assert_eq!(repr.client_identifier, Some(repr.client_hardware_address));
    (repr.message_type, repr.transaction_id, repr.requested_ip, repr.server_identifier)
}

fn lease(message: &Message) -> Option<Lease> {
    message.parse().unwrap().lease
}

#[test]
fn a_question_is_as_servers_expect_it() {
    let who = Identity { mac: MAC, name: "www".to_owned() };
    let mut random = Random::seeded(1);
    let mut client = Client::new(who, Moment(0), &mut random);
    let bytes = client.timer(Moment(0), &mut random).send.unwrap();
    assert_eq!(bytes.len(), 300);
    assert_eq!((&bytes[..4], &bytes[10..12]), (&[1, 1, 6, 0][..], &[0x80, 0][..]));
    assert_eq!((&bytes[12..28], &bytes[28..34], &bytes[34..236]), (&[0; 16][..], &MAC.0[..], &[0; 202][..]));
    let options = [
        &[99, 130, 83, 99, 53, 1, 1, 61, 7, 1, 0x00, 0x16, 0x3e, 1, 2, 3][..],
        &[57, 2, 0x05, 0xc0, 55, 6, 1, 3, 6, 15, 42, 58, 12, 3],
        b"www\xff",
    ];
    let end = 236 + options.concat().len();
    assert_eq!((&bytes[236..end], bytes[end..].iter().max()), (&options.concat()[..], Some(&0)));
}

#[test]
fn a_reply_is_read_with_what_belongs_to_it() {
    let message = Message::new(5, 7)
        .with(6, &[192, 168, 7, 4, 1, 1, 1, 1])
        .with(42, &[192, 168, 7, 3])
        .with(15, b"lan.test\0")
        .with(58, &1000_u32.to_be_bytes());
    let addressing =
        Addressing { address: [192, 168, 7, 20].into(), prefix: 24, gateway: Some(SERVER.into()) };
    let lease = Lease {
        addressing,
        server: SERVER.into(),
        dns: vec![[192, 168, 7, 4].into(), [1, 1, 1, 1].into()],
        ntp: vec![[192, 168, 7, 3].into()],
        domain: Some("lan.test".to_owned()),
        duration: Duration::from_secs(3600),
        renewal: Duration::from_secs(1000),
    };
    let reply = Reply { kind: Kind::Ack, xid: 7, mac: MAC, server: SERVER.into(), lease: Some(lease) };
    assert_eq!(message.parse(), Some(reply));
    assert_eq!(Message::new(2, 7).parse().unwrap().kind, Kind::Offer);
    assert_eq!(Message::new(6, 7).parse().unwrap().lease, None);
}

#[test]
fn what_is_no_reply_to_a_client_is_nothing() {
    let good = || Message::new(5, 7);
    let table = [
        ("a question", good().at(0, &[1])),
        ("not Ethernet", good().at(1, &[6])),
        ("a long hardware address", good().at(2, &[255])),
        ("BOOTP's magic number", good().at(236, &[0])),
        ("no type", good().with(53, &[])),
        ("a type of two bytes", good().with(53, &[5, 5])),
        ("a type for servers", good().with(53, &[1])),
        ("an unknown type", good().with(53, &[200])),
        ("no server", good().with(54, &[])),
        ("half a server", good().with(54, &[192, 168])),
        ("a server for everybody", good().with(54, &[255; 4])),
    ];
    for (what, message) in table {
        assert_eq!(message.parse(), None, "{what}");
    }
    let bytes = good().bytes();
    for length in 0..bytes.len() {
        // Cut off anywhere, it is nothing or a shorter message, and never more than that.
        let reply = Reply::parse(&bytes[..length]);
        assert!(length >= 240 || reply.is_none(), "{length}");
    }
}

#[test]
fn an_address_that_no_host_can_use_is_no_lease() {
    let good = || Message::new(2, 7);
    assert!(lease(&good()).is_some());
    for (what, message) in [
        ("no address", good().at(16, &[0; 4])),
        ("everybody", good().at(16, &[255; 4])),
        ("loopback", good().at(16, &[127, 0, 0, 1])),
        ("multicast", good().at(16, &[224, 0, 0, 1])),
        ("the network", good().at(16, &[192, 168, 7, 0])),
        ("the broadcast", good().at(16, &[192, 168, 7, 255])),
        ("no room for others", good().with(1, &[255, 255, 255, 255])),
        ("a mask with holes", good().with(1, &[255, 0, 255, 0])),
        ("a mask of nothing", good().with(1, &[0, 0, 0, 0])),
        ("no end", good().with(51, &[])),
        ("half an end", good().with(51, &[0, 1])),
    ] {
        assert_eq!(lease(&message), None, "{what}");
    }
}

#[test]
fn what_is_odd_about_a_lease_is_put_right() {
    let good = || Message::new(2, 7);
    let seconds = |duration: Duration| duration.as_secs();
    for (given, taken) in [(0_u32, 60), (59, 60), (3600, 3600), (u32::MAX, 30 * 86_400)] {
        let lease = lease(&good().with(51, &given.to_be_bytes())).unwrap();
        assert_eq!((seconds(lease.duration), seconds(lease.renewal)), (taken, taken / 2));
    }
    for (given, taken) in [(0_u32, 450), (900, 900), (3600, 3150), (u32::MAX, 3150)] {
        let lease = lease(&good().with(58, &given.to_be_bytes())).unwrap();
        assert_eq!(seconds(lease.renewal), taken);
    }
    for (address, prefix) in [([10, 1, 1, 1], 8), ([172, 16, 1, 1], 16), ([192, 168, 7, 20], 24)] {
        let lease = lease(&good().at(16, &address).with(1, &[])).unwrap();
        assert_eq!(lease.addressing.prefix, prefix);
    }
    // A gateway elsewhere is none, but the second of a list may do.
    for (routers, gateway) in [
        (vec![10, 0, 0, 1], None),
        (vec![192, 168, 7, 20], None),
        (vec![10, 0, 0, 1, 192, 168, 7, 2], Some([192, 168, 7, 2].into())),
        (vec![192, 168, 7], None),
    ] {
        assert_eq!(lease(&good().with(3, &routers)).unwrap().addressing.gateway, gateway, "{routers:?}");
    }
    let many: Vec<u8> = (1..=60).flat_map(|last| [1, 1, 1, last]).collect();
    assert_eq!(lease(&good().with(6, &many)).unwrap().dns.len(), 8);
    assert_eq!(
        lease(&good().with(6, &[0, 0, 0, 0, 255, 255, 255, 255, 9])).unwrap().dns,
        Vec::<Ipv4Addr>::new()
    );
    for bad in [&b"a b"[..], b"caf\xe9", b"\0", b"\x1b[2J", &[b'a'; 254]] {
        assert_eq!(lease(&good().with(15, bad)).unwrap().domain, None, "{bad:?}");
    }
}

/// A client, its clock, and what it has said last.
struct Script {
    client: Client,
    random: Random,
    now: Moment,
    xid: u32,
}

impl Script {
    fn new() -> Self {
        let mut random = Random::seeded(3);
        let who = Identity { mac: MAC, name: "www".to_owned() };
        let client = Client::new(who, Moment(0), &mut random);
        Script { client, random, now: Moment(0), xid: 0 }
    }

    /// Goes on to the deadline; returns what is said then, and after how many seconds.
    fn wait(&mut self) -> (u64, DhcpMessageType, Option<Event>) {
        let before = self.now;
        self.now = self.client.deadline();
        let early = Moment(self.now.0.saturating_sub(1));
        if early >= before && early < self.now {
            assert_eq!(self.client.timer(early, &mut self.random), Output::default());
        }
        let output = self.client.timer(self.now, &mut self.random);
        let (kind, xid, ..) = read_question(&output.send.expect("a question"));
        self.xid = xid;
        (self.now.since(before).as_secs(), kind, output.event)
    }

    fn reply(&mut self, message: &Message) -> Output {
        let output = self.client.receive(self.now, &message.parse().unwrap(), &mut self.random);
        if let Some(send) = &output.send {
            self.xid = read_question(send).1;
        }
        output
    }

    fn bind(&mut self) -> Lease {
        self.wait();
        let request = self.reply(&Message::new(2, self.xid)).send.unwrap();
        let (kind, xid, wish, server) = read_question(&request);
        assert_eq!((kind, xid), (DhcpMessageType::Request, self.xid));
        assert_eq!((wish, server), (Some([192, 168, 7, 20].into()), Some(SERVER.into())));
        match self.reply(&Message::new(5, self.xid)) {
            Output { send: None, event: Some(Event::Leased(lease)) } => lease,
            other => panic!("no lease: {other:?}"),
        }
    }
}

#[test]
fn without_a_server_it_asks_ever_more_rarely() {
    let mut script = Script::new();
    assert_eq!(script.wait(), (0, DhcpMessageType::Discover, None));
    for expected in [4, 8, 16, 32, 64, 64, 64] {
        let (seconds, kind, event) = script.wait();
        assert!(seconds.abs_diff(expected) <= 1, "{seconds} s instead of {expected}");
        assert_eq!((kind, event), (DhcpMessageType::Discover, None));
    }
}

#[test]
fn a_lease_is_had_prolonged_and_lost() {
    let mut script = Script::new();
    let lease = script.bind();
    assert_eq!(script.client.lease(), Some(&lease));
    // Half of the hour, and it is agreed upon.
    assert_eq!(script.wait(), (1800, DhcpMessageType::Request, None));
    let agreed = script.reply(&Message::new(5, script.xid));
    assert_eq!(agreed, Output { send: None, event: Some(Event::Leased(lease.clone())) });
    // Again, and nobody is there: half of what is left, until it has expired.
    assert_eq!(script.wait(), (1800, DhcpMessageType::Request, None));
    for pause in [900, 450, 225, 112, 60] {
        let (seconds, kind, event) = script.wait();
        assert_eq!((kind, event), (DhcpMessageType::Request, None));
        assert_eq!(seconds, pause);
    }
    let (_, kind, event) = script.wait();
    assert_eq!((kind, event), (DhcpMessageType::Discover, Some(Event::Expired)));
    assert_eq!(script.client.lease(), Some(&lease));
    assert_eq!(script.bind(), lease);
}

#[test]
fn a_lease_runs_from_when_it_was_asked_for_and_not_from_the_first_question_ever() {
    let mut script = Script::new();
    for _ in 0..100 {
        script.wait();
    }
    script.bind();
    assert!(script.client.deadline().since(script.now) > Duration::from_secs(1790));
}

#[test]
fn an_offer_that_is_not_honoured_is_forgotten() {
    let mut script = Script::new();
    script.wait();
    script.reply(&Message::new(2, script.xid));
    for expected in [4, 8, 16] {
        let (seconds, kind, _) = script.wait();
        assert!(seconds.abs_diff(expected) <= 1 && kind == DhcpMessageType::Request, "{seconds} s, {kind:?}");
    }
    let (seconds, kind, _) = script.wait();
    assert!(seconds.abs_diff(32) <= 1 && kind == DhcpMessageType::Discover, "{seconds} s, {kind:?}");
    script.bind();
}

#[test]
fn refusals_are_answered_ever_more_slowly() {
    let mut script = Script::new();
    for expected in [0, 4, 8, 16, 32, 64, 64] {
        let (seconds, kind, _) = script.wait();
        assert!(
            seconds.abs_diff(expected) <= 1 && kind == DhcpMessageType::Discover,
            "{seconds} s, {kind:?}"
        );
        let asked = script.xid;
        script.reply(&Message::new(2, asked));
        let refused = script.reply(&Message::new(6, asked));
        assert_eq!(refused, Output { send: None, event: Some(Event::Refused) });
        // Another offer for the old question comes too late.
        assert_eq!(script.reply(&Message::new(2, asked)), Output::default());
    }
    script.bind();
}

#[test]
fn a_server_may_take_a_lease_back() {
    let mut script = Script::new();
    let lease = script.bind();
    script.wait();
    let refused = script.reply(&Message::new(6, script.xid).with(54, &[192, 168, 7, 99]));
    assert_eq!(refused.event, Some(Event::Refused));
    assert_eq!(script.client.lease(), Some(&lease), "it is used until there is another one");
    let (_, kind, _) = script.wait();
    assert_eq!(kind, DhcpMessageType::Discover);
    script.reply(&Message::new(2, script.xid).at(19, &[33]));
    let other = script.reply(&Message::new(5, script.xid).at(19, &[33]));
    let Some(Event::Leased(other)) = other.event else { panic!("{other:?}") };
    assert_eq!(other.addressing.address, Ipv4Addr::new(192, 168, 7, 33));
}

#[test]
fn what_was_not_asked_for_changes_nothing() {
    let mut script = Script::new();
    // Nobody was asked yet.
    assert_eq!(script.reply(&Message::new(2, script.xid)), Output::default());
    script.wait();
    let xid = script.xid;
    let unwanted = |script: &mut Script, messages: &[Message]| {
        let deadline = script.client.deadline();
        for message in messages {
            assert_eq!(script.reply(message), Output::default(), "{:?}", message.options);
            assert_eq!(script.client.deadline(), deadline);
        }
    };
    let other_mac = Message::new(2, xid).at(28, &[0x02]);
    unwanted(&mut script, &[Message::new(2, xid ^ 1), other_mac, Message::new(5, xid), Message::new(6, xid)]);
    unwanted(&mut script, &[Message::new(2, xid).with(51, &[])]);
    script.reply(&Message::new(2, xid));
    let others = Message::new(5, xid).with(54, &[192, 168, 7, 2]);
    let refusal_of_others = Message::new(6, xid).with(54, &[192, 168, 7, 2]);
    let another = Message::new(5, xid).at(19, &[21]);
    unwanted(&mut script, &[Message::new(2, xid), others, refusal_of_others, another]);
    script.reply(&Message::new(5, xid));
    // While all is well, nobody can say anything to it.
    unwanted(&mut script, &[Message::new(2, xid), Message::new(5, xid), Message::new(6, xid)]);
    script.wait();
    let xid = script.xid;
    unwanted(&mut script, &[Message::new(2, xid), Message::new(5, xid).at(19, &[21])]);
}
