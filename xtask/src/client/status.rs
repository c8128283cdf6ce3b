//! What is read of the node's `/status`. The document itself is described in `jitsud/src/schema.rs`; what is
//! not needed here is left out, as its rules for readers have it.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};

/// The document.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    pub node: Node,
    pub boot: Boot,
    /// `None` for a node without a card.
    pub card: Option<Card>,
    pub xen: Xen,
    pub resources: Resources,
    #[serde(default)]
    pub packets: Packets,
    pub shells: Shells,
    pub services: Vec<Service>,
    pub problems: Vec<Problem>,
}

/// Packets for services that were not up.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
pub struct Packets {
    pub frames: u64,
    pub held_bytes: u64,
    pub held: u64,
    pub summons: u64,
    pub evicted: u64,
    pub full: u64,
    pub opened: u64,
    pub handed_over: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub versions: Versions,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Versions {
    /// As Xen calls itself: `4.17.5`.
    pub xen: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Boot {
    /// When the daemon began.
    pub jitsud_started_ns: Option<u64>,
    /// From Xen's making of dom0 to the first moment at which DNS answers.
    pub dns_answering_since_dom0_ns: Option<u64>,
    /// What the boot script says the board is.
    pub board: Option<String>,
    /// Which copy of the system on the card runs.
    pub slot: Option<String>,
    /// Why others do not.
    #[serde(default)]
    pub fallback: Vec<Fallback>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Fallback {
    pub file: String,
    pub fault: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Card {
    pub partition: String,
    /// The partition that people edit.
    pub boot: Partition,
    pub data: Partition,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Partition {
    pub state: String,
    pub bytes: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Xen {
    pub free_bytes: Option<u64>,
    pub domains: Option<u64>,
}

/// What must come back to the same figures when all services are off again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Resources {
    pub xenstore_nodes: Option<u64>,
    pub xenstore_watches: Option<u64>,
    pub xenstore_connections: Option<u64>,
    pub event_channels: Option<u64>,
    pub mapped_pages: Option<u64>,
    pub vifs: Option<u64>,
    pub devices: Option<u64>,
    pub open_files: Option<u64>,
}

/// Domains that are made before it is known for which service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Shells {
    pub wanted: u64,
    pub ready: u64,
    pub taken: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    pub name: String,
    pub address: Ipv4Addr,
    /// Full names.
    pub dns: Vec<String>,
    pub state: String,
    pub reason: Option<String>,
    pub domid: Option<u16>,
    /// Its domain was a shell.
    pub in_shell: bool,
    pub starts: u64,
    pub requests: u64,
    pub failures: u64,
    /// What its guest has said last.
    #[serde(default)]
    pub console: Vec<String>,
    /// The stages of the last start.
    pub last_start: Vec<Stage>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Stage {
    pub stage: String,
    pub at_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    pub file: String,
    pub line: u32,
    pub what: String,
    pub fix: String,
}

impl Status {
    /// Reads `/status` from the node's HTTP port at `server`.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not the document that is expected.
    pub fn fetch(server: SocketAddr) -> Result<Self> {
        let url = format!("http://{server}/status");
        let read = || -> Result<Self> {
            let text = ureq::get(&url).call()?.body_mut().read_to_string()?;
            Ok(serde_json::from_str(&text)?)
        };
        read().with_context(|| format!("reading {url}"))
    }

    /// The service called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, name: &str) -> Result<&Service> {
        let found = self.services.iter().find(|service| service.name == name);
        found.with_context(|| format!("/status has no service {name}"))
    }
}

impl Service {
    /// When the last start reached a stage, in nanoseconds of the node's clock.
    ///
    /// # Errors
    /// When it did not; the message names those that it did reach.
    pub fn at(&self, stage: &str) -> Result<u64> {
        let found = self.last_start.iter().find(|reached| reached.stage == stage);
        found.map(|reached| reached.at_ns).with_context(|| {
            let reached: Vec<_> = self.last_start.iter().map(|reached| reached.stage.as_str()).collect();
            format!("/status has no stage {stage} for {}, only {}", self.name, reached.join(", "))
        })
    }
}
