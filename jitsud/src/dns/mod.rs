//! The node's DNS server: a question for a service's name makes the service run.
//!
//! It is authoritative for the node's zone and the reverse names of its addresses, [`Zone`], and forwards everything else,
//! or refuses it. Only a question that is answered with a service's address (A, AAAA) summons; any other question about
//! the same name gets its answer without a domain being made.
//!
//! - [`zone`] decides what a question means. Pure.
//! - [`reply()`] turns one message into one reply, asking the [`crate::summoner::Summoner`] in between.
//! - [`encode`] writes replies.
//! - [`forward`] asks others, and keeps what they say for a while.
//! - [`limits`] says who is answered, and how often. Pure.
//! - [`server`] moves messages between sockets and [`begin`], by IPv4 and IPv6, UDP and TCP.
//!
//! Messages are read, and records' data written, by hickory; its server loops are not used. They start a task for every datagram and every
//! connection without a bound, try a failed `accept` again at once for ever, reply to malformed messages that
//! claim to be replies, and hide the moment at which a datagram arrived, which is where the timeline of a
//! cold start begins.
//!
//! Not here: zone transfers, DNSSEC.

mod beyond;
pub mod brief;
mod counters;
mod encode;
pub mod forward;
pub mod limits;
mod reply;
mod server;
#[cfg(test)]
mod tests;
mod zone;

pub use counters::Counters;
pub use limits::Limits;
pub use reply::{Begun, Transport, begin, reply};
pub use server::{Front, Key, Known, Sockets};
pub use zone::Zone;
