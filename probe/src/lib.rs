//! What a client of the node does, and the record of when it did it.
//!
//! The library is shared by the two clients there are: `cargo xtask`, which comes through QEMU's user
//! network from outside, and the `probe` binary, which runs inside the node as another host on its network.
//! The second exists for measuring: on one kernel, client and `jitsud` read the same clock, and in
//! instruction time nothing outside the emulated machine can be timed at all.
//!
//! [`starts`] is for measuring XenStore: what many starts of domains at once ask of it. [`cold`] is for connections
//! to services that are not up.
//!
//! Not here: which services there are, and what their pages should say.

pub mod cold;
pub mod dns;
pub mod host;
pub mod measurement;
mod netlink;
pub mod starts;

pub use measurement::{Crowd, MARK, Measurement, Outcome};
