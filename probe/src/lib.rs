//! What a client of the node does, and the record of when it did it.
//!
//! The library is shared by the clients there are: `cargo xtask`, which comes through QEMU's user
//! network from outside, and the binaries, which run inside the node as another host on its network.
//! They exist for measuring: on one kernel, client and `jitsud` read the same clock, and in
//! instruction time nothing outside the emulated machine can be timed at all.
//!
//! [`starts`] is for measuring XenStore: what many starts of domains at once ask of it; [`load`] for a web server, and
//! [`created`] for xl. [`cold`] is for connections to services that are not up, [`lives`] for how long they are up.
//!
//! Not here: which services there are, and what their pages should say.

pub mod cold;
pub mod created;
pub mod dns;
pub mod flood;
pub mod host;
pub mod http;
pub mod lives;
pub mod load;
pub mod measurement;
mod netlink;
pub mod starts;

pub use measurement::{Crowd, MARK, Measurement, Outcome};
