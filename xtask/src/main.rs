//! `cargo xtask`: builds the node's image, boots it in QEMU, tests and measures it.
//!
//! This file is the command line and nothing else: one match, a file a command. Results go to stdout,
//! diagnostics and progress to stderr, and the exit code tells the class of a failure (see `fail`).

mod bench;
mod bmap;
mod board;
mod card;
mod client;
mod crates;
mod cross;
mod ctl;
mod debian;
mod demo;
mod download;
mod fail;
mod flash;
mod fuzz;
mod host;
mod image;
mod initramfs;
mod kernel;
mod libraries;
mod manifest;
mod modules;
mod parts;
mod paths;
mod qemu;
mod run;
mod setup;
mod test;
mod ui;
mod unikernel;
mod xen;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, boot, test and measure the jitsu node.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install, or name, what this host lacks for building and running the node
    Setup(setup::Args),
    /// Assemble a board's image under out/
    Image(image::Args),
    /// Write a board's image to a card and verify it; list the cards when none is named
    Flash(flash::Args),
    /// Boot the node in QEMU and stay, with DNS, status and services forwarded to localhost
    Run(run::Args),
    /// Run jitsuctl on a node over SSH, or here for what needs no node
    Ctl(ctl::Args),
    /// Boot the node in QEMU, resolve a service, fetch its page, and draw what the time went into
    Demo(demo::Args),
    /// Run every test: those of the host, then the node in QEMU
    Test(test::Args),
    /// Make services of one's own: a folder of web pages becomes an image
    Unikernel(unikernel::Args),
    /// Measure the paper's figures: tables and plots
    Bench(bench::Args),
    /// Run the fuzz targets, each for a while
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Setup(args) => setup::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Flash(args) => flash::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => return test::run(&args),
        Command::Ctl(args) => return ctl::run(&args).unwrap_or_else(|error| fail::report(&error)),
        Command::Unikernel(args) => unikernel::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail::report(&error),
    }
}
