//! `lives NODE SCENARIO`: lives of services, from another host on the node's network.
//!
//! Runs inside the node, as root, in instruction time: so all waiting is done here. What services there are, and what the
//! scenarios show, is in `xtask/src/test/policies.rs`. Prints [`MARK`] and an [`Outcome`].

mod node;
mod policies;
mod reload;
mod room;
mod traffic;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use probe::lives::{MARK, Outcome};

use node::Node;

fn main() -> ExitCode {
    let (outcome, code) = match run() {
        Ok(note) => (Outcome::Good(note), ExitCode::SUCCESS),
        Err(error) => (Outcome::Bad(format!("{error:#}")), ExitCode::FAILURE),
    };
    let json = serde_json::to_string(&outcome).unwrap_or_default();
    // In one write, so that nothing gets into the middle of it.
    let _ = std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes());
    code
}

fn run() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, scenario] = arguments.as_slice() else { bail!("usage: lives NODE SCENARIO") };
    let scenario = match scenario.as_str() {
        "always" => policies::always,
        "manual" => policies::manual,
        "uptimes" => policies::uptimes,
        "quiet" => policies::quiet,
        "connections" => traffic::connections,
        "pause" => traffic::pause,
        "restart" => traffic::restart,
        "order" => room::order,
        "full" => room::full,
        "promise" => room::promise,
        "mistake" => reload::mistake,
        "reload" => reload::reload,
        _ => bail!("SCENARIO {scenario:?} is not known"),
    };
    let node = Node::meet(node.parse().with_context(|| format!("NODE {node:?}"))?)?;
    scenario(&node)
}
