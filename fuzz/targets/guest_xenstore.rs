//! The unikernels' side of the XenStore protocol: what a store sends, in any pieces.
#![no_main]

extern crate alloc;

// Not as a crate: it has the other workspace's copy of xen-sys, and a build can have only one.
#[allow(dead_code, reason = "the fuzzer makes few kinds of requests")]
#[path = "../../unikernels/core/src/xenstore.rs"]
mod xenstore;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use xenstore::{Client, Request, TransactionId, directory, text, transaction_id};

/// As many events as the client keeps.
const MAX_EVENTS: usize = 64;

fuzz_target!(|input: &[u8]| {
    let mut client = Client::new();
    let mut awaited = Vec::new();
    let mut script = Unstructured::new(input);
    // A byte says what is done, or how many bytes arrive.
    while let Ok(control) = script.arbitrary::<u8>()
        && !script.is_empty()
    {
        match control {
            0 => awaited.push(client.request(TransactionId::NONE, Request::Read("name"))),
            1 => awaited.push(client.request(TransactionId::NONE, Request::TransactionStart)),
            2 => client.post(Request::Write("data/x", b"")),
            3 => client.sent(client.output().len()),
            length => {
                let bytes = script.bytes(usize::from(length).min(script.len())).expect("there are as many");
                if client.receive(bytes).is_err() {
                    return;
                }
            }
        }
        awaited.retain(|id| match client.take_reply(*id) {
            None => true,
            Some(reply) => {
                if let Ok(payload) = reply {
                    let _ = (transaction_id(&payload), text(&payload));
                    for name in directory(&payload).into_iter().flatten() {
                        assert!(!name.is_empty() && !name.contains('\0'));
                    }
                }
                // Given out once.
                assert!(client.take_reply(*id).is_none());
                false
            }
        });
    }
    let mut events = 0;
    while let Some(event) = client.take_event() {
        assert!(!event.path.contains('\0') && !event.token.contains('\0'));
        events += 1;
    }
    assert!(events <= MAX_EVENTS);
});
