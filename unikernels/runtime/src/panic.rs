//! The end of a guest that cannot go on: a message, then `SHUTDOWN_crash`.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use xen_sys::sched::ShutdownReason;

use crate::println;
use crate::xen::shutdown;

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic while one is printed would only come back here.
    if !PANICKING.swap(true, Ordering::Relaxed) {
        println!("*** {info}");
    }
    shutdown(ShutdownReason::CRASH)
}
