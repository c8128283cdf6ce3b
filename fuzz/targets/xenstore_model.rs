//! Requests of several clients, with transactions and restarts, against the naive model of
//! `xenstore/tests/reference`. Every choice is a byte of the input.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../xenstore/tests/reference/model.rs"]
mod model;
#[path = "../../xenstore/tests/reference/run.rs"]
mod run;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.iter();
    let choose = |n: usize| bytes.next().map_or(0, |byte| usize::from(*byte) % n);
    run::run(choose, input.len() / 4);
});
