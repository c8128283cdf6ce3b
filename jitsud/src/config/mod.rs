//! What the node is to be: `jitsu.toml`, read into values that have been checked.
//!
//! [`parse`] is pure: it gets the text, and looks at kernels only through the function it is handed.
//! [`load`] is the thin version that reads files. A mistake never hides another one and never costs more
//! than it must: it becomes a [`Problem`] with file, line, what is wrong and the fix; a service with a
//! problem is left out, an optional key of `[node]` keeps its default, and only a node that could not
//! be reached at all ([`Unusable`]) is refused.
//!
//! Unknown keys are problems too: a misspelt `memroy = 64` must not run as the default.

mod kernel;
mod names;
mod node;
mod problem;
mod reader;
mod service;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub use kernel::{HEAD_BYTES, KernelHead, probe_kernel};
pub use problem::{Problem, Unusable};
pub use service::{MAX_CMDLINE, MAX_MEMORY_MIB, MAX_VCPUS};

use reader::{Line, Reader, Source};

/// A configuration that can run, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// The usable services; [`crate::summoner::ServiceId`] is an index into this list.
    pub services: Vec<Service>,
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
    /// Length of the network's prefix, 1..=30.
    pub prefix: u8,
    /// The way to other networks, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The bridge's interface name.
    pub bridge: String,
    /// Where relative kernel paths start.
    pub kernels: PathBuf,
}

/// One `[[service]]` table, all of it valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The service's and its domain's name, an RFC 1123 label in lower case.
    pub name: String,
    /// The names that summon it, in or equal to [`Node::domain`]: lower case, without final dots, at least one.
    pub dns: Vec<String>,
    /// Where it answers; inside the bridge's network and nobody else's.
    pub address: Ipv4Addr,
    /// The kernel's full path; it was a zImage when the file was read.
    pub kernel: PathBuf,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs, 1..=[`MAX_VCPUS`].
    pub vcpus: u32,
    /// The guest's own arguments, at most [`MAX_CMDLINE`] bytes; the node puts `ip=` in front.
    pub cmdline: String,
    /// How long a DNS answer may be cached.
    pub ttl: Duration,
    /// How long it runs on without a request; never less than `ttl`.
    pub idle: Duration,
    /// How long it may take to get ready.
    pub boot_timeout: Duration,
    /// The XenStore key that it writes when it accepts connections, relative to `/local/domain/N`.
    pub wait_for_key: String,
}

/// A usable configuration and what was wrong with the rest of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What to run.
    pub config: Config,
    /// What was left out and why, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Node {
    /// The network mask that belongs to [`Node::prefix`].
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// The network's own address, which no host may have.
    pub fn network(&self) -> Ipv4Addr {
        self.address & self.netmask()
    }

    /// The network's broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        self.address | !self.netmask()
    }

    /// Whether the address lies in the bridge's network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.netmask() == self.network()
    }

    /// The node's name in its zone: `NAME.DOMAIN`.
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// Reads the file and looks at the kernels it names.
///
/// # Errors
/// [`Unusable`] when the file cannot be read, is not TOML, or `[node]` lacks what the node cannot be without.
pub fn load(file: &Path) -> Result<Loaded, Unusable> {
    let unreadable = |line, what, fix: &str| {
        let file = file.display().to_string();
        Unusable(vec![Problem { file, line, service: None, what, fix: fix.to_owned() }])
    };
    let bytes = fs::read(file).map_err(|error| {
        unreadable(1, format!("cannot be read: {error}"), "put a jitsu.toml there that jitsud may read")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let (good, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        unreadable(line as u32, "the text is not UTF-8".to_owned(), "save the file as UTF-8")
    })?;
    parse(&text, file, &probe_kernel)
}

/// Reads the text of a `jitsu.toml`.
///
/// `file` is only named in problems. `kernels` returns the first bytes of the kernel at a path.
///
/// # Errors
/// [`Unusable`] when the text is not TOML or `[node]` lacks what the node cannot be without.
pub fn parse(
    text: &str,
    file: &Path,
    kernels: &dyn Fn(&Path) -> io::Result<KernelHead>,
) -> Result<Loaded, Unusable> {
    let source = Source::new(text, file);
    let document = source.document()?;
    let mut problems = Vec::new();
    let mut root = Reader::new(&source, document.get_ref(), Line(1), &mut problems);
    root.refuse_unknown(&["node", "service"], "the file");
    let node_table = root.required_table("node", "[node] with domain and address");
    let service_tables = root.tables("service", "[[service]]");

    let node = node_table
        .and_then(|(line, table)| node::read(&mut Reader::new(&source, table, line, &mut problems)));
    let Some(node) = node else {
        return Err(Unusable(in_file_order(problems)));
    };

    let mut claims = service::Claims::of(&node);
    let mut services = Vec::new();
    for (line, table) in service_tables {
        let mut reader = Reader::new(&source, table, line, &mut problems);
        services.extend(service::read(&mut reader, &node, &mut claims, kernels));
    }
    Ok(Loaded { config: Config { node, services }, problems: in_file_order(problems) })
}

fn in_file_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.line);
    problems
}
