//! The node and its services, announced to whoever is on the link: multicast DNS (RFC 6762) and service discovery with
//! it (RFC 6763). Off unless the configuration says `mdns = true`.
//!
//! The node is `NAME.local`, and its status page a web page that browsers of services find; a service is `NAME.local`,
//! and whatever its `announce` says. Instances for host names have no names here.
//!
//! An address is told on the same terms as over DNS. Whoever asks for a service's address starts it, unless they are
//! quiet, and is answered when it is committed to run. What tells addresses unasked (announcements, what goes along with
//! an answer to a browser) starts nothing: that has only addresses that packets start. So looking around wakes nobody.
//!
//! - [`records`] says what there is to announce, and [`responder`] what is said when. Both are pure.
//! - [`socket`] has the socket.
//!
//! The crate mdns-sd was looked at: it answers for addresses by itself, from a thread of its own, and cannot start
//! anything before it does.
//!
//! Not here: asking others, IPv6 as transport, reverse names, several links.

pub mod records;
pub mod responder;
mod socket;
#[cfg(test)]
mod tests;

pub use socket::{Socket, serve};
