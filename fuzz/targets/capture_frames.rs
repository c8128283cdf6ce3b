//! Frames whole and damaged, phases and times, against what always holds of a capture; see
//! `capture/tests/capture/bytes.rs`. Every choice is a byte of the input. Checksums count as right here (smoltcp).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "a module of capture's tests, of which this target uses a part")]
#[path = "../../capture/tests/capture/build.rs"]
mod build;
#[expect(dead_code, reason = "a module of capture's tests, of which this target uses a part")]
#[path = "../../capture/tests/capture/bytes.rs"]
mod bytes;

fuzz_target!(|input: &[u8]| {
    let mut rest = input.iter();
    let choose = |n: usize| rest.next().map_or(0, |byte| usize::from(*byte) % n);
    bytes::run(choose, input.len() / 8);
});
