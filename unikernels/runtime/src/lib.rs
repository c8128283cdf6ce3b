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
mod image;
pub mod net;
mod panic;
pub mod service;
pub mod xen;

pub use boot::Guest;
pub use handover;
pub use jitsu_rt_core::cmdline::CommandLine;
pub use site;
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

/// Marks the image: a site can be appended to it (the crate [`site`]), which is then [`Guest::appended`].
#[macro_export]
macro_rules! serves_sites {
    () => {
        const _: () = {
            #[allow(unsafe_code)]
            unsafe extern "C" {
                /// Where in the image a site begins, from the linker script: an offset, not a place in memory.
                static __appended_offset: u8;
            }

            /// A mark, which nobody reads through the pointer in it.
            struct Mark($crate::site::Mark<*const u8>);

            // SAFETY: the pointer stands for a number.
            #[allow(unsafe_code)]
            unsafe impl Sync for Mark {}

            // SAFETY: the linker script keeps this section for entries of the zImage's table, of which this is one.
            #[allow(unsafe_code)]
            #[unsafe(link_section = ".zimage.table")]
            #[used]
            static MARK: Mark = Mark($crate::site::Mark::new(&raw const __appended_offset));
        };
    };
}
