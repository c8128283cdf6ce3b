//! Time since the guest began, from the architected virtual counter.

use core::time::Duration;

use spin::Once;

use crate::arch::cpu;

/// A value of the virtual counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticks(pub u64);

struct Clock {
    /// The counter at the guest's first instruction.
    entry: u64,
    /// Hz.
    frequency: u64,
}

static CLOCK: Once<Clock> = Once::new();

/// Starts the clock. `frequency` is the device tree's, for firmware that has not set the register.
///
/// # Panics
/// There is no frequency.
pub fn init(entry: Ticks, frequency: Option<u32>) {
    let frequency = u64::from(frequency.unwrap_or_else(cpu::counter_frequency));
    assert!(frequency != 0, "the timer's frequency is unknown: CNTFRQ is 0 and clock-frequency is absent");
    CLOCK.call_once(|| Clock { entry: entry.0, frequency });
}

fn clock() -> &'static Clock {
    CLOCK.get().expect("the clock is used before clock::init")
}

/// The counter now.
pub fn ticks() -> Ticks {
    Ticks(cpu::counter())
}

/// Time since the guest's first instruction.
pub fn uptime() -> Duration {
    let clock = clock();
    let ticks = cpu::counter() - clock.entry;
    let nanoseconds = ticks % clock.frequency * 1_000_000_000 / clock.frequency;
    Duration::new(ticks / clock.frequency, nanoseconds as u32)
}

/// What the counter will be when [`uptime`] is `uptime`, rounded up.
pub fn at(uptime: Duration) -> Ticks {
    let clock = clock();
    let fraction = (u64::from(uptime.subsec_nanos()) * clock.frequency).div_ceil(1_000_000_000);
    Ticks(clock.entry + uptime.as_secs().saturating_mul(clock.frequency).saturating_add(fraction))
}
