//! `cargo xtask setup`: what the host still lacks, installed where that is allowed.

use crate::host::{self, rust_std};
use crate::{cross, ui};
use anyhow::Result;

/// What the host lacks for building and running the node: it is installed through apt when this is root
/// or may become root without a password; else the one command to type is printed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask setup")]
pub struct Args {
    /// Debian mirror for Rust's library sources, should they be needed [default: this host's own]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    provide(args.mirror.as_deref())?;
    ui::say("this host has everything that is needed");
    Ok(())
}

/// For the commands that need the tools: fast and silent when nothing is missing.
pub fn provide(mirror: Option<&str>) -> Result<()> {
    host::provide()?;
    for target in [cross::NODE_TARGET, cross::UNIKERNEL_TARGET] {
        rust_std::provide(target, mirror)?;
    }
    Ok(())
}
