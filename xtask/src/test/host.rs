//! Tests that need no node: cargo's own, of both workspaces, and a short run of the fuzz targets.

use super::Report;
use crate::fail::{Class, Fail};
use crate::{fuzz, paths};
use anyhow::{Context, Result};
use std::process::Command;

/// The packages of the unikernels that build for the host.
const UNIKERNELS_ON_HOST: [&str; 4] = ["--package", "jitsu-rt-core", "--package", "web"];

/// Runs them; cargo and the fuzz targets print lines of their own, each workspace and all targets count as one test.
pub fn run(report: &mut Report) {
    report.check_aloud("the tests of the workspace", || cargo_test(&["--workspace"], "."));
    report
        .check_aloud("the tests of the unikernels' cores", || cargo_test(&UNIKERNELS_ON_HOST, "unikernels"));
    report.check_aloud("the fuzz targets find nothing in a short run", fuzz::short);
}

fn cargo_test(arguments: &[&str], directory: &str) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet"]).args(arguments).current_dir(paths::root().join(directory));
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Fail::new(Class::Build, format!("cargo test in {directory}/: {status}; its own lines are above")))
}
