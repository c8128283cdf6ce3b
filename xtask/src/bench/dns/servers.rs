//! The servers that are compared. Each has the same names, one thread, no limits and no log, and is asked on loopback.

use crate::host::unpacked::{Unpacked, pinned};
use crate::paths;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use probe::dns::{Question, RecordType};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Names in the zone, each with one address.
pub const NAMES: u32 = 200;

/// Seconds that answers may be cached.
const TTL: u32 = 60;

/// The client's package.
pub const CLIENT: &str = "dnsperf";

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a question is repeated that nobody has answered.
const REPEAT: Duration = Duration::from_millis(50);

/// Linux tells processor time in these, on every architecture (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;

/// A server that is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// This project's, in rehearsal.
    Jitsud,
    /// A forwarder for small networks, which knows some names itself.
    Dnsmasq,
    /// A resolver, which knows some names itself.
    Unbound,
    /// An authoritative server.
    Knot,
    /// Another one.
    Nsd,
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Kind; 5] = [Kind::Jitsud, Kind::Dnsmasq, Kind::Unbound, Kind::Knot, Kind::Nsd];

    /// As its makers call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Jitsud => "jitsud",
            Kind::Dnsmasq => "dnsmasq",
            Kind::Unbound => "Unbound",
            Kind::Knot => "Knot DNS",
            Kind::Nsd => "NSD",
        }
    }

    /// The package that it comes from; none for ours.
    pub fn package(self) -> Option<&'static str> {
        match self {
            Kind::Jitsud => None,
            Kind::Dnsmasq => Some("dnsmasq-base"),
            Kind::Unbound => Some("unbound"),
            Kind::Knot => Some("knot"),
            Kind::Nsd => Some("nsd"),
        }
    }

    /// The version of a server that has been unpacked, as it gives it.
    pub fn version(self, unpacked: &Unpacked) -> Result<String> {
        let (program, argument) = match self {
            Kind::Jitsud => return Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Kind::Dnsmasq => ("dnsmasq", "--version"),
            Kind::Unbound => ("unbound", "-V"),
            Kind::Knot => ("knotd", "--version"),
            Kind::Nsd => ("nsd", "-v"),
        };
        let output = unpacked.command(program, None)?.arg(argument).output();
        let output = output.with_context(|| format!("starting {program}"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        Ok(said.split([' ', '\n', ',']).find(number).unwrap_or("unknown").to_owned())
    }
}

/// The address of the so-manieth name.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0300 + number)
}

fn name(number: u32) -> String {
    format!("s{number}.jitsu.test")
}

/// The file of questions: for each name its address.
pub fn questions() -> String {
    (1..=NAMES).map(|number| format!("{} A\n", name(number))).collect()
}

/// The configuration of ours: every service runs, and is kept.
fn rehearsal_config() -> String {
    let mut text = "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/16\"\n\
                    forward = \"off\"\n[node.dns]\n\
                    queries_per_second = 0\nboots_per_second = 0\nresponses_per_second = 0\n"
        .to_owned();
    for number in 1..=NAMES {
        text += &format!(
            "[[service]]\nname = \"s{number}\"\naddress = \"{}\"\nkernel = \"any\"\nstart = \"always\"\nttl = {TTL}\n",
            address(number)
        );
    }
    text
}

fn zone_file() -> String {
    let mut text = format!(
        "$ORIGIN jitsu.test.\n$TTL {TTL}\n@ SOA node hostmaster 1 3600 600 604800 60\n@ NS node\nnode A 10.0.2.15\n"
    );
    for number in 1..=NAMES {
        text += &format!("s{number} A {}\n", address(number));
    }
    text
}

/// What a server is told; `folder` is its own.
fn configuration(kind: Kind, folder: &Path, port: u16) -> String {
    let place = folder.display();
    let names = || (1..=NAMES).map(|number| (name(number), address(number)));
    match kind {
        Kind::Jitsud => rehearsal_config(),
        Kind::Dnsmasq => {
            let hosts: String =
                names().map(|(name, address)| format!("host-record={name},{address},{TTL}\n")).collect();
            format!("port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n{hosts}")
        }
        Kind::Unbound => {
            let data: String = names()
                .map(|(name, address)| format!("  local-data: \"{name}. {TTL} IN A {address}\"\n"))
                .collect();
            format!(
                "server:\n  interface: 127.0.0.1@{port}\n  num-threads: 1\n  username: \"\"\n  chroot: \"\"\n  \
                 directory: \"{place}\"\n  pidfile: \"\"\n  do-daemonize: no\n  use-syslog: no\n  \
                 module-config: \"iterator\"\n  local-zone: \"jitsu.test.\" static\n{data}\
                 remote-control:\n  control-enable: no\n"
            )
        }
        Kind::Knot => format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {place}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\ndatabase:\n  storage: {place}\nzone:\n  - domain: jitsu.test\n    \
             file: {place}/zone\n    zonefile-sync: -1\n    journal-content: none\n"
        ),
        Kind::Nsd => format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  \
             zonesdir: \"{place}\"\n  database: \"\"\n  pidfile: \"{place}/pid\"\n  xfrdfile: \"{place}/xfrd\"\n  \
             zonelistfile: \"{place}/zones\"\n  xfrdir: \"{place}\"\n  rrl-ratelimit: 0\n  \
             rrl-whitelist-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: jitsu.test\n  \
             zonefile: {place}/zone\n"
        ),
    }
}

/// A server that runs. It ends with this value.
pub struct Server {
    /// Which.
    pub kind: Kind,
    /// Where it answers.
    pub at: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server on a processor, if one is given, and returns when it answers. Its files go to `folder`. `rehearsal` is
    /// the program of ours.
    ///
    /// # Errors
    /// When it does not get to answering.
    pub fn start(
        kind: Kind,
        unpacked: &Unpacked,
        rehearsal: &Path,
        folder: &Path,
        processor: Option<usize>,
    ) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        paths::create_dir(folder)?;
        let port = free_port()?;
        let file = folder.join("configuration");
        paths::write_atomic(&file, configuration(kind, folder, port).as_bytes())?;
        paths::write_atomic(&folder.join("zone"), zone_file().as_bytes())?;
        let log = folder.join("log");
        let said = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = match kind {
            Kind::Jitsud => {
                let mut command = pinned(rehearsal.as_os_str().to_owned(), processor);
                command.arg("--config").arg(&file).args(["--dns", &format!("127.0.0.1:{port}")]);
                command
            }
            Kind::Dnsmasq => {
                let mut command = unpacked.command("dnsmasq", processor)?;
                // As root it would become another user, who may not read its configuration.
                command.args(["--keep-in-foreground", "--pid-file=", "--log-facility=-", "--user=root"]);
                command.arg(format!("--conf-file={}", file.display()));
                command
            }
            Kind::Unbound => {
                let mut command = unpacked.command("unbound", processor)?;
                command.arg("-d").arg("-c").arg(&file);
                command
            }
            Kind::Knot => {
                let mut command = unpacked.command("knotd", processor)?;
                command.arg("-c").arg(&file);
                command
            }
            Kind::Nsd => {
                let mut command = unpacked.command("nsd", processor)?;
                command.arg("-d").arg("-c").arg(&file);
                command
            }
        };
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn();
        let child = child.with_context(|| format!("starting {command:?}"))?;
        let mut server = Server { kind, at: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), child };
        server.wait().with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{} does not answer; it said:\n{said}", kind.name())
        })?;
        Ok(server)
    }

    /// Waits until every name is answered with its address.
    fn wait(&mut self) -> Result<()> {
        let begin = Instant::now();
        for number in 1..=NAMES {
            loop {
                // What comes late is for a socket that has gone.
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.connect(self.at)?;
                socket.set_read_timeout(Some(REPEAT))?;
                let question = Question::new(&name(number), RecordType::A)?;
                let mut buffer = [0; 512];
                // While nobody listens there, both are refused.
                let received = socket.send(question.as_bytes()).and_then(|_| socket.recv(&mut buffer));
                if let Ok(length) = received
                    && question
                        .read(&buffer[..length])
                        .is_ok_and(|answer| answer.addresses == [address(number)])
                {
                    break;
                }
                if let Some(status) = self.child.try_wait()? {
                    bail!("it has ended: {status}");
                }
                ensure!(begin.elapsed() < PATIENCE, "{} not within {} s", name(number), PATIENCE.as_secs());
                if received.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                    thread::sleep(REPEAT);
                }
            }
        }
        Ok(())
    }

    /// Processor time that it and its children have used.
    ///
    /// # Errors
    /// When it has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        let ticks: u64 = family(self.child.id())?.into_iter().map(|(_, ticks)| ticks).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Those that it has started end with it, but for NSD's, which are told.
        for (process, _) in family(self.child.id()).unwrap_or_default() {
            let process = Pid::from_raw(process as i32);
            let _gone = kill(process, Signal::SIGTERM);
        }
        let _gone = self.child.wait();
    }
}

/// A process and its descendants, each with the ticks of processor time that it has used.
fn family(root: u32) -> Result<Vec<(u32, u64)>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        if let Some((parent, ticks)) = parent_and_ticks(&stat) {
            parents.push((process, parent, ticks));
        }
    }
    let mut family: Vec<(u32, u64)> = parents
        .iter()
        .filter(|(process, ..)| *process == root)
        .map(|(process, _, ticks)| (*process, *ticks))
        .collect();
    ensure!(!family.is_empty(), "process {root} has ended");
    let mut at = 0;
    while let Some((process, _)) = family.get(at).copied() {
        let children = parents.iter().filter(|(_, parent, _)| *parent == process);
        family.extend(children.map(|(child, _, ticks)| (*child, *ticks)));
        at += 1;
    }
    Ok(family)
}

/// Of `/proc/PID/stat` (proc(5)): the parent, and the ticks that were spent in the program and in the kernel for it.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The program's name stands in parentheses, and may have any characters.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((number(1)?.try_into().ok()?, number(11)? + number(12)?))
}

/// A port that was free for both transports a moment ago.
fn free_port() -> Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(socket.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_time() {
        let stat = "4711 (a) b) S 42 1 1 0 -1 4194560 1 0 0 0 70 30 0 0 20 0 1 0 1 1 1";
        assert_eq!(parent_and_ticks(stat), Some((42, 100)));
        assert_eq!(parent_and_ticks("nonsense"), None);
        let me = family(std::process::id()).expect("this process");
        assert_eq!(me[0].0, std::process::id());
    }

    #[test]
    fn all_are_told_the_same_names() {
        assert_eq!(questions().lines().count(), NAMES as usize);
        for kind in Kind::ALL {
            let text = configuration(kind, Path::new("/folder"), 4711);
            let text = if matches!(kind, Kind::Knot | Kind::Nsd) { zone_file() } else { text };
            // The last one: no other begins like it.
            assert_eq!(text.matches(&address(NAMES).to_string()).count(), 1, "{}", kind.name());
        }
    }
}
