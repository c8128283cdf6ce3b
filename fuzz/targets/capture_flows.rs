//! Segments whole and damaged, as a guest's vif may have them, against what always holds of the table of open
//! connections; see `capture/tests/capture/flows.rs`. Every choice is a byte of the input. Besides, all of the input is a
//! frame.
#![no_main]

use capture::{Direction, FlowBounds, Flows, Moment, ServiceId};
use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "a module of capture's tests, of which this target uses a part")]
#[path = "../../capture/tests/capture/build.rs"]
mod build;
#[expect(dead_code, reason = "a module of capture's tests, of which this target uses a part")]
#[path = "../../capture/tests/capture/flows.rs"]
mod flows;

fuzz_target!(|input: &[u8]| {
    let mut table = Flows::new(FlowBounds::default());
    for direction in [Direction::ToGuest, Direction::FromGuest] {
        table.segment(Moment(0), ServiceId(0), direction, input);
    }
    assert!(table.total() <= 2);
    let mut rest = input.iter();
    let choose = |n: usize| rest.next().map_or(0, |byte| usize::from(*byte) % n);
    flows::run(choose, input.len() / 4);
});
