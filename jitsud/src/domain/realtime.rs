//! A build in one go. On one processor, dom0's kernel would otherwise make the domain's interface as soon as its nodes
//! are there, in the middle of the build; or after it, as it happens. With a second processor it does so beside it.
#![allow(unsafe_code)]

use std::io;

/// The lowest real-time priority: before everything that has none, and behind what the kernel needs itself.
const PRIORITY: libc::c_int = 1;

/// While it lives, its thread goes on before all that has no real-time priority (sched(7)).
#[derive(Debug)]
pub struct Realtime(());

impl Realtime {
    /// For this thread. `None` when Linux refuses; the log says so.
    pub fn begin() -> Option<Self> {
        match schedule(libc::SCHED_FIFO, PRIORITY) {
            Ok(()) => Some(Realtime(())),
            Err(error) => {
                tracing::warn!(%error, "no real-time priority for a build: it may take longer");
                None
            }
        }
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if let Err(error) = schedule(libc::SCHED_OTHER, 0) {
            tracing::error!(%error, "a thread keeps its real-time priority");
        }
    }
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the kernel reads one `sched_param`, which lives until the call returns.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
