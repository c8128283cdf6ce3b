//! What a run of `cargo xtask bench` has measured: the JSON document, version [`VERSION`].
//!
//! The types below are the schema. Times end in `_ns`: nanoseconds of virtual time, of which each stands for one
//! instruction (QEMU's `-icount shift=0`) and idle time is skipped. Samples are all there, in the order in which they
//! were taken; medians and slopes are made of them by whoever reads (`statistics`). A part that was not measured is
//! `null` or empty. Keys are never renamed or given another meaning within a version; new ones may appear.

use serde::{Deserialize, Serialize};

/// The schema's version.
pub const VERSION: u32 = 1;

/// The whole document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Whether this was a quick run: fewer sizes and runs of the same measurements.
    pub quick: bool,
    /// On what.
    pub environment: Environment,
    /// Making domains of different memory.
    pub creation: Option<Creation>,
    /// Many starts at once, as far as XenStore is concerned.
    pub starts: Option<Starts>,
    /// From the DNS query to the first byte of a service that did not run.
    pub cold: Vec<Responses>,
    /// The same of a service that runs.
    pub warm: Option<Responses>,
    /// Web servers under load.
    pub http: Vec<Http>,
    /// How many guests run at once.
    pub density: Option<Density>,
    /// What nothing costs.
    pub idle: Vec<Idle>,
}

/// What it was measured on. Nothing in it depends on the host's speed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    /// The folder in `board/`.
    pub board: String,
    /// The hypervisor's version.
    pub xen: String,
    /// Dom0's Linux, as in `uname -r`.
    pub kernel: String,
    /// QEMU's version, as it gives it.
    pub qemu: String,
    /// The sources' commit, with `-dirty` behind it if they differed; `null` outside of a repository.
    pub commit: Option<String>,
}

/// Making domains with one virtual network card, of different memory. All run the kernel of `www`, which is 200 KiB.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Creation {
    /// jitsud's.
    pub ours: Vec<OfSize<Build>>,
    /// What the hypervisor alone takes for an empty domain of that memory.
    pub hypervisor: Vec<OfSize<Charge>>,
    /// The command `xl create`, with the script `vif-bridge`, both Debian's.
    pub xl: Vec<OfSize<u64>>,
    /// Single runs of it whose steps were looked at, for 16 MiB: with that script, and with one that does nothing.
    pub xl_steps: Vec<XlSteps>,
    /// Why services of jitsud's were not served whose domains were to be measured.
    pub failures: Vec<String>,
}

/// Samples for a size of memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OfSize<T> {
    /// The domain's memory.
    pub memory_mib: u32,
    /// All runs.
    pub samples: Vec<T>,
}

/// The stages of a start, in nanoseconds after the build began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Build {
    /// The domain exists, empty.
    pub created_ns: u64,
    /// It runs.
    pub unpaused_ns: u64,
    /// Its network interface is a port of the bridge. Dom0's kernel makes it beside the build.
    pub vif_up_ns: u64,
    /// The guest accepts connections.
    pub ready_ns: u64,
}

/// The hypercalls that make an empty domain, in nanoseconds after the first began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Charge {
    /// Domain and vCPU are made.
    pub created_ns: u64,
    /// Memory for its second translation tables is set aside.
    pub tables_ns: u64,
    /// It has its memory.
    pub populated_ns: u64,
}

/// When xl did what, in nanoseconds after it was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct XlSteps {
    /// The network card's script.
    pub script: String,
    /// The domain's memory.
    pub memory_mib: u32,
    /// The domain exists: xl has read configuration and kernel.
    pub made_ns: Option<u64>,
    /// Memory and kernel are in place.
    pub built_ns: Option<u64>,
    /// The network card has been described to dom0's kernel.
    pub device_ns: Option<u64>,
    /// The script has connected it.
    pub connected_ns: Option<u64>,
    /// The command has ended, the domain runs.
    pub returned_ns: u64,
}

/// Starts of domains at once: what xl asks of XenStore for them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Starts {
    /// jitsud's XenStore, by its socket, as tools reach it.
    pub ours: Vec<StartRun>,
    /// The same store in the process that starts them, as jitsud itself reaches it.
    pub in_process: Vec<StartRun>,
    /// Debian's C xenstored, by its socket.
    pub xenstored: Vec<StartRun>,
}

/// Starts at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StartRun {
    /// How many.
    pub starts: u32,
    /// How many of them had ended when the rest was given up: all, or `ns` is less than it would have taken.
    pub finished: u32,
    /// From the first request to the last answer.
    pub ns: u64,
    /// Transactions that were refused and begun anew.
    pub retries: u64,
}

/// The one of [`Responses`] that is no way of ours.
pub const XL_LINUX: &str = "xl-linux";

/// How long clients waited, in one way of serving them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Responses {
    /// A name for it that stays.
    pub id: String,
    /// What it is, for people.
    pub what: String,
    /// All requests that were served.
    pub samples: Vec<Response>,
    /// Why others were not.
    pub failures: Vec<String>,
}

/// One request, in nanoseconds after it began: with the DNS query, or, where there is no DNS, with `xl create`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The address came.
    pub answered_ns: Option<u64>,
    /// The connection was established.
    pub connected_ns: Option<u64>,
    /// The first byte of the page came.
    pub first_byte_ns: u64,
}

/// A web server under load: a connection for each request, a fixed number of them at a time. Client, server, bridge and
/// hypervisor share the one processor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Http {
    /// `www`, or `busybox-httpd`.
    pub server: String,
    /// Connections at a time.
    pub connections: u32,
    /// For all requests together.
    pub ns: u64,
    /// Bytes of the page.
    pub page_bytes: u64,
    /// From the SYN to the end of the page, of each request.
    pub latencies_ns: Vec<u64>,
}

impl Http {
    /// Requests in a second of instruction time.
    pub fn per_second(&self) -> f64 {
        self.latencies_ns.len() as f64 * 1e9 / self.ns.max(1) as f64
    }
}

/// How many guests run at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Density {
    /// The machine's memory, dom0's and Xen's own included.
    pub machine_mib: u64,
    /// Each guest's memory.
    pub memory_mib: u32,
    /// How many ran, all of them serving their page, when the next one was refused.
    pub guests: u32,
    /// Why it was.
    pub refused: String,
    /// What dom0 had given up at its start, of the memory that it was made with, to map guests' pages behind.
    pub dom0_set_aside_bytes: u64,
    /// Xen's free memory before, and with all of them.
    pub xen_free_bytes: [u64; 2],
    /// What dom0 had available for programs before, and with all of them (`MemAvailable`).
    pub dom0_available_bytes: [u64; 2],
    /// What of that is jitsud's resident memory.
    pub jitsud_resident_bytes: [u64; 2],
}

/// A span of time in which nothing happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// How many guests ran.
    pub guests: u32,
    /// How long it was.
    pub span_ns: u64,
    /// Instructions that the machine executed in it: Xen's, dom0's and the guests'. QEMU counts them.
    pub instructions: u64,
    /// Of these, those in the time of dom0, as Xen accounts for it.
    pub dom0: u64,
    /// And those in the time of the guests. The rest is Xen's, while nobody runs.
    pub of_guests: u64,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small report with something in every part.
    pub const GOLDEN: &str = include_str!("golden/bench.json");

    #[test]
    fn a_report_survives_being_read_and_written() {
        let report: Report = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(serde_json::to_string_pretty(&report).unwrap() + "\n", GOLDEN);
        assert_eq!(report.version, VERSION);
        assert_eq!(report.cold[0].samples[4].first_byte_ns, 25_000_000);
        assert_eq!(report.idle[1].of_guests, 30_000_000);
    }
}
