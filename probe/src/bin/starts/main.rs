//! `starts SOCKET|process N [PATIENCE_MS]`: what starting N domains at once costs of a XenStore.
//!
//! Runs inside the node, as root. With `process` the store is one of its own, in this very process, which the
//! starts reach as jitsud's domain builder reaches its. Prints one line: [`RUN_MARK`] and a [`Run`] as JSON.

mod process;
mod socket;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use probe::starts::{RUN_MARK, Run};

/// More would want more connections than a daemon has file descriptors.
const MAX_STARTS: u16 = 1000;

fn main() -> ExitCode {
    let line = run().and_then(|run| Ok(serde_json::to_string(&run)?));
    match line {
        // In one write, so that nothing gets into the middle of it. The line before may not be finished.
        Ok(json) => match std::io::stdout().write_all(format!("\n{RUN_MARK}{json}\n").as_bytes()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => eprintln!("starts: {error}"),
        },
        Err(error) => eprintln!("starts: {error:#}"),
    }
    ExitCode::FAILURE
}

fn run() -> Result<Run> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (target, count, patience) = match arguments.as_slice() {
        [target, count] => (target, count, None),
        [target, count, patience] => (target, count, Some(patience)),
        _ => bail!("usage: starts SOCKET|process N [PATIENCE_MS], as in: starts /run/xenstored/socket 200"),
    };
    let count: u16 = count.parse().with_context(|| format!("N {count:?}"))?;
    if !(1..=MAX_STARTS).contains(&count) {
        bail!("N {count}: from 1 to {MAX_STARTS}");
    }
    let patience = match patience {
        Some(text) => Duration::from_millis(text.parse().with_context(|| format!("PATIENCE_MS {text:?}"))?),
        None => Duration::MAX,
    };
    match target.as_str() {
        "process" => process::run(count),
        socket => socket::run(Path::new(socket), count, patience),
    }
}

/// `CLOCK_MONOTONIC`.
fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading CLOCK_MONOTONIC")?.into())
}
