//! The record of one request, as the `probe` binary prints it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Stands before the record on its line, so that it is found between other lines of a console.
pub const MARK: &str = "probe-outcome: ";

/// One request: when its steps were taken, in nanoseconds of the node's `CLOCK_MONOTONIC` (the clock of the
/// `_ns` stamps in the node's `/status`), and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// The name asked for.
    pub name: String,
    /// The address answered, and connected to.
    pub address: Ipv4Addr,
    /// The question was handed to the kernel.
    pub query_sent_ns: u64,
    /// The answer was read.
    pub answer_received_ns: u64,
    /// The connection was asked for; the kernel sends the SYN within this call.
    pub syn_sent_ns: u64,
    /// The connection was established.
    pub connected_ns: u64,
    /// The first bytes of the page were read.
    pub first_byte_ns: u64,
    /// The page was read to its end.
    pub done_ns: u64,
    /// The reply: head and page.
    pub reply: String,
    /// The node's `/status` as it was after the request; `null` in a series.
    pub status: serde_json::Value,
}

/// What the services of a series serve all at once, when each of them has been asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Crowd {
    /// Head and page of each, in order; of none if the series had rests in it. The connections were all open before the first page was asked for.
    pub replies: Vec<String>,
    /// The node's `/status` after that, without consoles and events.
    pub status: serde_json::Value,
}

/// What the binary prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The request succeeded.
    Served(Box<Measurement>),
    /// All requests of a series did.
    Crowd(Box<Crowd>),
    /// It did not: where, and why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_stays_on_one_line_and_can_be_read_back() {
        let outcome = Outcome::Failed("connecting:\nrefused".into());
        let line = serde_json::to_string(&outcome).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
    }
}
