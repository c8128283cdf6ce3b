//! Messages to the node's DNS server, and what a server that the node asks may answer. Whoever asks gets one reply,
//! which fits and can be read; nobody else gets any.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hickory_server::proto::op::{Message, MessageType};
use hickory_server::proto::rr::{RData, RecordType};
use jitsud::clock::lookup::Question;
use jitsud::directory::Moment;
use jitsud::dns::{Begun, Key, Known, Limits, Transport, Zone, begin, brief, reply};
use jitsud::summoner::{Request, Requests, ServiceId, SummonError, Summoned, Summoner, Temperature};
use libfuzzer_sys::fuzz_target;

mod configured;
use configured::configured;

const CONFIG: &str = r#"
[node]
name = "node"
domain = "jitsu.test"
address = "10.0.2.15/24"
[[service]]
name = "www"
dns = ["www.jitsu.test", "deep.below.jitsu.test"]
address = "10.0.2.20"
kernel = "any"
"#;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 20);

fn zone() -> &'static Arc<Zone> {
    &node().0
}

fn node() -> &'static (Arc<Zone>, Limits) {
    static NODE: OnceLock<(Arc<Zone>, Limits)> = OnceLock::new();
    NODE.get_or_init(|| {
        let loaded = configured(CONFIG);
        assert_eq!((loaded.problems.len(), loaded.config.services.len()), (0, 1));
        let limits = Limits::new(&loaded.config.node, [7; 16], Arc::default());
        (Arc::new(Zone::new(&loaded.config).expect("good names")), limits)
    })
}

/// The reply, and whether the service was summoned for it. `outcome` is what becomes of that.
fn ask(
    message: &[u8],
    transport: Transport,
    outcome: Result<Summoned, SummonError>,
) -> (Option<Vec<u8>>, bool) {
    let (summoner, mut requests) = Summoner::new(1);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
    let mut replying = pin!(reply(message, peer, transport, Moment(1), zone(), &summoner));
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(reply) = replying.as_mut().poll(&mut context) {
        return (reply, false);
    }
    let Ok(Request::Summon { answer, .. }) = requests.try_recv() else {
        panic!("it waits for something else");
    };
    answer.send(outcome).expect("somebody waits for it");
    match replying.poll(&mut context) {
        Poll::Ready(reply) => (reply, true),
        Poll::Pending => panic!("it waits although there is an answer"),
    }
}

/// What has been answered once is answered again without another look, and says the same as if it were answered anew: to
/// each question that is taken for the same, and to the same with another number and spelling.
fn again(message: &[u8]) {
    type Kept = Mutex<(Known, Summoner, Requests)>;
    static KEPT: OnceLock<Kept> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let (summoner, requests) = Summoner::new(1);
        let warm = summoner.warm();
        warm.begin([SERVICE].into_iter());
        let temperature = Temperature::Warm { ttl: Duration::from_secs(60), until: Moment(u64::MAX) };
        warm.set(ServiceId(0), temperature);
        Mutex::new((Known::default(), summoner, requests))
    });
    let (known, summoner, _requests) = &mut *kept.lock().expect("nothing has panicked before");
    let (peer, warm) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 4711)), summoner.warm());
    let mut other = message.to_vec();
    other.iter_mut().take(2).for_each(|byte| *byte ^= 0x5a);
    if let Some(end) = message.iter().skip(12).position(|byte| *byte == 0) {
        for byte in other[12..12 + end].iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
            *byte ^= 0x20;
        }
    }
    for message in [message, &other] {
        let Some(key) = Key::of(message) else { continue };
        let anew = begin(message, peer, Transport::Udp, Moment(1), zone(), summoner);
        if let Some((found, _)) = known.find(&key, Moment(1), &warm) {
            let mut found = found.to_vec();
            key.adapt(&mut found, message);
            let Begun::Always(anew, _) = anew else { panic!("it would be another answer") };
            assert_eq!(found, anew);
        } else if let Begun::Always(reply, services) = anew {
            known.keep(&key, &reply, node().1.kind(&reply), services, &warm);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&control, message)) = input.split_first() else { return };
    let transport = if control & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let outcome = match control & 6 {
        0 | 2 => Ok(Summoned { address: SERVICE, ttl: Duration::from_secs(60) }),
        4 => Err(SummonError::Busy),
        _ => Err(SummonError::Failed { reason: "ä".repeat(1000), retry_in: Duration::MAX }),
    };
    let (reply, summoned) = ask(message, transport, outcome.clone());
    let asks = message.len() >= 12 && message[2] & 0x80 == 0;
    assert_eq!(reply.is_some(), asks);
    if let Some(reply) = reply {
        assert!(reply.len() <= if transport == Transport::Udp { 1232 } else { 65_535 });
        let read = Message::from_vec(&reply).expect("a message");
        assert_eq!(read.metadata.message_type, MessageType::Response);
        assert_eq!(reply[..2], message[..2]);
        let slipped = brief::slipped(&reply).expect("a message as well");
        assert!(
            slipped.len() <= reply.len() && Message::from_vec(&slipped).is_ok_and(|short| short.truncation)
        );
        if summoned {
            let asked = Message::from_vec(message);
            assert!(asked.is_ok_and(|asked| asked.queries[0].query_type() == RecordType::A));
        }
        let answers =
            read.answers.iter().filter(|answer| matches!(&answer.data, RData::A(a) if a.0 == SERVICE));
        assert_eq!(answers.count(), usize::from(summoned && outcome.is_ok()));
    }

    again(message);
    let _ = brief::prohibited(message);

    let question = Question::new("ntp.example", 0x1234).expect("a host's name");
    if question.answer(message).is_ok() {
        assert_eq!(message[..2], [0x12, 0x34]);
    }
});
