//! The network: a Xen network device below smoltcp.

mod device;
mod netfront;
mod ring;
mod transmit;

pub use device::NetDevice;
pub use netfront::{Armed, MAX_FRAME, Netfront, NetfrontError};
