//! The JSON document of `GET /status`, version [`VERSION`].
//!
//! The types below are the schema. Rules for readers and writers: keys are never renamed or given another
//! meaning within a version; new keys may appear, so readers ignore what they do not know. Times whose names
//! end in `_ns` are nanoseconds of the node's `CLOCK_MONOTONIC`, which begins with its kernel, unless they
//! say what else they are relative to. What is not known is `null`.
//!
//! [`NodeStatus::new`] fills in what the configuration and the directory know. What only Xen and Linux know
//! comes in as [`Facts`]; consoles are added by the caller.

mod dns;
mod packets;
mod starts;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::card::Parameters;
use crate::config::{Config, Problem};
use crate::directory::{Directory, Entry, Event, Moment, State};

pub use dns::DnsStatus;
pub use packets::PacketStatus;
pub use starts::{StageTimes, StartsStatus};

/// The schema's version.
pub const VERSION: u32 = 1;

/// The whole document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// [`VERSION`].
    pub version: u32,
    /// When this was written; also how long the node's kernel has been running.
    pub now_ns: u64,
    /// Who the node is.
    pub node: NodeIdentity,
    /// How the node came up.
    pub boot: Boot,
    /// The card that it was started from; `null` for a node without one.
    pub card: Option<CardStatus>,
    /// The wall clock.
    pub clock: ClockStatus,
    /// The hypervisor.
    pub xen: Xen,
    /// What is in use; it must come back to the same figures when all services are off again.
    pub resources: Resources,
    /// Packets for services that were not up.
    pub packets: PacketStatus,
    /// Questions and answers.
    #[serde(default)]
    pub dns: DnsStatus,
    /// Domains that are made before it is known for which service.
    pub shells: ShellsStatus,
    /// What became of starts since the daemon began, all services together.
    #[serde(default)]
    pub starts: StartsStatus,
    /// The usable services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// What is wrong with the card and the configuration.
    pub problems: Vec<Problem>,
    /// The last changes of state, oldest first; at most 64.
    pub events: Vec<EventStatus>,
}

/// Who the node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeIdentity {
    /// Host name.
    pub name: String,
    /// The DNS zone it answers for.
    pub domain: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What runs on it.
    pub versions: Versions,
}

/// Versions, as each program gives its own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Versions {
    /// This daemon.
    pub jitsud: String,
    /// The hypervisor, for example `4.17.5`.
    pub xen: String,
    /// Dom0's Linux, as in `uname -r`.
    pub kernel: String,
}

/// How the node came up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Boot {
    /// When the daemon's `main` began.
    pub jitsud_started_ns: Option<u64>,
    /// When DNS began to answer.
    pub dns_answering_ns: Option<u64>,
    /// The same moment, in nanoseconds since Xen made dom0, which is before its kernel was entered; by the
    /// generic timer's virtual counter.
    pub dns_answering_since_dom0_ns: Option<u64>,
    /// The board that the image was made for, as its boot script says.
    pub board: Option<String>,
    /// Which of the card's copies of the system runs: `a`, the first one, or `b`.
    pub slot: Option<String>,
    /// The files that kept other copies from being started; empty when the first one runs.
    pub fallback: Vec<FallbackStatus>,
}

/// A file of a copy of the system that does not run because of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FallbackStatus {
    /// Its path on the card's FAT partition, for example `a/kernel`.
    pub file: String,
    /// `missing` or `damaged`.
    pub fault: String,
}

/// The card that the node was started from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardStatus {
    /// The FAT partition as the boot script named it, for example `6a697473-01`.
    pub partition: String,
    /// The disk's name in Linux, for example `mmcblk0`.
    pub disk: Option<String>,
    /// Its size.
    pub disk_bytes: Option<u64>,
    /// The FAT partition, read-only at `/boot`.
    pub boot: PartitionStatus,
    /// The data partition, at `/data`.
    pub data: PartitionStatus,
}

/// One partition of the card.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PartitionStatus {
    /// How it is.
    pub state: PartitionState,
    /// Its name in Linux, for example `mmcblk0p1`.
    pub device: Option<String>,
    /// Its size; the data partition's grows to that of the card.
    pub bytes: Option<u64>,
}

/// How a partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// It has not been looked at yet.
    #[default]
    Pending,
    /// It is in use.
    Mounted,
    /// It is not there.
    Missing,
    /// It is there and cannot be used; `problems` says why.
    Unusable,
}

/// The wall clock. All `null` until an NTP server has set it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClockStatus {
    /// The server that it was last compared with.
    pub server: Option<String>,
    /// How far that server's clock was ahead, in microseconds; it has been put right since.
    pub offset_us: Option<i64>,
    /// How long question and answer were under way, in microseconds.
    pub roundtrip_us: Option<u64>,
    /// When it was last compared.
    pub checked_ns: Option<u64>,
    /// Its reading at `now_ns`, in seconds since 1970.
    pub unix_s: Option<u64>,
}

/// The hypervisor's view.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Xen {
    /// All memory that Xen manages, in bytes.
    pub total_bytes: Option<u64>,
    /// Memory that belongs to no domain, in bytes.
    pub free_bytes: Option<u64>,
    /// Domains, dom0 included.
    pub domains: Option<u64>,
    /// CPUs that are online.
    #[serde(default)]
    pub cpus: Option<u64>,
    /// Memory of dom0, in bytes.
    #[serde(default)]
    pub dom0_bytes: Option<u64>,
    /// How long dom0's virtual CPUs have run, in nanoseconds of CPU time.
    #[serde(default)]
    pub dom0_cpu_ns: Option<u64>,
}

/// Counts that show leaks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resources {
    /// Nodes in XenStore.
    pub xenstore_nodes: Option<u64>,
    /// Watches in XenStore.
    pub xenstore_watches: Option<u64>,
    /// Connections to XenStore.
    pub xenstore_connections: Option<u64>,
    /// Event channels that the daemon has bound.
    pub event_channels: Option<u64>,
    /// Foreign pages and grants that the daemon has mapped.
    pub mapped_pages: Option<u64>,
    /// Virtual interfaces in dom0.
    pub vifs: Option<u64>,
    /// Guests' devices of all kinds that dom0's drivers know.
    pub devices: Option<u64>,
    /// The daemon's open files.
    pub open_files: Option<u64>,
    /// The daemon's resident memory in bytes.
    pub resident_bytes: Option<u64>,
}

/// Domains that are made before it is known for which service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShellsStatus {
    /// How many there are to be.
    pub wanted: u64,
    /// How many are ready.
    pub ready: u64,
    /// How many have become services since the daemon began.
    pub taken: u64,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `off`, `building`, `awaiting_room`, `booting`, `ready`, `paused`, `shutting_down`, `stopping` or `failed`.
    pub state: String,
    /// Why it is in this state; empty as long as it has not been in another one.
    #[serde(default)]
    pub why: String,
    /// Who starts it: `summon` (queries and packets), `always` (the node) or `manual` (an administrator).
    pub start: String,
    /// Why it failed, is being stopped because of a failure, or waits for room.
    pub reason: Option<String>,
    /// End of the back-off, while `failed`.
    pub retry_at_ns: Option<u64>,
    /// When it is looked at whether it is idle, while `ready`; `null` while that is being done, and for `always`.
    pub idle_at_ns: Option<u64>,
    /// When it got ready, while `ready` or `paused`.
    pub ready_since_ns: Option<u64>,
    /// When it is ended, whatever it does; `null` without `max_uptime`.
    pub ends_at_ns: Option<u64>,
    /// The names that summon it.
    pub dns: Vec<String>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// The host name that it runs for or, if it is off, has run for last; `null` for one that is no instance of a service,
    /// or is nobody's.
    #[serde(default)]
    pub host: Option<String>,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Its domain's number, while it has one.
    pub domid: Option<u16>,
    /// How long its domain's virtual CPUs have run, in nanoseconds of CPU time, while it has one.
    #[serde(default)]
    pub cpu_ns: Option<u64>,
    /// Its domain was made before it was known for which service.
    pub in_shell: bool,
    /// Since when it is in this state.
    pub since_ns: u64,
    /// Starts since the daemon began.
    pub starts: u64,
    /// Requests since the daemon began.
    pub requests: u64,
    /// Packets that asked for it while it was not up, since the daemon began.
    pub wakes: u64,
    /// Failures since the daemon began.
    pub failures: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// When it was last asked for.
    pub last_request_ns: Option<u64>,
    /// When its last packet came or went, as far as that has been looked at.
    pub last_packet_ns: Option<u64>,
    /// Its open connections when that was last looked at.
    pub open_connections: u64,
    /// The stages of the last start, in their usual order.
    pub last_start: Vec<StageStatus>,
    /// The last lines on its console, oldest first; the more services run, the fewer.
    pub console: Vec<String>,
}

/// One stage of a start: `query_received` or `packet_received`, `build_started`, `domain_created`, `unpaused`, `vif_up`,
/// `guest_ready` or `answered`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StageStatus {
    /// Its name.
    pub stage: String,
    /// When it was reached.
    pub at_ns: u64,
    /// How long after the first one.
    pub after_ns: u64,
}

/// One change of state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventStatus {
    /// Its number, greater than those of all events before it since the node was switched on.
    #[serde(default)]
    pub serial: u64,
    /// When.
    pub at_ns: u64,
    /// Which service.
    pub service: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub why: String,
}

/// What only the driver knows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    /// Versions.
    pub versions: Versions,
    /// How the node came up.
    pub boot: Boot,
    /// The card.
    pub card: Option<CardStatus>,
    /// The wall clock.
    pub clock: ClockStatus,
    /// The hypervisor.
    pub xen: Xen,
    /// How long each domain's virtual CPUs have run, in nanoseconds, by its number.
    pub cpu_ns: HashMap<u16, u64>,
    /// What is in use.
    pub resources: Resources,
    /// Packets for services that were not up.
    pub packets: PacketStatus,
}

impl Boot {
    /// Notes what the boot script said.
    pub fn of(parameters: &Parameters) -> Self {
        let fallback = parameters.fallback.iter().map(|fallback| FallbackStatus {
            file: fallback.file.clone(),
            fault: fallback.fault.to_string(),
        });
        Boot {
            board: parameters.board.clone(),
            slot: parameters.slot.map(|slot| slot.to_string()),
            fallback: fallback.collect(),
            ..Boot::default()
        }
    }
}

impl CardStatus {
    /// A card that has not been looked for yet; `partition` is its name.
    pub fn new(partition: String) -> Self {
        let (boot, data) = Default::default();
        CardStatus { partition, disk: None, disk_bytes: None, boot, data }
    }
}

impl NodeStatus {
    /// Describes the node at `now`.
    pub fn new(
        config: &Config,
        problems: &[Problem],
        directory: &Directory,
        facts: Facts,
        now: Moment,
    ) -> Self {
        let services = directory.entries().iter().map(|entry| {
            let service = ServiceStatus::new(entry);
            let cpu_ns = service.domid.and_then(|domid| facts.cpu_ns.get(&domid).copied());
            ServiceStatus { cpu_ns, ..service }
        });
        NodeStatus {
            version: VERSION,
            now_ns: now.0,
            node: NodeIdentity {
                name: config.node.name.clone(),
                domain: config.node.domain.clone(),
                address: config.node.address,
                versions: facts.versions,
            },
            boot: facts.boot,
            card: facts.card,
            clock: facts.clock,
            xen: facts.xen,
            resources: facts.resources,
            packets: facts.packets,
            // Of what faces the network the core knows nothing.
            dns: DnsStatus::default(),
            shells: ShellsStatus::default(),
            starts: StartsStatus::new(directory.starts()),
            services: services.collect(),
            problems: problems.to_vec(),
            events: directory.events().map(|event| EventStatus::new(event, directory)).collect(),
        }
    }
}

impl EventStatus {
    /// Describes one of the directory's events.
    pub fn new(event: &Event, directory: &Directory) -> Self {
        let entry = directory.entries().get(event.service.0);
        EventStatus {
            serial: event.serial,
            at_ns: event.at.0,
            service: entry.map_or_else(String::new, |entry| entry.service().name.clone()),
            from: event.from.to_string(),
            to: event.to.to_string(),
            why: event.why.clone(),
        }
    }
}

impl ServiceStatus {
    /// Describes one service; its console, and how long its domain has run, are left open.
    pub fn new(entry: &Entry) -> Self {
        let (service, state, counts) = (entry.service(), entry.state(), entry.statistics());
        let (retry_at, idle_at) = match state {
            State::Failed { until, .. } => (Some(*until), None),
            State::Ready { watch, .. } => (None, watch.until()),
            _ => (None, None),
        };
        let begun = entry.timeline().begun().unwrap_or(Moment(0));
        let stages = entry.timeline().reached().map(|(stage, at)| StageStatus {
            stage: stage.as_str().to_owned(),
            at_ns: at.0,
            after_ns: at.0.saturating_sub(begun.0),
        });
        ServiceStatus {
            name: service.name.clone(),
            state: state.phase().to_string(),
            why: entry.why().to_owned(),
            start: service.start.as_str().to_owned(),
            reason: state.reason().map(str::to_owned),
            retry_at_ns: retry_at.map(|at| at.0),
            idle_at_ns: idle_at.map(|at| at.0),
            ready_since_ns: entry.ready_since().map(|at| at.0),
            ends_at_ns: entry.ends_at().map(|at| at.0),
            dns: service.dns.clone(),
            address: service.address,
            address6: service.address6,
            host: entry.host().map(str::to_owned),
            memory_mib: service.memory_mib,
            domid: state.domid().map(|domid| domid.0),
            cpu_ns: None,
            since_ns: entry.since().0,
            starts: counts.starts,
            requests: counts.requests,
            wakes: counts.wakes,
            failures: counts.failures,
            waiting: entry.waiting() as u64,
            last_request_ns: counts.last_request.map(|at| at.0),
            last_packet_ns: entry.traffic().last_packet.map(|at| at.0),
            open_connections: entry.traffic().open as u64,
            last_start: stages.collect(),
            in_shell: false,
            console: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
