//! Connections to services that are not up: what the client's own kernel had to do for them.

use serde::{Deserialize, Serialize};

/// Stands before a [`Report`] on its line.
pub const MARK: &str = "cold-report: ";

/// What became of a number of connections, and what was seen on the client's cable.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Connections over which the whole page came, and was that of the service.
    pub pages: u32,
    /// SYNs that the client sent, repeated ones not counted.
    pub syns: u32,
    /// SYNs that the client sent again.
    pub syn_retransmits: u32,
    /// Data segments that the client sent again.
    pub data_retransmits: u32,
    /// RSTs from the other side.
    pub resets: u32,
    /// From the call that sends the SYN, or the query where there is one, to the first byte of the page, in
    /// nanoseconds, for each page.
    pub first_byte_ns: Vec<u64>,
    /// From the SYN to the SYN-ACK, likewise.
    pub connected_ns: Vec<u64>,
    /// What went wrong, for the first few that did.
    pub failures: Vec<String>,
}
