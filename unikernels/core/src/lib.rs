//! What the unikernel runtime parses and decides, without a machine under it: the device tree, the
//! command line, the XenStore protocol, what becomes of SYNs, how connections are taken over, and large segments. No I/O and no unsafe
//! code, so that it is tested on the host.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod backlog;
pub mod cmdline;
pub mod ip;
pub mod large;
pub mod machine;
pub mod takeover;
pub mod xenstore;
