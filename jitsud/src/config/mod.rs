//! What the node is to be: `jitsu.toml`, read into values that have been checked.
//!
//! In two steps, since a DHCP server may have a say: [`parse`] makes a [`Draft`] of the text, and
//! [`Draft::resolve`] makes a [`Config`] of that and the addresses that were leased. Both are pure; `parse` looks
//! at kernels and disks only through the functions it is handed. [`load`] is the thin version that reads files.
//!
//! A mistake never hides another one and never costs more than it must: it becomes a [`Problem`] with file,
//! line, what is wrong and the fix; a service with a problem is left out, a key of `[node]` has its default,
//! and instead of a file that cannot be used at all there is the one that came with the node. Nothing in a file
//! that somebody wrote keeps the node from coming up; [`Unusable`] is left for a node that came without a file.
//!
//! Unknown keys are problems too: a misspelt `memroy = 64` must not run as the default.

mod address;
mod address6;
mod announce;
mod capture;
mod check;
mod disk;
mod dns;
mod draft;
mod files;
mod forward;
mod instances;
mod interfaces;
mod kernel;
mod keys;
mod limits;
mod logs;
mod mac;
mod names;
mod node;
mod policy;
mod problem;
mod quiet;
mod quota;
mod reader;
mod record;
mod service;
#[cfg(test)]
mod tests;
mod vif;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::capture::capture_services;
pub use address::Addressing;
pub use announce::Offer;
pub use check::{Findings, check, read_draft};
pub use disk::{Disk, DiskIdentity, DiskName, probe_disk};
pub use draft::{Draft, Given, NodeDraft, Wanted};
pub use files::{CARD_FILE, load};
pub use forward::{Forward, MAX_SERVERS, of_resolv_conf};
pub use instances::HOST_KEY;
pub use interfaces::{Interface, InterfaceKind};
pub use kernel::{HEAD_BYTES, KernelHead, Kernels, MAX_KERNELS, probe_kernel, read_kernel};
pub use keys::{Key, ReadyKey};
pub use limits::Dns;
pub use logs::LogLevel;
pub use mac::Mac;
pub use node::DEFAULT_DOMAIN;
pub use policy::DEFAULT_ANSWER;
pub use problem::{MAX_PROBLEMS, Problem, Unusable};
pub use quiet::{Pattern, Quiet};
pub use quota::Quota;
pub use record::StaticRecord;
pub use service::{MAX_CMDLINE, MAX_MEMORY_MIB, MAX_VCPUS};
pub use vif::Vif;

use reader::{Line, Reader, Source};
use toml::de::DeTable;

/// A configuration that can run, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// The usable services; [`crate::summoner::ServiceId`] is an index into this list.
    pub services: Vec<Service>,
    /// Records of the node's zone that are not a service's address.
    pub records: Vec<StaticRecord>,
}

/// The `[node]` table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Host name, one label of [`Node::domain`].
    pub name: String,
    /// The DNS zone the node answers for: lower case, without the final dot.
    pub domain: String,
    /// The interface that leads out; `None` for the first physical Ethernet interface.
    pub uplink: Option<String>,
    /// The bridge's address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 8..=30.
    pub prefix: u8,
    /// The bridge's IPv6 address and the length of its network's prefix, beside those of its own making.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// The way to other networks, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The bridge's interface name.
    pub bridge: String,
    /// Where relative kernel paths start when the card has no such kernel.
    pub kernels: PathBuf,
    /// Who is asked for the time; nobody when it is empty.
    pub ntp: Vec<TimeServer>,
    /// What each guest may use up of XenStore, where that is not XenStore's default.
    pub quota: Vec<Quota>,
    /// How many services packets may start, and how many of these are kept meanwhile.
    pub capture: ::capture::Limits,
    /// Domains that are kept ready, for each shape of domain that a service has.
    pub shells: u32,
    /// Who starts no service.
    pub quiet: Quiet,
    /// Whom questions go to that the node is not authoritative for.
    pub forward: Forward,
    /// Where the log goes, too.
    pub syslog: Option<SocketAddr>,
    /// How much is logged.
    pub log: LogLevel,
    /// Whose questions are answered, and how many of them.
    pub dns: Dns,
    /// Whether the node and its services are announced on the link.
    pub mdns: bool,
}

/// Who knows the time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeServer {
    /// By address.
    Address(Ipv4Addr),
    /// By name: lower case, without the final dot.
    Name(String),
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeServer::Address(address) => write!(f, "{address}"),
            TimeServer::Name(name) => f.write_str(name),
        }
    }
}

/// One `[[service]]` table, all of it valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The service's and its domain's name, an RFC 1123 label in lower case.
    pub name: String,
    /// The names that summon it, in or equal to [`Node::domain`]: lower case, without final dots, at least one. They may
    /// be other services' too, and may begin with `*.`.
    pub dns: Vec<String>,
    /// As what it is announced on the link, if the node announces anything.
    pub announce: Vec<Offer>,
    /// It is one of several instances of this service, and runs for a host name that it is bound to.
    pub instance_of: Option<String>,
    /// Where it answers; inside the bridge's network and nobody else's.
    pub address: Ipv4Addr,
    /// Where it answers by IPv6, if its guest does.
    pub address6: Option<Ipv6Addr>,
    /// Its address on the link.
    pub mac: Mac,
    /// Its block devices.
    pub disks: Vec<Disk>,
    /// Its network interfaces beyond the one that has `address` and `mac`.
    pub vifs: Vec<Vif>,
    /// The kernel's full path; it was a zImage when the file was read.
    pub kernel: PathBuf,
    /// The full path of the kernel's ramdisk, if it has one.
    pub ramdisk: Option<PathBuf>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs, 1..=[`MAX_VCPUS`].
    pub vcpus: u32,
    /// Its share of CPU time, at least 1, relative to those of others and dom0, which has 256.
    pub weight: u16,
    /// The guest's own arguments, at most [`MAX_CMDLINE`] bytes; the node puts `ip=` in front.
    pub cmdline: String,
    /// Who starts it.
    pub start: Start,
    /// When a query is answered that starts it.
    pub answer: Answer,
    /// How long answers are held back from the moment at which they could be given for the first time in a life.
    pub response_delay: Duration,
    /// Whether packets start it.
    pub wake: bool,
    /// TCP ports to which they do.
    pub tcp: ::capture::Ports,
    /// UDP ports to which they do.
    pub udp: ::capture::Ports,
    /// How packets are answered that nobody will take.
    pub refuse: ::capture::Refusal,
    /// Who does not start it: those of the node, and more.
    pub quiet: Quiet,
    /// How long a DNS answer may be cached.
    pub ttl: Duration,
    /// How long it runs on without a query or a packet; never less than `ttl`.
    pub idle: Duration,
    /// It is not ended for want of traffic, or for another service's sake, before it has been up for so long.
    pub min_uptime: Duration,
    /// It is ended when it has been up for so long, whatever it does; never less than `min_uptime`.
    pub max_uptime: Option<Duration>,
    /// How long it may take to get ready.
    pub boot_timeout: Duration,
    /// How it is ended.
    pub stop: Stop,
    /// The XenStore key that it writes when it accepts connections.
    pub wait_for_key: ReadyKey,
    /// The TCP port at which its guest is asked instead whether it accepts connections.
    pub listens_on: Option<u16>,
    /// The XenStore keys that it finds, beside those that every domain has.
    pub keys: Vec<Key>,
}

impl Service {
    /// Where it answers.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(IpAddr::V4(self.address)).chain(self.address6.map(IpAddr::V6))
    }

    /// Whether packets to its ports start it.
    pub fn is_woken(&self) -> bool {
        let has_ports = |ports: &::capture::Ports| *ports != ::capture::Ports::Only(Vec::new());
        self.wake && self.start != Start::Manual && (has_ports(&self.tcp) || has_ports(&self.udp))
    }
}

/// Who starts a service.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Start {
    /// Queries for its name, and packets to its address.
    #[default]
    Summon,
    /// The node, as soon as it is up; and again when it has ended by itself. It is not ended for want of traffic, or
    /// for another service's sake.
    Always,
    /// An administrator. Neither query nor packet starts it.
    Manual,
}

impl Start {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Start::Summon => "summon",
            Start::Always => "always",
            Start::Manual => "manual",
        }
    }
}

/// When a query is answered that starts a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// When there is room for its domain and it is being built: what the client then sends is kept for it.
    Start,
    /// When it accepts connections.
    Ready,
}

/// How a service is ended when it is not needed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Its domain stands still, with its memory and connections, until somebody wants it. When it has to go for another
    /// reason, it is destroyed.
    Pause,
    /// Its domain is destroyed.
    Destroy,
    /// Its guest is asked to switch itself off.
    Shutdown {
        /// After so long it is destroyed all the same.
        timeout: Duration,
    },
}

/// A usable configuration and what was wrong with the rest of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What to run.
    pub config: Config,
    /// What is wrong with the file, and what was left out and why; in the order of the file.
    pub problems: Vec<Problem>,
    /// Where each service of the configuration stands.
    places: Vec<Place>,
}

/// Where a table begins.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    file: String,
    line: u32,
}

impl Loaded {
    /// Leaves services out for reasons that show only later, and adds a problem for each: `fault` says what is
    /// wrong with a service and how it is mended.
    pub fn leave_out(&mut self, mut fault: impl FnMut(&Service) -> Option<(String, String)>) {
        let (services, places) = (&mut self.config.services, &mut self.places);
        let mut kept = Vec::new();
        for (service, place) in services.drain(..).zip(places.drain(..)) {
            match fault(&service) {
                None => kept.push((service, place)),
                Some((what, fix)) => self.problems.push(Problem {
                    file: place.file,
                    line: place.line,
                    service: Some(service.name),
                    what,
                    fix,
                }),
            }
        }
        (self.config.services, self.places) = kept.into_iter().unzip();
    }
}

impl Node {
    /// The node's place in its network.
    pub fn addressing(&self) -> Addressing {
        Addressing { address: self.address, prefix: self.prefix, gateway: self.gateway }
    }

    /// The network mask that belongs to [`Node::prefix`].
    pub fn netmask(&self) -> Ipv4Addr {
        self.addressing().netmask()
    }

    /// The node's name in its zone: `NAME.DOMAIN`.
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// Most services that are read: a card's file may have more than the node has memory for.
pub const MAX_SERVICES: usize = 1000;

/// Reads what is in a `jitsu.toml`. `file` is only named in problems.
///
/// # Errors
/// [`Unusable`] when it is not TOML.
pub fn parse(bytes: &[u8], file: &Path, kernels: &Kernels<'_>) -> Result<Draft, Unusable> {
    let source = Source::new(bytes, file)?;
    let document = source.document()?;
    let mut problems = Vec::new();
    let mut root = Reader::new(&source, document.get_ref(), Line(1), &mut problems);
    root.refuse_unknown(&["node", "service", "record"], "the file");
    let node_table = root.table("node", "[node] with address = \"192.168.1.2/24\"");
    let service_tables = root.tables("service", "[[service]]");
    let record_tables = root.tables("record", "[[record]]");

    let nothing = DeTable::new();
    let (line, table) = node_table.unwrap_or((Line(1), &nothing));
    let node = node::read(&mut Reader::new(&source, table, line, &mut problems));
    let mut claims = service::Claims::of(&node);
    let mut services = Vec::new();
    for (line, table) in service_tables {
        let mut reader = Reader::new(&source, table, line, &mut problems);
        if services.len() >= MAX_SERVICES {
            let fix = "remove some; this one and those after it are left out meanwhile";
            reader.problem(line, format!("there are over {MAX_SERVICES} services"), fix);
            break;
        }
        services.extend(service::read(&mut reader, &node, &mut claims, kernels));
        if services.len() > MAX_SERVICES {
            services.truncate(MAX_SERVICES);
            let fix = "write fewer; the last ones of this table are left out meanwhile";
            reader.problem(line, format!("with these instances there are over {MAX_SERVICES} services"), fix);
        }
    }
    let mut records = record::Records::default();
    for (index, (line, table)) in record_tables.into_iter().enumerate() {
        let mut reader = Reader::new(&source, table, line, &mut problems);
        if index == record::MAX_RECORDS {
            let fix = "remove some; this one and those after it are left out meanwhile";
            reader.problem(line, format!("there are over {} records", record::MAX_RECORDS), fix);
            break;
        }
        records.read(&mut reader, &node, &mut claims.dns);
    }
    let records = records.done();
    let file = file.display().to_string();
    in_file_order(&mut problems, &file);
    Ok(Draft { file, node, services, records, problems })
}

/// Sorts by line; first what is wrong with another file, instead of which this one is used.
fn in_file_order(problems: &mut [Problem], file: &str) {
    problems.sort_by_key(|problem| (problem.file == file, problem.line));
}

/// A configuration for tests: static addresses, and every kernel is there.
#[cfg(test)]
pub(crate) fn loaded(text: &str) -> Loaded {
    let kernels = Kernels { card: None, probe: &|_| Ok(KernelHead::stand_in()), disk: &|_| Ok((0, 0)) };
    let draft = parse(text.as_bytes(), Path::new("jitsu.toml"), &kernels).unwrap();
    let addressing = draft.node.addressing.unwrap();
    draft.resolve(addressing, &[], Duration::ZERO)
}
