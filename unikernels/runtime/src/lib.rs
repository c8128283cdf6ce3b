//! Runtime for unikernels: one program, one address space, one virtual CPU, as a Xen guest on 32-bit ARM.
//!
//! A unikernel is a binary crate that names its main function with [`entry!`], gets a [`Guest`], and as a
//! rule hands it to [`service::serve`] with a [`service::Service`]. Everything is polled from one loop;
//! between events the guest sleeps in wfi. There are no threads, no interrupt handlers, no file system.
//!
//! `entry.s` and [`boot`] bring the machine up, [`xen`] talks to Xen and dom0, [`net`] is the network,
//! [`service`] the loop. Parsers are in `jitsu-rt-core`, which runs on the host too.
#![no_std]

extern crate alloc;

pub mod arch;
pub mod boot;
pub mod clock;
mod control;
pub mod gic;
mod heap;
pub mod net;
mod panic;
pub mod service;
pub mod xen;

pub use boot::Guest;
pub use handover;
pub use jitsu_rt_core::cmdline::CommandLine;
pub use smoltcp;

/// Marks the image: it takes connections over, as this constant [`handover::Offer`] says. [`service::serve`] does the
/// rest.
#[macro_export]
macro_rules! takes_over {
    ($offer:expr) => {
        const _: () = {
            // SAFETY: the linker script keeps this section for entries of the zImage's table, of which this is one.
            #[allow(unsafe_code)]
            #[unsafe(link_section = ".zimage.table")]
            #[used]
            static MARK: [u32; $crate::handover::Offer::WORDS] = $offer.mark();
        };
    };
}
