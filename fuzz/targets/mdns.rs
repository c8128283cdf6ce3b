//! What hosts on the link send to port 5353, while names are asked for and when they are settled. Each message is
//! answered with few, which can be read, and nothing is held for ever.
//!
//! The first byte: how far the responder is, and where the message comes from.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hickory_server::proto::op::Message;
use jitsud::config::{Offer, Quiet};
use jitsud::directory::Moment;
use jitsud::mdns::records::{Host, Served};
use jitsud::mdns::responder::{Effect, PORT, Responder};
use jitsud::random::Random;
use jitsud::summoner::ServiceId;
use libfuzzer_sys::fuzz_target;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

fn host(label: &str, last: u8, service: Option<bool>) -> Host {
    Host {
        label: label.to_owned(),
        v4: Ipv4Addr::new(10, 0, 0, last),
        v6: Some("fd00::1".parse().expect("an address")),
        offers: vec![Offer { kind: "_http._tcp".to_owned(), port: 80 }],
        service: service.map(|woken| Served { id: ServiceId(last.into()), quiet: Quiet::default(), woken }),
    }
}

/// Lets time go by; returns how many messages were sent.
fn pass(responder: &mut Responder, now: &mut Moment, time: Duration) -> usize {
    let end = now.after(time);
    let mut sent = 0;
    while let Some(due) = responder.deadline().filter(|due| *due <= end) {
        *now = due.max(*now);
        let mut effects = Vec::new();
        responder.tick(*now, &mut effects);
        sent += effects.len();
    }
    *now = end;
    sent
}

fuzz_target!(|input: &[u8]| {
    let Some((&control, message)) = input.split_first() else { return };
    let hosts = vec![host("node", 1, None), host("www", 20, Some(true)), host("cold", 21, Some(false))];
    let mut now = Moment(1);
    let mut responder = Responder::new(OWN, hosts, Random::seeded(1), now).expect("good names");
    let before = if control & 1 == 0 { 10_000 } else { 400 };
    pass(&mut responder, &mut now, Duration::from_millis(before));
    let port = if control & 2 == 0 { PORT } else { 40_000 };
    let mut effects = Vec::new();
    responder.received(message, SocketAddrV4::new(PEER, port), now, &mut effects);
    // A reply of its own for each question of a client that knows nothing of mDNS; otherwise two for all.
    assert!(effects.len() <= 3 * 128);
    for effect in effects {
        match effect {
            Effect::Send(_, message) => drop(Message::from_vec(&message).expect("a message")),
            Effect::Summon(_, ticket, source) => {
                assert_eq!(source, PEER);
                let mut effects = Vec::new();
                responder.summoned(ticket, Some(Duration::from_secs(60)), now, &mut effects);
                assert_eq!(effects.len(), 1);
            }
        }
    }
    let sent = pass(&mut responder, &mut now, Duration::from_secs(20));
    assert!(sent < 200, "{sent} messages");
    assert_eq!(responder.deadline(), None);
});
