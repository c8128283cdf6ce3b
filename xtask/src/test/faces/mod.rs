//! What faces the network: the node's own code for that, on loopback ports of this host, over domains that are only
//! pretended (`rehearsal/`), and clients that others wrote.

pub mod conformance;
mod rehearsal;

use super::Report;
use anyhow::Result;
use rehearsal::Rehearsal;

/// Runs the tests that need no node.
pub fn run(report: &mut Report) -> Result<()> {
    println!("\nwhat faces the network, in rehearsal");
    conformance::on_this_host(report)
}
