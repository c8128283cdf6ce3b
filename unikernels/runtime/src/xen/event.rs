//! Event channels: notifying others, and sleeping until somebody notifies us.
//!
//! The guest polls. Interrupts stay masked in the processor; a pending one only ends [`wait`], which
//! then clears every event at once. Drivers look at their rings afterwards, each of which says by itself
//! whether there is work; which port it was does not matter.
#![allow(unsafe_code)]

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use spin::Once;
use xen_sys::memory::XENMAPSPACE_SHARED_INFO;
use xen_sys::shared_info::{SharedInfo, VcpuInfo};
use xen_sys::{DomId, EvtchnPort, Gfn};

use crate::arch::cpu;
use crate::clock::{self, Ticks};
use crate::gic::Gic;
use crate::xen::hypercall::{self, HypercallError};
use crate::xen::page::SharedPage;

const UPCALL_PENDING: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_upcall_pending);
const PENDING_SEL: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_pending_sel);
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);

struct Events {
    shared_info: SharedPage,
    gic: Gic,
}

static EVENTS: Once<Events> = Once::new();

/// Maps the shared info page at `frame` and takes over the interrupt controller.
///
/// # Safety
/// There is no RAM at `frame`.
pub unsafe fn init(frame: Gfn, gic: Gic) -> Result<(), HypercallError> {
    // SAFETY: the caller vouches that nothing is at the frame.
    unsafe { hypercall::add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, frame)? };
    // SAFETY: Xen has just put the page there, and leaves it.
    let shared_info = unsafe { SharedPage::at(frame) };
    EVENTS.call_once(|| Events { shared_info, gic });
    Ok(())
}

fn events() -> &'static Events {
    EVENTS.get().expect("events are used before event::init")
}

/// Sleeps until an event has come since the last call, or the counter has reached `deadline`.
///
/// It may return early; callers look for work themselves.
pub fn wait(deadline: Option<Ticks>) {
    let events = events();
    loop {
        // First the interrupt, then what it stands for: an event that comes after its bits have been
        // cleared makes the interrupt pending again, which ends the wfi below.
        events.gic.acknowledge_all();
        if events.clear() || deadline.is_some_and(|deadline| clock::ticks() >= deadline) {
            return;
        }
        cpu::set_timer(deadline.map(|deadline| deadline.0));
        cpu::wait_for_interrupt();
    }
}

impl Events {
    /// Clears every pending event; says whether there was one.
    fn clear(&self) -> bool {
        let page = &self.shared_info;
        if page.u8(UPCALL_PENDING).swap(0, Ordering::SeqCst) == 0 {
            return false;
        }
        let mut selected = page.u64(PENDING_SEL).swap(0, Ordering::SeqCst);
        while selected != 0 {
            let word = selected.trailing_zeros() as usize;
            selected &= selected - 1;
            page.u64(PENDING + word * 8).swap(0, Ordering::SeqCst);
        }
        true
    }
}

/// A new port that `remote` may bind to talk to us.
///
/// # Errors
/// Xen has no port left for this domain.
pub fn alloc_unbound(remote: DomId) -> Result<EvtchnPort, HypercallError> {
    let port = hypercall::alloc_unbound(remote)?;
    unmask(port);
    Ok(port)
}

/// Lets events on a port wake us. What came before is not signalled again: look at the ring once.
pub fn unmask(port: EvtchnPort) {
    let word = MASK + port.0 as usize / 64 * 8;
    events().shared_info.u64(word).fetch_and(!(1 << (port.0 % 64)), Ordering::SeqCst);
}

/// Notifies whoever is at the other end of a port.
///
/// A port without another end cannot be notified; its user is gone, and nobody would hear.
pub fn notify(port: EvtchnPort) {
    // What was written is there before the other side is woken.
    fence(Ordering::SeqCst);
    let _gone = hypercall::send(port);
}
