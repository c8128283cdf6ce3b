//! `jitsuctl`: what an administrator types on the node, or over SSH. On the node it is the daemon's own executable under
//! another name, so that it takes no room of its own.
//!
//! Results go to standard output, everything else to standard error. The exit code says what kind of failure there was
//! ([`Failure::code`]).

mod attach;
mod client;
mod commands;
mod paint;
mod table;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::control::protocol::{ErrorKind, SOCKET};
use client::Client;
use paint::Paint;

/// See and change what a jitsu node does
#[derive(Parser, Debug)]
#[command(
    name = "jitsuctl",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 no daemon answers, 4 there is no such \
                  service, 5 the configuration has mistakes.\n\n\
                  Examples:\n  jitsuctl list\n  jitsuctl logs www -f\n  jitsuctl check jitsu.toml && jitsuctl reload\n  \
                  jitsuctl list --json | jq '.[] | select(.state == \"failed\").reason'"
)]
struct Cli {
    /// Print JSON: an object or a list, and for what goes on and on, an object in each line
    #[arg(long, global = true)]
    json: bool,
    /// Whether to use colours; by default on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET, hide_default_value = true)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// All services: what they do, and how often they were asked for
    List,
    /// Everything about a service
    #[command(after_help = "Example:\n  jitsuctl show www")]
    Show {
        /// Its name
        service: String,
    },
    /// Start services, those with start = "manual" too, and wait until they are ready. Also ends a back-off
    #[command(after_help = "Example:\n  jitsuctl start www mail")]
    Start {
        /// Their names
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Stop services in the way that each wants, and wait until they are off. Who is asked for starts again
    #[command(after_help = "Example:\n  jitsuctl stop www")]
    Stop {
        /// Their names
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// The daemon's log, or what a service's guest has said on its console
    #[command(after_help = "Examples:\n  jitsuctl logs -n 20\n  jitsuctl logs www -f")]
    Logs {
        /// The service; the daemon if there is none
        service: Option<String>,
        #[command(flatten)]
        range: Range,
    },
    /// Attach to a guest's console: what it says is shown, what is typed goes to it. Leave with Ctrl-]
    #[command(after_help = "Example:\n  jitsuctl console www")]
    Console {
        /// The service
        service: String,
    },
    /// Changes of services' states, and why
    #[command(after_help = "Example:\n  jitsuctl events -f")]
    Events {
        #[command(flatten)]
        range: Range,
    },
    /// Take the changed configuration, if there is nothing wrong with it. What has not changed runs on
    #[command(
        after_help = "With FILE, that replaces the configuration first: on the card, if the node has one. With a \
                      mistake, nothing changes.\n\nExamples:\n  jitsuctl reload\n  jitsuctl reload /tmp/jitsu.toml"
    )]
    Reload {
        /// A file to take instead
        file: Option<PathBuf>,
    },
    /// Look for mistakes in a configuration, here and without a daemon
    #[command(
        after_help = "Kernels are looked for in unikernels/ beside the file. Away from a node, those that are not there \
                      are taken to be on it.\n\nExample:\n  jitsuctl check /media/card/jitsu.toml"
    )]
    Check {
        /// The file
        file: PathBuf,
    },
    /// What goes on, again and again. Leave with Ctrl-C
    Top,
    /// XenStore
    Xenstore {
        #[command(subcommand)]
        command: Xenstore,
    },
    /// Print a shell's completions for jitsuctl
    #[command(after_help = "Example:\n  jitsuctl completions bash >/etc/bash_completion.d/jitsuctl")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Subcommand, Debug)]
enum Xenstore {
    /// A node's value and those of all nodes below it
    #[command(after_help = "Example:\n  jitsuctl xenstore ls /local/domain/0")]
    Ls {
        /// The node
        #[arg(default_value = "/")]
        path: String,
    },
}

/// Which of many lines.
#[derive(clap::Args, Clone, Copy, Debug)]
struct Range {
    /// Go on with those to come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// No more than so many of those that are there
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<usize>,
}

/// Why something has not been done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The daemon does not answer.
    #[error("{0}")]
    NoDaemon(String),
    /// The daemon says so.
    #[error("{1}")]
    Refused(ErrorKind, String),
    /// The configuration has mistakes, which have been told.
    #[error("{0}")]
    Mistakes(String),
    /// Reading or writing here.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// The exit code.
    fn code(&self) -> u8 {
        match self {
            Failure::Io(_) => 1,
            Failure::NoDaemon(_) => 3,
            Failure::Refused(ErrorKind::NotFound, _) => 4,
            Failure::Refused(ErrorKind::Configuration, _) | Failure::Mistakes(_) => 5,
            Failure::Refused(..) => 1,
        }
    }
}

/// Does what the command line says; the process's own, with the program's name in front.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let paint = Paint::new(cli.color);
    match dispatch(&cli, paint) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = io::stdout().flush();
            eprintln!("jitsuctl: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(cli: &Cli, paint: Paint) -> Result<(), Failure> {
    let out = commands::Out { json: cli.json, paint };
    let connect = || Client::connect(&cli.socket);
    match &cli.command {
        Command::List => out.list(&mut connect()?),
        Command::Show { service } => out.show(&mut connect()?, service),
        Command::Start { services } => out.start(&mut connect()?, services),
        Command::Stop { services } => out.stop(&mut connect()?, services),
        Command::Logs { service: None, range } => out.logs(&mut connect()?, range.into()),
        Command::Logs { service: Some(service), range } => out.said(&mut connect()?, service, range.into()),
        Command::Console { service } => attach::attach(&mut connect()?, service),
        Command::Events { range } => out.events(&mut connect()?, range.into()),
        Command::Reload { file } => out.reload(&cli.socket, file.as_deref()),
        Command::Check { file } => out.check(file),
        Command::Top => out.top(&mut connect()?),
        Command::Xenstore { command: Xenstore::Ls { path } } => out.xenstore(&mut connect()?, path),
        Command::Completions { shell } => {
            let shell = match shell {
                Shell::Bash => clap_complete::Shell::Bash,
                Shell::Zsh => clap_complete::Shell::Zsh,
                Shell::Fish => clap_complete::Shell::Fish,
            };
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "jitsuctl", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
