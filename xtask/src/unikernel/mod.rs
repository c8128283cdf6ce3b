//! `cargo xtask unikernel`: services of one's own.

mod pack;

pub use pack::site_image;

use anyhow::Result;

/// Make services of one's own
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Turn a folder of web pages into an image that serves them
    Pack(pack::Args),
}

/// Runs what is asked for.
///
/// # Errors
/// As the command's own.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Pack(args) => pack::run(args),
    }
}
