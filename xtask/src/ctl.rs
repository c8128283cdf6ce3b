//! `cargo xtask ctl`: `jitsuctl` from a PC: on a node over SSH, or here for what needs no node.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::fail::{Class, Fail};
use crate::paths;

/// Where a file is put on the node before it is reloaded from there: in memory, and root's alone.
const PLACE: &str = "/run/jitsud/jitsu.toml.new";

/// See and change what a node does: runs jitsuctl there over SSH, or here for what needs no node. Its exit code is this
/// one's. `cargo xtask run --board bananapi-m2-ultra` says how its node is reached.
#[derive(clap::Args)]
#[command(
    after_help = "The node's card has to have a key for SSH (docs/boards). A file to reload is sent first.\n\n\
                        Examples:\n  cargo xtask ctl --host 192.168.1.10 list\n  \
                        cargo xtask ctl --host 192.168.1.10 console www\n  \
                        cargo xtask ctl --host 192.168.1.10 reload my-jitsu.toml\n  cargo xtask ctl check my-jitsu.toml\n  \
                        cargo xtask ctl -- --help"
)]
pub struct Args {
    /// The node: a name or an address, as ssh takes it
    #[arg(long, value_name = "NODE")]
    host: Option<String>,
    /// The node's SSH port
    #[arg(long, requires = "host")]
    port: Option<u16>,
    /// What jitsuctl is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(host) = &args.host else { return here(&args.arguments) };
    let host = if host.contains('@') { host.clone() } else { format!("root@{host}") };
    let ssh = |terminal: bool| {
        let mut ssh = Command::new("ssh");
        ssh.args(args.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        if host.ends_with("@127.0.0.1") || host.ends_with("@localhost") {
            // A node in QEMU on this host, whose key is another one each time.
            ssh.args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
            ]);
        }
        // A terminal where something is typed, or drawn over.
        ssh.arg(if terminal { "-t" } else { "-T" }).arg(&host).arg("--");
        ssh
    };
    let mut arguments = args.arguments.clone();
    if let Some(file) = file_to_send(&arguments) {
        let content = std::fs::File::open(&arguments[file])
            .map_err(|error| Fail::new(Class::Input, format!("{}: {error}", arguments[file])))?;
        let sent = ssh(false).arg(format!("umask 077; cat >{PLACE}")).stdin(content).status();
        if !sent.map_err(no_ssh)?.success() {
            return Err(Fail::new(Class::Node, format!("{} cannot be sent to {host}", arguments[file])));
        }
        arguments[file] = PLACE.to_owned();
    }
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    let status = ssh(terminal).arg(format!("jitsuctl {}", words.join(" "))).status().map_err(no_ssh)?;
    Ok(code(status.code()))
}

fn no_ssh(error: std::io::Error) -> anyhow::Error {
    Fail::new(Class::Host, format!("starting ssh: {error}; install it: apt install openssh-client"))
}

/// Where among the arguments a file of this host is named that the node is to reload.
fn file_to_send(arguments: &[String]) -> Option<usize> {
    let command = arguments.iter().position(|word| !word.starts_with('-'))?;
    (arguments[command] == "reload").then_some(())?;
    arguments
        .iter()
        .enumerate()
        .skip(command + 1)
        .find(|(_, word)| !word.starts_with('-'))
        .map(|(index, _)| index)
}

/// For the shell at the other end.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs jitsuctl on this host.
fn here(arguments: &[String]) -> Result<ExitCode> {
    let program = program()?;
    let status = Command::new(&program).args(arguments).status();
    Ok(code(status.with_context(|| format!("starting {}", program.display()))?.code()))
}

/// jitsuctl, built for this host.
///
/// # Errors
/// When it cannot be built.
pub fn program() -> Result<PathBuf> {
    let build = ["build", "--quiet", "--package", "jitsud", "--bin", "jitsuctl"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let built = Command::new(cargo).args(build).current_dir(paths::root()).stdin(Stdio::null()).status();
    if !built.context("starting cargo")?.success() {
        return Err(Fail::new(Class::Build, "jitsuctl cannot be built for this host"));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| paths::root().join("target"), Into::into);
    Ok(target.join("debug/jitsuctl"))
}

fn code(code: Option<i32>) -> ExitCode {
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_to_reload_is_sent() {
        let at = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            file_to_send(&words)
        };
        assert_eq!(at("reload a.toml"), Some(1));
        assert_eq!(at("--json reload a.toml"), Some(2));
        assert_eq!(at("reload --json a.toml"), Some(2));
        for line in ["reload", "check a.toml", "list", "start reload a", "--json"] {
            assert_eq!(at(line), None, "{line}");
        }
    }

    #[test]
    fn nothing_that_is_typed_is_a_command_at_the_other_end() {
        assert_eq!(quoted("a'; reboot; '"), r"'a'\''; reboot; '\'''");
    }
}
