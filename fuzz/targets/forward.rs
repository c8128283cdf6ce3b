//! What a client asks that goes to others, and what these answer. Whoever asks gets one reply, which repeats the
//! question, fits, and can be walked through; nothing that comes grows anything.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jitsud::directory::Moment;
use jitsud::dns::forward::cache::MAX_BYTES;
use jitsud::dns::forward::core::{Asked, Core, Effect, Via};
use jitsud::dns::forward::numbers::Numbers;
use jitsud::dns::forward::question::Question;
use jitsud::dns::forward::wire;
use libfuzzer_sys::fuzz_target;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 50));
/// `www.example`, type A, with EDNS.
const QUERY: &[u8] =
    b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0";

fn check(question: &Question, reply: &[u8]) {
    assert!(reply.len() <= question.limit);
    assert_eq!(reply[..2], question.id.to_be_bytes());
    let end = wire::question_end(reply).expect("a question");
    assert_eq!(reply[wire::HEADER..end], *question.asked);
    let records = wire::walk(reply, end).expect("records");
    assert_eq!(records.last().map_or(end, |record| record.data.end), reply.len());
    let opts = records.iter().filter(|record| record.kind == wire::kind::OPT).count();
    assert_eq!(opts, usize::from(question.edns.is_some()));
}

fuzz_target!(|input: &[u8]| {
    let Some((&control, message)) = input.split_first() else { return };
    let over_tcp = control & 1 != 0;
    let question = match control & 2 {
        0 => Question::read(QUERY, CLIENT, over_tcp).expect("a question"),
        _ => match Question::read(message, CLIENT, over_tcp) {
            Some(question) => question,
            None => return,
        },
    };
    let server = (Ipv4Addr::new(192, 168, 1, 1), 53).into();
    let mut core = Core::new(&[server], Numbers::new(&[1; 16]));
    let mut now = Moment(1);
    let mut effects = Vec::new();
    let mut replies = 0;
    if let Asked::Now(reply) = core.ask(question.clone(), now, &mut effects) {
        check(&question, &reply);
        replies += 1;
    }
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Open { attempt, via, message: sent, .. } => {
                let mut reply = message.to_vec();
                // The fuzzer need not find out number and spelling. A connection gets it as it comes.
                if via == Via::Udp && control & 4 == 0 && reply.len() >= wire::HEADER {
                    let end = wire::question_end(&sent).expect("a question");
                    reply[..2].copy_from_slice(&sent[..2]);
                    reply[2] = reply[2] & 0x07 | 0x80;
                    reply[4..6].copy_from_slice(&[0, 1]);
                    reply.splice(wire::HEADER..wire::HEADER, sent[wire::HEADER..end].iter().copied());
                }
                core.received(attempt, &reply, now, &mut effects);
            }
            Effect::Close(_) => {}
            Effect::Reply(_, reply) => {
                check(&question, &reply);
                replies += 1;
            }
        }
        if effects.is_empty()
            && let Some(deadline) = core.deadline()
        {
            now = deadline.max(now);
            core.tick(now, &mut effects);
        }
    }
    assert_eq!(replies, 1);
    let figures = core.figures();
    assert_eq!((figures.waiting, figures.sockets), (0, 0));
    assert!(figures.kept_bytes <= MAX_BYTES);
    // The same from the cache, if it is there.
    now = now.after(Duration::from_secs(7));
    if let Asked::Now(reply) = core.ask(question.clone(), now, &mut effects) {
        check(&question, &reply);
    }
});
