//! The console: a ring that the node reads into the service's log.
//!
//! Writing never waits. What does not fit is lost, and so is all that follows until there is room again,
//! where a mark says so.

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use spin::Once;
use xen_sys::EvtchnPort;
use xen_sys::io::console::{OUT_SIZE, XenconsInterface};

use crate::xen::event;
use crate::xen::page::SharedPage;

const OUTPUT: usize = offset_of!(XenconsInterface, output);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

struct Console {
    page: SharedPage,
    port: EvtchnPort,
    lost: AtomicBool,
}

static CONSOLE: Once<Console> = Once::new();

/// Prints to this ring from now on; what was printed before is lost.
pub fn init(page: SharedPage, port: EvtchnPort) {
    CONSOLE.call_once(|| Console { page, port, lost: AtomicBool::new(false) });
}

impl Console {
    /// Writes all of `bytes`, or nothing when they do not fit.
    fn write(&self, bytes: &[u8]) -> bool {
        let producer = self.page.u32(OUT_PROD).load(Ordering::Relaxed);
        let consumer = self.page.u32(OUT_CONS).load(Ordering::Acquire);
        let used = producer.wrapping_sub(consumer) as usize;
        if bytes.len() > OUT_SIZE.saturating_sub(used) {
            return false;
        }
        // The reader is done with these places: its index was read before.
        fence(Ordering::SeqCst);
        let place = producer as usize % OUT_SIZE;
        let (first, second) = bytes.split_at(bytes.len().min(OUT_SIZE - place));
        self.page.write(OUTPUT + place, first);
        self.page.write(OUTPUT, second);
        let producer = producer.wrapping_add(bytes.len() as u32);
        self.page.u32(OUT_PROD).store(producer, Ordering::Release);
        true
    }
}

/// Where [`print!`](crate::print) writes; one notification for all that was written, when it is dropped.
#[derive(Debug)]
pub struct Writer(());

impl Writer {
    /// Writes to the console, or nowhere before it is there.
    pub fn new() -> Self {
        Writer(())
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(console) = CONSOLE.get() else {
            return Ok(());
        };
        let recovered = !console.lost.load(Ordering::Relaxed) || console.write(b"[lost]\n");
        let written = recovered && console.write(text.as_bytes());
        console.lost.store(!written, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(console) = CONSOLE.get() {
            event::notify(console.port);
        }
    }
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {{
        // Writing to the console never fails.
        let _ = core::fmt::Write::write_fmt(
            &mut $crate::xen::console::Writer::new(),
            format_args!($($argument)*),
        );
    }};
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($format:literal $($argument:tt)*) => { $crate::print!("{}\n", format_args!($format $($argument)*)) };
}
