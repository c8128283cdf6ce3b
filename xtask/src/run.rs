//! `cargo xtask run`: the node in QEMU, on this terminal.

use crate::board;
use crate::fail::{Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::initramfs::ExtraFile;
use crate::qemu::{self, ConsoleKind, Forward, Protocol, free_port};
use crate::{paths, ui};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

/// Boot the node in QEMU and stay, with its console on this terminal, and DNS, status and the services'
/// port 80 forwarded to localhost. Leave with Ctrl-A x.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask run\n  cargo xtask run --config my-jitsu.toml\n  \
                        cargo xtask run --icount")]
pub struct Args {
    /// Which of the folders in board/
    #[arg(long, default_value = board::DEFAULT)]
    board: String,
    /// Replaces the node's /etc/jitsu.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let virtual time count instructions, one per nanosecond, on one CPU
    #[arg(long)]
    icount: bool,
    #[command(flatten)]
    source: SourceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let config = args.config.clone().unwrap_or_else(|| paths::root().join("rootfs-overlay/etc/jitsu.toml"));
    let content = std::fs::read(&config)
        .map_err(|e| Fail::new(Class::Input, format!("configuration {}: {e}", config.display())))?;
    let ways_in = WaysIn::find(&content)?;

    let image = image::build(&args.board, &args.source.options())?;
    let replaced =
        args.config.as_ref().map(|_| ExtraFile { path: "/etc/jitsu.toml".into(), mode: 0o644, content });
    boot(&image, replaced.as_slice(), args.icount, &ways_in)
}

fn boot(image: &Image, files: &[ExtraFile], icount: bool, ways_in: &WaysIn) -> Result<()> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let initramfs = qemu::initramfs_of(image, files, directory.path())?;
    let cpus = if icount { 1 } else { image.board.machine()?.cpus };
    let arguments =
        qemu::arguments(image, &initramfs, cpus, icount, &ways_in.forwards, &ConsoleKind::Terminal)?;
    ui::say(&ways_in.text);
    let status = qemu::command(&arguments).status().map_err(|e| {
        Fail::new(Class::Host, format!("starting qemu-system-arm: {e}; try `cargo xtask setup`"))
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Fail::new(Class::Node, format!("qemu-system-arm ended with {status}")))
}

/// What leads from this host into the node, and how to tell people.
struct WaysIn {
    forwards: Vec<Forward>,
    text: String,
}

/// What is needed of a node's configuration. The node judges the rest of it, and says so in its status.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    node: Node,
    service: Vec<Service>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Node {
    address: String,
    domain: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    name: String,
    address: Option<Ipv4Addr>,
}

impl WaysIn {
    fn find(config: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(config);
        let config: Config = toml::from_str(&text)
            .map_err(|e| Fail::new(Class::Input, format!("the node's configuration: {e}")))?;
        let node: Ipv4Addr = config.node.address.split('/').next().unwrap_or_default().parse().map_err(|_| {
            let address = &config.node.address;
            Fail::new(Class::Input, format!("the node's configuration: node.address = {address:?} is no address; expected for example \"10.0.2.15/24\""))
        })?;

        let (dns, status) = (free_port()?, free_port()?);
        let to = |protocol, host_port, address, port| Forward {
            protocol,
            host_port,
            guest: SocketAddrV4::new(address, port),
        };
        let mut forwards = vec![
            to(Protocol::Udp, dns, node, 53),
            to(Protocol::Tcp, dns, node, 53),
            to(Protocol::Tcp, status, node, 80),
        ];
        let domain = config.node.domain;
        let mut text = format!("status:  curl http://127.0.0.1:{status}/status\n");
        for service in config.service {
            let Some(address) = service.address else { continue };
            let (name, port) = (service.name, free_port()?);
            forwards.push(to(Protocol::Tcp, port, address, 80));
            text += &format!(
                "{name}:  dig @127.0.0.1 -p {dns} {name}.{domain}  and then  curl http://127.0.0.1:{port}/\n"
            );
        }
        text += "leave:   Ctrl-A x\n";
        Ok(Self { forwards, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_has_ways_in() {
        let path = paths::root().join("rootfs-overlay/etc/jitsu.toml");
        let ways_in = WaysIn::find(&std::fs::read(path).expect("read")).expect("valid");
        let guests: Vec<_> = ways_in.forwards.iter().map(|f| f.guest.to_string()).collect();
        assert_eq!(guests, ["10.0.2.15:53", "10.0.2.15:53", "10.0.2.15:80", "10.0.2.20:80"]);
        assert_eq!(ways_in.forwards[0].host_port, ways_in.forwards[1].host_port);
        assert!(ways_in.text.contains("www.jitsu.test"));
    }

    #[test]
    fn a_node_without_address_is_refused() {
        assert!(WaysIn::find(b"[node]\naddress = \"here\"\n").is_err());
        assert!(WaysIn::find(b"not toml").is_err());
    }
}
