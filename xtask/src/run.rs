//! `cargo xtask run`: the node in QEMU, on this terminal.
//!
//! The node's address, and those of its services, may be known only when a DHCP server has given them. So a thread
//! reads along on the console until the daemon says that it is ready, asks it for its services, and then has QEMU
//! make the ways in.

use crate::board;
use crate::card::Edit;
use crate::client::{Status, ready_address};
use crate::fail::{Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::qemu::{self, ConsoleKind, Forward, Monitor, Protocol, Start};
use crate::ui;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Boot the node in QEMU and stay, with its console on this terminal, where jitsuctl can be typed. When it is ready, DNS,
/// status and the services' port 80 are forwarded to localhost. A board with a card starts from a copy of it, on which
/// are your SSH keys: its port 22 is forwarded, too, for `cargo xtask ctl`. Leave with Ctrl-A x.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask run\n  cargo xtask run --config my-jitsu.toml\n  \
                        cargo xtask run --icount\n  cargo xtask run --board bananapi-m2-ultra")]
pub struct Args {
    /// Which of the folders in board/
    #[arg(long, default_value = board::DEFAULT)]
    board: String,
    /// Replaces the node's jitsu.toml, the one on the card if it has one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let virtual time count instructions, one per nanosecond, on one CPU
    #[arg(long)]
    icount: bool,
    #[command(flatten)]
    source: SourceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|e| Fail::new(Class::Input, format!("configuration {}: {e}", path.display())))
    };
    let config = args.config.as_ref().map(read).transpose()?;
    let image = image::build(&args.board, &args.source.options())?;
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let start = start(image, config, directory.path())?;
    boot(&start, args.icount, directory.path())
}

/// What the node starts from, with `config` in the place where it looks first.
fn start(image: Image, config: Option<String>, directory: &Path) -> Result<Start> {
    if image.card.is_none() {
        return Ok(match config {
            Some(config) => Start::configured(image, config, Vec::new()),
            None => Start::Memory { image, extra_files: Vec::new(), disk: None },
        });
    }
    let start = Start::card(&image, directory)?;
    if let Start::Card { card, .. } = &start {
        let mut card = Edit::open(card)?;
        if let Some(config) = config {
            card.write("jitsu.toml", config.as_bytes())?;
        }
        let keys = public_keys();
        if !keys.is_empty() {
            card.write("authorized_keys", keys.as_bytes())?;
        }
    }
    Ok(start)
}

/// The user's keys for SSH, a line each.
fn public_keys() -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let files =
        std::fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "pub")).collect();
    files.sort();
    let keys = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    keys.map(|key| format!("{}\n", key.trim())).collect()
}

fn boot(start: &Start, icount: bool, directory: &Path) -> Result<()> {
    let (log, socket) = (directory.join("console"), directory.join("monitor"));
    pipe(&log)?;
    let monitor =
        UnixListener::bind(&socket).with_context(|| format!("listening on {}", socket.display()))?;
    let console = ConsoleKind::Terminal { log: &log, monitor: &socket };
    let has_ssh = matches!(start, Start::Card { .. }) && !public_keys().is_empty();
    let arguments = qemu::arguments(start, icount, &console, directory)?;
    // Not waited for: it ends with the console, which may never have begun.
    std::thread::spawn(move || {
        if let Err(error) = guide(&log, &monitor, has_ssh) {
            ui::say(format!("no ways into the node from this host: {error:#}"));
        }
    });
    ui::say("leave:   Ctrl-A x");
    let status = qemu::command(&arguments).status().map_err(|e| {
        Fail::new(Class::Host, format!("starting qemu-system-arm: {e}; try `cargo xtask setup`"))
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Fail::new(Class::Node, format!("qemu-system-arm ended with {status}")))
}

/// A named pipe, for QEMU to write the console's text to.
fn pipe(path: &Path) -> Result<()> {
    let made = Command::new("mkfifo").arg(path).status().context("running mkfifo")?;
    ensure!(made.success(), "mkfifo {}: {made}", path.display());
    Ok(())
}

/// Waits until the node is ready, then makes the ways in and tells of them.
fn guide(console: &Path, monitor: &UnixListener, has_ssh: bool) -> Result<()> {
    let file = File::open(console).with_context(|| format!("reading {}", console.display()))?;
    let mut console = BufReader::new(file);
    let mut monitor =
        Monitor::new(monitor.accept().context("QEMU's monitor")?.0).context("QEMU's monitor")?;
    let mut line = Vec::new();
    let address = loop {
        line.clear();
        if console.read_until(b'\n', &mut line).context("reading the console")? == 0 {
            return Ok(());
        }
        if let Some(address) = ready_address(&String::from_utf8_lossy(&line)) {
            break address;
        }
    };
    let told = ways_in(&mut monitor, address, has_ssh);
    // QEMU would wait for somebody who reads the console.
    std::thread::spawn(move || io::copy(&mut console, &mut io::sink()));
    told
}

/// Has QEMU make the ways in, and tells of them.
fn ways_in(monitor: &mut Monitor, node: Ipv4Addr, has_ssh: bool) -> Result<()> {
    let mut open = |protocol, address, port| {
        let forward = Forward::new(protocol, SocketAddrV4::new(address, port))?;
        monitor.forward(&forward)?;
        Ok::<_, anyhow::Error>(forward.host_port)
    };
    let (dns, http) = (open(Protocol::Udp, node, 53)?, open(Protocol::Tcp, node, 80)?);
    ui::say(format!("page:  http://127.0.0.1:{http}/"));
    if has_ssh {
        let ssh = open(Protocol::Tcp, node, 22)?;
        ui::say(format!("control: cargo xtask ctl --host 127.0.0.1 --port {ssh} list"));
    }
    let status = Status::fetch((Ipv4Addr::LOCALHOST, http).into())?;
    for service in status.services {
        let port = open(Protocol::Tcp, service.address, 80)?;
        let name = service.dns.first().unwrap_or(&service.name);
        ui::say(format!(
            "{}:  dig @127.0.0.1 -p {dns} {name}  and then  curl http://127.0.0.1:{port}/",
            service.name
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn a_configuration_goes_into_the_initramfs_of_a_board_without_a_card() {
        let board = Board::read(board::DEFAULT).expect("board");
        let image = Image { board, directory: "/nowhere".into(), card: None };
        let files = |config| match start(image.clone(), config, Path::new("/nowhere")).expect("start") {
            Start::Memory { extra_files, .. } => extra_files,
            Start::Card { .. } => panic!("no card"),
        };
        assert!(files(None).is_empty());
        let files = files(Some("[node]\n".to_owned()));
        assert_eq!(files.len(), 1);
        assert_eq!(
            (files[0].path.as_str(), files[0].content.as_slice()),
            ("/etc/jitsu.toml", &b"[node]\n"[..])
        );
    }

    #[test]
    fn pipes_are_made() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("console");
        pipe(&path).expect("made");
        use std::os::unix::fs::FileTypeExt;
        assert!(std::fs::metadata(&path).expect("metadata").file_type().is_fifo());
        assert!(pipe(&path).is_err());
    }
}
