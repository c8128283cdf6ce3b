//! The node in QEMU, and the ways in: its name server, its HTTP port, its services, its console.

use super::{Page, Resolver, Status, http};
use crate::fail::{Class, Fail};
use crate::qemu::{BootSpec, Executed, Forward, Protocol, Qemu, Start};
use anyhow::{Context, Result};
use probe::dns::Answer;
use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
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
    pub start: Start,
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
    address: Ipv4Addr,
    /// From QEMU's start to the daemon's word that it is ready.
    ready_after: Duration,
    resolver: Resolver,
    dns_over_tcp: SocketAddr,
    http: SocketAddr,
    forwards: Mutex<HashMap<SocketAddrV4, SocketAddr>>,
    lines: Mutex<Vec<String>>,
}

/// A place on the console; what is awaited after it must not have been there before.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Before everything.
    pub const START: Self = Mark(0);
}

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
    /// Boots a node and waits until its daemon says that it is ready. Its address, which a DHCP server may have
    /// given it, is in what it says; the ways to its own ports are made then.
    ///
    /// # Errors
    /// When it does not get that far; the message names the console's log.
    pub fn boot(spec: NodeSpec) -> Result<Self> {
        let qemu = Qemu::start(&BootSpec {
            start: spec.start,
            icount: spec.icount,
            log: spec.log.clone(),
            timeout: spec.timeout,
        })?;
        let lines = Mutex::default();
        let start = || -> Result<Self> {
            let address = await_ready(&qemu, &lines, Mark::START)?;
            let ready_after = qemu.started().elapsed();
            let open = |protocol, port| {
                let forward = Forward::new(protocol, SocketAddrV4::new(address, port))?;
                qemu.forward(&forward)?;
                Ok::<_, anyhow::Error>(host_end(&forward))
            };
            let resolver = Resolver::new(open(Protocol::Udp, 53)?);
            let (dns_over_tcp, http) = (open(Protocol::Tcp, 53)?, open(Protocol::Tcp, 80)?);
            // In instruction time the client is inside, and this host too slow for the node's clock.
            if !spec.icount {
                resolver.settle()?;
            }
            let (log, forwards) = (spec.log.clone(), Mutex::default());
            Ok(RunningNode { qemu, log, address, ready_after, resolver, dns_over_tcp, http, forwards, lines })
        };
        start().map_err(|error| blame(&spec.log, error))
    }

    /// Its own address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// From QEMU's start, which is when the power of an emulated machine comes on, to the daemon's word that it is
    /// ready, which it says when DNS answers; by this host's clock.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Everything that the console has shown so far.
    pub fn console(&self) -> String {
        self.qemu.console_text()
    }

    /// Powers the node off and returns when it has written everything that it had to.
    ///
    /// # Errors
    /// When it does not get that far.
    pub fn power_off(self) -> Result<()> {
        let mark = self.mark();
        self.send_line("poweroff")?;
        // Xen's word. Not every machine has a switch that turns it off then.
        let halted = |line: &str| line.contains("Hardware Dom0 halted");
        self.await_line(mark, "the node to be off", PATIENCE, halted).map(drop)
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

    /// Its status when Xen and dom0's kernel have let go of the domains that are gone, or as it is when they do not.
    /// They do so on their own time, and nothing outside the node can await it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn settled_status(&self) -> Result<Status> {
        self.status_once(|status| {
            let guests = status.services.iter().filter(|service| service.domid.is_some()).count() as u64;
            let domains = status.xen.domains.map(|domains| domains.saturating_sub(1));
            let settled = [domains, status.resources.vifs].iter().all(|count| *count == Some(guests));
            settled && (status.resources.devices == Some(0) || guests > 0)
        })
    }

    /// Its status when all that services take is as in `before`, or as it is when it does not become so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn status_as_before(&self, before: &Status) -> Result<Status> {
        self.status_once(|status| status.xen == before.xen && status.resources == before.resources)
    }

    /// Its status when all shells are ready, or as it is when they do not become so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn status_with_shells(&self) -> Result<Status> {
        self.status_once(|status| {
            let guests = status.services.iter().filter(|service| service.domid.is_some()).count() as u64;
            let all = Some(1 + guests + status.shells.wanted);
            status.shells.ready == status.shells.wanted && status.xen.domains == all
        })
    }

    /// Its status as soon as it is as wanted, or what it is after a while.
    fn status_once(&self, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let status = self.status()?;
            if wanted(&status) || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Returns when dom0's kernel has given up the frames that the daemon sets aside at its start: Xen's free memory
    /// says nothing before.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn frames_set_aside(&self) -> Result<()> {
        self.shell("cd /sys/devices/system/xen_memory/xen_memory0")?;
        self.shell("until [ $(cat info/current_kb) -le $(cat target_kb) ]; do usleep 9999; done")?;
        self.shell("cd /").map(drop)
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

    /// Waits until the daemon says, after `mark`, that it is ready. Returns the node's address.
    ///
    /// # Errors
    /// When it does not.
    pub fn await_ready(&self, mark: Mark) -> Result<Ipv4Addr> {
        await_ready(&self.qemu, &self.lines, mark)
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

    /// What the machine has executed until now, in instruction time.
    ///
    /// # Errors
    /// When QEMU does not tell.
    pub fn executed(&self) -> Result<Executed> {
        self.qemu.executed()
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
        await_line(&self.qemu, &self.lines, mark, what, limit, wanted).map(|(line, _)| line)
    }

    /// As [`RunningNode::await_line`], and puts `mark` after the line, so that it is not found again.
    ///
    /// # Errors
    /// As there.
    pub fn next_line(
        &self,
        mark: &mut Mark,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let (line, after) = await_line(&self.qemu, &self.lines, *mark, what, limit, wanted)?;
        *mark = after;
        Ok(line)
    }

    /// Adds to an error where the node's console can be read.
    pub fn blame(&self, error: anyhow::Error) -> anyhow::Error {
        blame(&self.log, error)
    }

    /// The last lines of the console, for a failure's report.
    pub fn last_lines(&self, count: usize) -> String {
        let text = self.qemu.console_text();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// See [`RunningNode::await_ready`].
fn await_ready(qemu: &Qemu, lines: &Mutex<Vec<String>>, mark: Mark) -> Result<Ipv4Addr> {
    let what = "the daemon to say that it is ready";
    let (line, _) = await_line(qemu, lines, mark, what, BOOT_LIMIT, |line| ready_address(line).is_some())?;
    ready_address(&line).context("its word that it is ready has no address")
}

/// See [`RunningNode::next_line`]; `lines` are those that came so far.
fn await_line(
    qemu: &Qemu,
    lines: &Mutex<Vec<String>>,
    mark: Mark,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&str) -> bool,
) -> Result<(String, Mark)> {
    let deadline = Instant::now() + limit;
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = mark.0;
    loop {
        while let Some(line) = lines.get(next) {
            next += 1;
            if wanted(line) {
                return Ok((line.clone(), Mark(next)));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let line = qemu.wait_for("\n", left);
        lines.push(line.with_context(|| format!("waiting for {what}, {} s at most", limit.as_secs()))?);
    }
}

/// Adds to an error where the console's log is.
fn blame(log: &Path, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("the node's console is in {}", log.display()))
}

/// The node's address in the line with which the daemon says that it is ready.
pub fn ready_address(line: &str) -> Option<Ipv4Addr> {
    line.split_once(" ready address=")?.1.split_whitespace().next()?.parse().ok()
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
    fn the_address_is_in_the_word_that_it_is_ready() {
        let line = "   12.345678901s  INFO ready address=10.0.2.15 domain=\"jitsu.test\" services=1\r\n";
        assert_eq!(ready_address(line), Some(Ipv4Addr::new(10, 0, 2, 15)));
        assert_eq!(ready_address("   1.0s  INFO ready"), None);
        assert_eq!(ready_address(" ready address=dhcp domain="), None);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 16);
    }
}
