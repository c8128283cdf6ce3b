//! The node in QEMU, and the ways in: its name server, its HTTP port, its services, its console.

use super::{Page, Resolver, Status, http};
use crate::fail::{Class, Fail};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::{BootSpec, Forward, Protocol, Qemu};
use anyhow::{Context, Result};
use probe::dns::Answer;
use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The address that the configurations of demo and tests give the node.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Longest time from QEMU's start to the daemon's word that it is ready, on a slow and busy host.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// Longest wait for a single thing on a running node.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long dom0's kernel may take to remove an interface, and how often that is looked at.
const SETTLING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How to boot a node.
pub struct NodeSpec {
    /// What to boot.
    pub image: Image,
    /// The node's `/etc/jitsu.toml`.
    pub config: String,
    /// Further files for the node.
    pub files: Vec<ExtraFile>,
    /// Whether time is a count of instructions.
    pub icount: bool,
    /// Where the console is logged.
    pub log: PathBuf,
    /// The node is killed when it runs longer than this.
    pub timeout: Duration,
}

/// A node whose daemon is ready.
pub struct RunningNode {
    qemu: Qemu,
    log: PathBuf,
    resolver: Resolver,
    dns_over_tcp: SocketAddr,
    http: SocketAddr,
    forwards: Mutex<HashMap<SocketAddrV4, SocketAddr>>,
    lines: Mutex<Vec<String>>,
}

/// A place on the console; what is awaited after it must not have been there before.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// A service's page, and how it was got.
pub struct Summoned {
    /// What the name server said.
    pub answer: Answer,
    /// The address connected to, from the answer.
    pub address: Ipv4Addr,
    /// What was served there.
    pub page: Page,
    /// When the question was sent.
    pub asked: Instant,
    /// When the answer came.
    pub answered: Instant,
}

impl RunningNode {
    /// Boots a node and waits until its daemon says that it is ready.
    ///
    /// # Errors
    /// When it does not get that far; the message names the console's log.
    pub fn boot(spec: NodeSpec) -> Result<Self> {
        let dns = Forward::new(Protocol::Udp, SocketAddrV4::new(NODE, 53))?;
        let dns_over_tcp = Forward::new(Protocol::Tcp, SocketAddrV4::new(NODE, 53))?;
        let http = Forward::new(Protocol::Tcp, SocketAddrV4::new(NODE, 80))?;
        let config =
            ExtraFile { path: "/etc/jitsu.toml".into(), mode: 0o644, content: spec.config.into_bytes() };
        let mut extra_files = spec.files;
        extra_files.push(config);
        let qemu = Qemu::start(&BootSpec {
            cpus: spec.image.board.machine()?.cpus,
            image: spec.image,
            extra_files,
            icount: spec.icount,
            forwards: vec![dns.clone(), dns_over_tcp.clone(), http.clone()],
            log: spec.log.clone(),
            timeout: spec.timeout,
        })?;
        let node = RunningNode {
            qemu,
            log: spec.log,
            resolver: Resolver::new(host_end(&dns)),
            dns_over_tcp: host_end(&dns_over_tcp),
            http: host_end(&http),
            forwards: Mutex::default(),
            lines: Mutex::default(),
        };
        node.await_ready(Mark(0))?;
        // In instruction time the client is inside, and this host too slow for the node's clock.
        if !spec.icount {
            node.resolver.settle().map_err(|error| node.blame(error))?;
        }
        Ok(node)
    }

    /// Its name server.
    pub fn resolver(&self) -> Resolver {
        self.resolver
    }

    /// Its name server's TCP port, as seen from this host.
    pub fn dns_over_tcp(&self) -> SocketAddr {
        self.dns_over_tcp
    }

    /// Its own HTTP port, as seen from this host.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its status now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn status(&self) -> Result<Status> {
        Status::fetch(self.http)
    }

    /// Its status when dom0's kernel has removed the interfaces of the domains that are gone, or as it is when
    /// the kernel does not. The kernel does so on its own time, and nothing outside the node can await it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn settled_status(&self) -> Result<Status> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let status = self.status()?;
            let guests = status.xen.domains.map(|domains| domains.saturating_sub(1));
            if status.resources.vifs == guests || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Where on this host a TCP port of the node's network can be reached. The first time, QEMU is told to
    /// make it so.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn reach(&self, address: Ipv4Addr, port: u16) -> Result<SocketAddr> {
        let guest = SocketAddrV4::new(address, port);
        let mut forwards = self.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = forwards.get(&guest) {
            return Ok(*host);
        }
        let forward = Forward::new(Protocol::Tcp, guest)?;
        self.qemu.forward(&forward)?;
        forwards.insert(guest, host_end(&forward));
        Ok(host_end(&forward))
    }

    /// Asks for `service`, and fetches the page from the address that is answered.
    ///
    /// # Errors
    /// Which step failed, and why.
    pub fn summon(&self, service: &str) -> Result<Summoned> {
        let name = format!("{service}.jitsu.test");
        let reply = self.resolver.ask(&name, probe::dns::RecordType::A)?;
        let address = reply.answer.address().with_context(|| format!("resolving {name}"))?;
        let page = http::get(self.reach(address, 80)?, &name, "/")
            .with_context(|| format!("fetching the page of {name} from {address}"))?;
        Ok(Summoned { answer: reply.answer, address, page, asked: reply.sent, answered: reply.received })
    }

    /// The console's end as it is now.
    pub fn mark(&self) -> Mark {
        Mark(self.qemu.console_text().matches('\n').count())
    }

    /// Waits until the daemon says, after `mark`, that it is ready.
    ///
    /// # Errors
    /// When it does not.
    pub fn await_ready(&self, mark: Mark) -> Result<()> {
        let ready = |line: &str| line.contains(" ready address=");
        self.await_line(mark, "the daemon to say that it is ready", BOOT_LIMIT, ready).map(drop)
    }

    /// Waits until the daemon says, after `mark`, that `service` went into `state`.
    ///
    /// # Errors
    /// When it does not.
    pub fn await_state(&self, mark: Mark, service: &str, state: &str) -> Result<()> {
        let (who, to) = (format!("service=\"{service}\""), format!("→ {state}: "));
        let what = format!("service {service} to be {state}");
        self.await_line(mark, &what, PATIENCE, |line| line.contains(&who) && line.contains(&to)).map(drop)
    }

    /// Runs a command in the console's shell and returns what it prints, without the daemon's log lines that
    /// come in between. Xen keeps no more than 128 typed characters.
    ///
    /// # Errors
    /// When it fails, or does not end.
    pub fn shell(&self, command: &str) -> Result<String> {
        let mark = self.mark();
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        self.qemu.send_line(&format!("echo 'be''gin'; {command}; echo 'en''d' $?"))?;
        let what = format!("`{command}` to end on the node");
        let end = self.await_line(mark, &what, PATIENCE, |line| line.trim_end().starts_with("end "))?;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let since = lines.get(mark.0..).unwrap_or_default().iter().map(|line| line.trim_end());
        let output: Vec<&str> = since
            .skip_while(|line| *line != "begin")
            .skip(1)
            .take_while(|line| !line.starts_with("end "))
            .filter(|line| !is_log_line(line))
            .collect();
        let output = output.join("\n");
        if end.trim_end() == "end 0" {
            return Ok(output);
        }
        Err(Fail::new(Class::Node, format!("`{command}` failed on the node ({}): {output}", end.trim_end())))
    }

    /// Types a line into the console's shell.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn send_line(&self, line: &str) -> Result<()> {
        self.qemu.send_line(line)
    }

    /// Waits for a line on the console, after `mark`, that `wanted` accepts.
    ///
    /// # Errors
    /// When none comes in time, or the node ends; the message says `what` was waited for.
    pub fn await_line(
        &self,
        mark: Mark,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = mark.0;
        loop {
            while let Some(line) = lines.get(next) {
                if wanted(line) {
                    return Ok(line.clone());
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.qemu.wait_for("\n", left);
            lines.push(line.with_context(|| format!("waiting for {what}, {} s at most", limit.as_secs()))?);
        }
    }

    /// Adds to an error where the node's console can be read.
    pub fn blame(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("the node's console is in {}", self.log.display()))
    }

    /// The last lines of the console, for a failure's report.
    pub fn last_lines(&self, count: usize) -> String {
        let text = self.qemu.console_text();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Letters for a page to show that cannot be guessed.
///
/// # Errors
/// When the system has no random numbers.
pub fn token() -> Result<String> {
    let mut random = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    source.read_exact(&mut random).context("reading /dev/urandom")?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

fn host_end(forward: &Forward) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, forward.host_port).into()
}

/// Lines of the daemon begin with its uptime and a level, those of Xen with `(XEN)`.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let uptime = words.next().unwrap_or_default();
    line.starts_with("(XEN)")
        || uptime.ends_with('s')
            && uptime.starts_with(|first: char| first.is_ascii_digit())
            && matches!(words.next(), Some("DEBUG" | "INFO" | "WARN" | "ERROR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_told_from_output() {
        assert!(is_log_line("   12.345678901s  INFO off → building: it was asked for service=\"www\""));
        assert!(is_log_line("(XEN) something"));
        for output in ["", "123", "7s", "3 INFO", "MemTotal: 1 kB"] {
            assert!(!is_log_line(output), "{output:?}");
        }
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 16);
    }
}
