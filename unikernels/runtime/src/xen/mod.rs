//! What a guest asks of Xen and of the domains it shares pages with.

pub mod console;
pub mod event;
pub mod grant;
mod hypercall;
pub mod page;
pub mod store;

use xen_sys::sched::ShutdownReason;

pub use hypercall::HypercallError;

/// Ends this domain.
pub fn shutdown(reason: ShutdownReason) -> ! {
    hypercall::shutdown(reason);
    // Only a hypervisor that refuses comes here.
    loop {
        crate::arch::cpu::wait_for_interrupt();
    }
}

/// A parameter that the domain builder has left, `HVM_PARAM_*`.
///
/// # Errors
/// Xen knows no such parameter.
pub fn parameter(index: u32) -> Result<u64, HypercallError> {
    hypercall::parameter(index)
}
