//! A flood of SYNs from forged sources, and a client who asks for something else meanwhile.

use serde::{Deserialize, Serialize};

/// Stands before a [`Report`] on its line.
pub const MARK: &str = "flood-report: ";

/// What was sent, and what became of the other client.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Report {
    /// SYNs sent.
    pub syns: u64,
    /// How long that took, in nanoseconds.
    pub took_ns: u64,
    /// Questions to the name server during the flood, for the address of another service.
    pub questions: u32,
    /// Those that were answered at the first try, with its address.
    pub answers: u32,
    /// The longest that an answer took, in nanoseconds.
    pub slowest_answer_ns: u64,
    /// Pages of that service that were asked for during the flood.
    pub pages_wanted: u32,
    /// Pages that came.
    pub pages: u32,
    /// What went wrong, for the first few things that did.
    pub failures: Vec<String>,
}
