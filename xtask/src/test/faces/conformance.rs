//! DNS as the standards have it, tried with Debian's dig and kdig and with dnspython. Each case is a test of its own; they
//! are Python functions in `conformance/`, a file for each group:
//!
//! To add a case, write a function with `@case("what it shows")` in a group's file. To add a group, add the file, its
//! configuration beside it, and a line in [`GROUPS`].

use super::super::{Report, log_file};
use super::rehearsal::Addresses;
use super::{Rehearsal, rehearsal};
use crate::paths;
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

/// Debian's own interpreter: another one that comes first in PATH has no dnspython.
const PYTHON: &str = "/usr/bin/python3";

/// The groups that are tried on this host: their names, the configuration of each, and where it is answered.
const GROUPS: [(&str, &str, &str); 6] = [
    ("authority", AUTHORITY, LOOPBACK),
    ("forward", FORWARD, LOOPBACK),
    ("server", SERVER, "0.0.0.0:0"),
    ("ipv6", SERVER, "[::]:0"),
    ("limits", include_str!("conformance/limits.toml"), LOOPBACK),
    ("allow", include_str!("conformance/allow.toml"), LOOPBACK),
];

const LOOPBACK: &str = "127.0.0.1:0";
const SERVER: &str = include_str!("conformance/server.toml");

/// What the node under test knows, too.
const AUTHORITY: &str = include_str!("conformance/authority.toml");

/// A node that asks two servers of the tests: `UPSTREAMS` is for them.
const FORWARD: &str = include_str!("conformance/forward.toml");

/// A node that announces itself and its services.
const MDNS: &str = include_str!("conformance/mdns.toml");

/// Where a server is.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its UDP port.
    pub udp: SocketAddr,
    /// Its TCP port.
    pub tcp: SocketAddr,
    /// Its status port.
    pub http: SocketAddr,
    /// Where the tests' own servers are to be, which it asks.
    pub upstreams: [SocketAddr; 2],
    /// Whether it is the real node, which is reached from one address only.
    pub node: bool,
}

/// A line that the script prints.
#[derive(Deserialize)]
struct Line {
    /// What the case shows; `None` in the last line.
    case: Option<String>,
    /// What is wrong.
    fault: Option<String>,
    /// In the last line, how many cases there were.
    cases: Option<u32>,
}

/// Tries all groups against rehearsals of their own.
pub fn on_this_host(report: &mut Report) -> Result<()> {
    for (group, config, at) in GROUPS {
        if group == "ipv6" && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("DNS, {group}: not tried, for this host has no IPv6 (net.ipv6.conf.all.disable_ipv6)");
            continue;
        }
        let (name, upstreams) = (format!("dns-{group}"), loopback());
        let config =
            config.replace("UPSTREAMS", &format!("{:?}", upstreams.map(|server| server.to_string())));
        let started = report.check(&format!("DNS, {group}: a rehearsal answers"), || {
            Rehearsal::start(&name, &config, &["--dns", at])
        });
        if let Some(rehearsal) = started {
            let Addresses { dns, http } = rehearsal.at;
            // What is answered everywhere is asked here.
            let host = match dns.ip() {
                IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                host => host,
            };
            let dns = SocketAddr::new(host, dns.port());
            try_group(group, &Target { udp: dns, tcp: dns, http, upstreams, node: false }, "", report)?;
        }
    }
    on_a_link(report)
}

/// Tries the group "mdns" with two hosts on a link, which are network namespaces.
fn on_a_link(report: &mut Report) -> Result<()> {
    let config = paths::out("test").join("dns-mdns.toml");
    paths::write_atomic(&config, MDNS.as_bytes())?;
    let log = log_file("dns-mdns.log");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", PYTHON, "-B"]);
    command.arg(paths::root().join("xtask/src/test/faces/conformance/link.py"));
    command.arg(rehearsal::program()?).arg(&config);
    command.stderr(File::create(&log).with_context(|| log.display().to_string())?);
    follow(command, "mdns", "", report)
}

/// Two places on this host for servers of the tests, where nobody else who tests at the same time has any: in a
/// loopback network of their own.
fn loopback() -> [SocketAddr; 2] {
    let [.., high, low] = std::process::id().to_be_bytes();
    [1, 2].map(|last| SocketAddr::from(([127, high, low, last], 5300)))
}

/// Two such places that the node in QEMU reaches as ports of its gateway: each process has two of its own.
pub fn behind_gateway() -> [SocketAddr; 2] {
    let first = 20_000 + 2 * (std::process::id() % 5000) as u16;
    [first, first + 1].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The configuration of a node in QEMU that is tried by [`try_group`] with "authority", and with "forward" and these
/// servers; it announces itself, too.
pub fn config_of_node(upstreams: &[SocketAddr; 2]) -> String {
    let of_node = upstreams.map(|server| format!("10.0.2.2:{}", server.port()));
    let (_, records) = FORWARD.split_once("[[record]]").unwrap_or_default();
    let forward = format!("forward = {of_node:?}\nmdns = true\n");
    // Kernels of the image instead of pretended ones.
    let config = AUTHORITY.replace("kernel = \"fails\"", "kernel = \"faulty\"\ncmdline = \"fault=crash\"");
    format!("{}\n[[record]]{records}", config.replace("forward = \"off\"\n", &forward))
}

/// Tries the cases of a group. `prefix` stands before their names.
pub fn try_group(group: &str, target: &Target, prefix: &str, report: &mut Report) -> Result<()> {
    let script = paths::root().join("xtask/src/test/faces/conformance/run.py");
    let mut command = Command::new(PYTHON);
    // Nothing is to be written beside the sources.
    command.arg("-B").arg(&script).arg(group);
    for (option, address) in [("--udp", target.udp), ("--tcp", target.tcp), ("--http", target.http)] {
        command.arg(option).arg(address.to_string());
    }
    for upstream in target.upstreams {
        command.arg("--upstream").arg(upstream.to_string());
    }
    if target.node {
        command.arg("--node");
    }
    follow(command, group, prefix, report)
}

/// Runs what tries a group's cases.
fn follow(mut command: Command, group: &str, prefix: &str, report: &mut Report) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let output = BufReader::new(child.stdout.take().context("it has no output")?);
    let (mut count, mut promised) = (0, None);
    for line in output.lines() {
        let line = line?;
        let line: Line = serde_json::from_str(&line).with_context(|| format!("{group}: {line:?}"))?;
        promised = line.cases.or(promised);
        let Some(case) = line.case else { continue };
        count += 1;
        report.check(&format!("{prefix}DNS, {group}: {case}"), || match line.fault {
            None => Ok(()),
            Some(fault) => Err(anyhow!(fault)),
        });
    }
    let status = child.wait()?;
    report.check(&format!("{prefix}DNS, {group}: all cases were tried"), || {
        ensure!(status.success(), "the script: {status}");
        ensure!(promised == Some(count) && count > 0, "{count} of {promised:?} cases");
        Ok(())
    });
    Ok(())
}
