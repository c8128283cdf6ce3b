//! What the node is not authoritative for, it asks others for.
//!
//! A forwarder (RFC 5625): questions go to upstream servers, which look for the answer, and answers go back as they
//! came, but for what is each hop's own affair (number, spelling, EDNS). They are kept for as long as they hold.
//! Signatures are passed on for those who want to check them; here nothing is checked, and nothing claims to be.
//!
//! - [`Forwarder`] has the sockets, a task for each, and a timer. It decides nothing.
//! - [`core`] is the forward table: what has been asked, of whom, and who waits for it. Pure, as all below.
//! - [`upstreams`] knows which server answers soonest, and which not at all.
//! - [`cache`] keeps answers; [`answer`] reads and writes them; [`question`] reads clients' questions.
//! - [`special`] has the names that do not leave the house.
//! - [`wire`] is the format, as far as it matters here; [`numbers`] are those that nobody can guess.
//!
//! hickory-resolver was tried for this. It makes the daemon half a megabyte larger, has no share for each client and no
//! bound in bytes, and takes its random numbers from where the whole daemon would wait for them on a board that has just
//! been switched on.
//!
//! Everything is bounded, whatever clients and servers do: questions ([`core::MAX_WAITING`]), with a share for each
//! client; two sockets for each question; the cache's bytes; connections, and with them 2 MiB of answers on their way.
//!
//! Not here: checking signatures, encrypted transports, servers at link-local IPv6 addresses (they need a zone).

mod answer;
pub mod cache;
pub mod core;
pub mod numbers;
pub mod question;
#[cfg(test)]
mod simulation;
mod sockets;
mod special;
#[cfg(test)]
mod tests;
mod upstreams;
pub mod wire;

pub use self::core::Figures;
pub use sockets::{Forwarded, Forwarder};
