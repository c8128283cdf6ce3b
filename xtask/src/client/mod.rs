//! A client of the node, outside of it: asks its name server, connects to the address answered, reads
//! `/status`. And [`RunningNode`], the node in QEMU with the ways in.

mod dns;
mod http;
mod running;
mod status;

pub use dns::Resolver;
pub use http::{Page, body_of};
pub use running::{NODE, NodeSpec, RunningNode, token};
pub use status::{Service, Status};
