//! The record of a web server's load, as the `load` binary prints it.

use serde::{Deserialize, Serialize};

/// Stands before a [`Load`] on its line, so that it is found between other lines of a console.
pub const LOAD_MARK: &str = "load: ";

/// Requests to one server, a connection each, a fixed number of them at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Connections at a time.
    pub connections: u32,
    /// From the first SYN to the end of the last page, in nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
    /// Bytes of each page, without its head.
    pub page_bytes: u64,
    /// Of each request, in the order in which they were done: from its SYN to the end of its page, in nanoseconds.
    pub latencies_ns: Vec<u64>,
}
