//! The hypercall instruction, and the hypercalls of a guest as safe functions on owned arguments.
#![allow(unsafe_code)]

use core::arch::asm;
use core::fmt;
use core::ptr;

use xen_sys::event_channel::{EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_SEND, EvtchnAllocUnbound, EvtchnSend};
use xen_sys::hvm::{HVMOP_GET_PARAM, XenHvmParam};
use xen_sys::hypercall::{
    HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_HVM_OP, HYPERVISOR_MEMORY_OP, HYPERVISOR_SCHED_OP,
    XEN_HYPERCALL_TAG,
};
use xen_sys::memory::{AddToPhysmap, XENMEM_ADD_TO_PHYSMAP};
use xen_sys::sched::{SCHEDOP_SHUTDOWN, SchedShutdown, ShutdownReason};
use xen_sys::{DomId, EvtchnPort, Gfn};

/// A hypercall that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HypercallError {
    /// Which one.
    pub call: &'static str,
    /// Xen's error number, positive (`xen/include/public/errno.h`).
    pub errno: i32,
}

impl fmt::Display for HypercallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with Xen's error {}", self.call, self.errno)
    }
}

/// `number(command, argument)`.
///
/// # Safety
/// The command must take a `T`, and neither keep its address nor change memory outside it.
unsafe fn hypercall<T>(
    call: &'static str,
    number: u32,
    command: u32,
    argument: &mut T,
) -> Result<(), HypercallError> {
    let result: i32;
    // SAFETY: the caller vouches for the command. The calling convention is that of
    // xen/include/public/arch-arm.h; a debug build of Xen overwrites the argument registers.
    unsafe {
        asm!(
            ".arch_extension virt",
            "hvc #{tag}",
            tag = const XEN_HYPERCALL_TAG,
            inlateout("r0") command => result,
            inlateout("r1") ptr::from_mut(argument) => _,
            lateout("r2") _,
            lateout("r3") _,
            inlateout("r12") number => _,
            options(nostack),
        );
    }
    if result < 0 { Err(HypercallError { call, errno: -result }) } else { Ok(()) }
}

/// `SCHEDOP_shutdown`; returns only if Xen refuses.
pub fn shutdown(reason: ShutdownReason) {
    let mut argument = SchedShutdown { reason };
    // SAFETY: SCHEDOP_shutdown takes this struct and only reads it. There is nobody to tell of a failure.
    let _refused =
        unsafe { hypercall("SCHEDOP_shutdown", HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, &mut argument) };
}

/// `HVMOP_get_param` of this domain.
pub fn parameter(index: u32) -> Result<u64, HypercallError> {
    let mut argument = XenHvmParam { domid: DomId::SELF, pad: 0, index, value: 0 };
    // SAFETY: HVMOP_get_param takes this struct and writes its `value`.
    unsafe { hypercall("HVMOP_get_param", HYPERVISOR_HVM_OP, HVMOP_GET_PARAM, &mut argument)? };
    Ok(argument.value)
}

/// `XENMEM_add_to_physmap`: makes Xen's page `index` of `space` appear at `frame`.
///
/// # Safety
/// `frame` is not RAM that anything uses: what was there disappears.
pub unsafe fn add_to_physmap(space: u32, index: u64, frame: Gfn) -> Result<(), HypercallError> {
    let mut argument = AddToPhysmap { domid: DomId::SELF, size: 0, space, idx: index, gpfn: frame.0 };
    // SAFETY: XENMEM_add_to_physmap takes this struct and only reads it; the caller vouches for the frame.
    unsafe { hypercall("XENMEM_add_to_physmap", HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut argument) }
}

/// `EVTCHNOP_alloc_unbound`: a port that `remote` may bind.
pub fn alloc_unbound(remote: DomId) -> Result<EvtchnPort, HypercallError> {
    let mut argument = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: remote, port: EvtchnPort(0) };
    // SAFETY: EVTCHNOP_alloc_unbound takes this struct and writes its `port`.
    unsafe {
        hypercall(
            "EVTCHNOP_alloc_unbound",
            HYPERVISOR_EVENT_CHANNEL_OP,
            EVTCHNOP_ALLOC_UNBOUND,
            &mut argument,
        )?;
    }
    Ok(argument.port)
}

/// `EVTCHNOP_send`.
pub fn send(port: EvtchnPort) -> Result<(), HypercallError> {
    let mut argument = EvtchnSend { port };
    // SAFETY: EVTCHNOP_send takes this struct and only reads it.
    unsafe { hypercall("EVTCHNOP_send", HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut argument) }
}
