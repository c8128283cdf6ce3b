//! A client of the node, outside of it: asks its name server, connects to the address answered, reads
//! `/status`. And [`RunningNode`], the node in QEMU with the ways in.

mod dns;
mod http;
mod running;
mod status;

pub use dns::Resolver;
pub use http::{Page, body_of};
pub use running::{Mark, NODE, NodeSpec, RunningNode, ready_address, token};
pub use status::{Fallback, Problem, Service, Status};
