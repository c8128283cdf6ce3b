//! Questions about a zone that has something of everything. Whether a name exists is found out a second time, with lists
//! of labels; each reply fits, can be read, repeats its question, and says what is not there in a way that may be cached.
//!
//! The first byte of an input says how the message comes and what becomes of services, the rest is the message.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hickory_server::proto::op::{Message, Query, ResponseCode};
use hickory_server::proto::rr::{DNSClass, Name, Record, RecordType};
use jitsud::directory::Moment;
use jitsud::dns::{Transport, Zone, reply};
use jitsud::summoner::{Request, SummonError, Summoned, Summoner};
use libfuzzer_sys::fuzz_target;

mod configured;
use configured::configured;

const CONFIG: &str = include_str!("../seeds/config/names");

/// The names of `CONFIG` below its domain, without those in between.
const NAMES: [&str; 13] =
    ["jitsu", "*.x", "both", "b", "*.users", "_http._tcp", "*", "alias", "n", "k", "t", "six", ""];

fn zone() -> &'static Arc<Zone> {
    static ZONE: OnceLock<Arc<Zone>> = OnceLock::new();
    ZONE.get_or_init(|| {
        let loaded = configured(CONFIG);
        assert_eq!((&loaded.problems[..], loaded.config.services.len()), (&[][..], 4));
        Arc::new(Zone::new(&loaded.config).expect("good names"))
    })
}

/// A name's labels, the last one first.
type Labels = Vec<Vec<u8>>;

fn labels(name: &Name) -> Labels {
    let mut labels: Labels = name.iter().map(<[u8]>::to_ascii_lowercase).collect();
    labels.reverse();
    labels
}

/// Whether the zone has a name, by itself or by a wildcard (RFC 4592); `None` for one that is not in the zone.
fn exists(name: &Name) -> Option<bool> {
    static OWNERS: OnceLock<Vec<Labels>> = OnceLock::new();
    let owners = OWNERS.get_or_init(|| {
        let whole = |name: &&str| format!("{name}.jitsu.test.").trim_start_matches('.').to_owned();
        NAMES.iter().map(whole).map(|name| labels(&Name::from_ascii(name).expect("a name"))).collect()
    });
    let name = labels(name);
    if !name.starts_with(&[b"test".to_vec(), b"jitsu".to_vec()]) {
        return None;
    }
    let is_there = |name: &[Vec<u8>]| owners.iter().any(|owner| owner.starts_with(name));
    let encloser = (0..=name.len()).rev().map(|length| &name[..length]).find(|name| is_there(name))?;
    Some(encloser.len() == name.len() || is_there(&[encloser, &[b"*".to_vec()]].concat()))
}

/// The reply, when all services that it takes have become what `outcome` says, and how many these were.
fn ask(
    message: &[u8],
    transport: Transport,
    outcome: &Result<Summoned, SummonError>,
) -> (Option<Vec<u8>>, usize) {
    let (summoner, mut requests) = Summoner::new(8);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
    let mut replying = pin!(reply(message, peer, transport, Moment(1), zone(), &summoner));
    let mut context = Context::from_waker(Waker::noop());
    let mut count = 0;
    loop {
        if let Poll::Ready(reply) = replying.as_mut().poll(&mut context) {
            return (reply, count);
        }
        match requests.try_recv() {
            Ok(Request::Summon { answer, .. } | Request::SummonForHost { answer, .. }) => {
                count += 1;
                answer.send(outcome.clone()).expect("somebody waits for it");
            }
            _ => panic!("it waits for something else"),
        }
    }
}

fn check(message: &[u8], question: &Query, reply: &[u8], summons: usize, works: bool) {
    let read = Message::from_vec(reply).expect("a message");
    let (name, kind) = (question.name(), question.query_type());
    let in_class = question.query_class() == DNSClass::IN;
    let end = 12 + name.iter().map(|label| 1 + label.len()).sum::<usize>() + 1 + 4;
    assert_eq!(reply[12..end], message[12..end], "the question");
    let (code, truncated) = (read.metadata.response_code, read.metadata.truncation);
    assert!(summons == 0 || in_class && matches!(kind, RecordType::A | RecordType::AAAA));
    if summons > 0 {
        assert_eq!(code == ResponseCode::NoError, works);
    }
    let transfer = matches!(kind, RecordType::AXFR | RecordType::IXFR);
    // BADVERS and BADSIG share a number (RFC 6895, section 2.3).
    let bad_version = u16::from(code) == u16::from(ResponseCode::BADVERS);
    if let Some(exists) = exists(name)
        && in_class
        && !transfer
        && !bad_version
    {
        assert_eq!(code == ResponseCode::NXDomain, !exists, "{name} {kind}");
        assert!(read.metadata.authoritative || summons > 0 && !works);
        let alias = |answer: &Record| answer.record_type() == RecordType::CNAME && kind != RecordType::CNAME;
        let absent = read.answers.iter().all(alias) && code != ResponseCode::ServFail && !truncated;
        assert_eq!(read.authorities.len(), usize::from(absent), "{name} {kind}");
        for answer in &read.answers {
            let asked = answer.record_type() == kind || kind == RecordType::ANY;
            assert!(asked || answer.record_type() == RecordType::CNAME, "{name} {kind}: {answer}");
        }
    }
    let owner = read.answers.first().map(|answer| &answer.name);
    assert!(owner.is_none_or(|owner| owner == name));
}

fuzz_target!(|input: &[u8]| {
    let Some((&control, message)) = input.split_first() else { return };
    let transport = if control & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let outcome = match control & 2 {
        0 => Ok(Summoned { address: Ipv4Addr::new(10, 0, 2, 31), ttl: Duration::from_secs(60) }),
        _ => Err(SummonError::NoInstance { count: 2 }),
    };
    let (reply, summons) = ask(message, transport, &outcome);
    let Some(reply) = reply else { return };
    assert!(reply.len() <= if transport == Transport::Udp { 1232 } else { 65_535 });
    if reply.len() > 12 {
        let asked = Message::from_vec(message).expect("what has been answered can be read");
        check(message, &asked.queries[0], &reply, summons, outcome.is_ok());
    }
});
