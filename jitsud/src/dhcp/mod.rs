//! A DHCP client (RFC 2131, RFC 2132) for the node, and for its services as their proxy.
//!
//! A lease takes four messages, all of them broadcast here:
//!
//! ```text
//! node                          server
//!   │ DHCPDISCOVER ──────────────▶ │   who gives me an address?
//!   │ ◀────────────── DHCPOFFER    │   this one, if you like
//!   │ DHCPREQUEST ───────────────▶ │   I take it; the other servers can forget theirs
//!   │ ◀──────────────── DHCPACK    │   it is yours for so long          (or DHCPNAK: it is not)
//! ```
//!
//! A service's lease is asked for with the service's own address on the link (`chaddr`), and kept whether the
//! service runs or not: who asks for its name must get the same answer as yesterday. The guest knows nothing of
//! it. So replies cannot be sent to the leased address, where nobody or the guest would get them: every message
//! has the broadcast flag set, and a lease is prolonged by a broadcast DHCPREQUEST without `ciaddr`, in the form
//! of the state INIT-REBOOT (RFC 2131, section 4.3.2). One plain UDP socket serves all leases that way, also on an
//! interface that has no address yet.
//!
//! [`Client`] is the state machine of one lease, without I/O: time, messages and randomness come in, messages and
//! the next deadline go out. [`Clients`] runs any number of them on one socket. What arrives is checked once, in
//! `message`.
//!
//! Left out: DHCPDECLINE (nobody looks whether an address is in use, the server does), DHCPRELEASE (the address
//! is wanted again at the next start), and options moved to the fields `sname` and `file` (option 52).

mod client;
mod clients;
mod kept;
mod message;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::{Client, Event, Output};
pub use clients::Clients;
pub use kept::{Kept, KeptLeases};
pub use message::{Kind, Reply};

use crate::config::{Addressing, Mac};

/// Who a lease is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its address on the link; also what the server remembers it by.
    pub mac: Mac,
    /// Its host name, for the server's list: an RFC 1123 label.
    pub name: String,
}

/// What a server has given, checked: an address that a host can have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The address, its network and the gateway.
    pub addressing: Addressing,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Name servers, at most 8.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers, at most 8.
    pub ntp: Vec<Ipv4Addr>,
    /// The network's domain: printable ASCII.
    pub domain: Option<String>,
    /// For how long, from when it was asked for: a minute to 30 days.
    pub duration: Duration,
    /// When it is to be prolonged: 1/8 to 7/8 of [`Self::duration`].
    pub renewal: Duration,
}
