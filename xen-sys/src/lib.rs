//! The raw Xen ABI for ARM guests: hypercall numbers, argument structs and shared ring layouts.
//!
//! Facts only: every layout is taken from Xen's public headers (`xen/include/public`), and its size
//! and offsets are asserted at compile time. Nothing here calls the hypervisor or touches memory;
//! `jitsud` does that through `/dev/xen/privcmd`, the unikernels through `hvc`.
#![no_std]

pub mod domctl;
pub mod event_channel;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod layout;
pub mod memory;
pub mod sched;
pub mod shared_info;
pub mod sysctl;
mod types;
pub mod version;

pub use types::{DomId, EvtchnPort, Gfn, GrantRef, PAGE_SHIFT, PAGE_SIZE};
