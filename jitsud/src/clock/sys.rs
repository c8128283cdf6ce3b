//! Setting and slewing the kernel's wall clock.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

/// Sets the wall clock to a time since 1970.
pub fn set(since_1970: Duration) -> io::Result<()> {
    let seconds = libc::time_t::try_from(since_1970.as_secs()).map_err(io::Error::other)?;
    let time = TimeSpec::new(seconds, since_1970.subsec_nanos() as _);
    Ok(clock_settime(ClockId::CLOCK_REALTIME, time)?)
}

/// Lets the wall clock run 500 ppm faster or slower until so many microseconds have been made up for, as
/// `adjtime(3)` does. What is left of an earlier call is forgotten.
pub fn slew(offset_us: i32) -> io::Result<()> {
    // SAFETY: `timex` is made of integers, for which zeros are values.
    let mut request: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    request.modes = libc::ADJ_OFFSET_SINGLESHOT;
    request.offset = offset_us.into();
    // SAFETY: the kernel reads and fills in `request`, which is of the C library's own layout and lives until the
    // call returns.
    match unsafe { libc::adjtimex(&raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _clock_state => Ok(()),
    }
}
