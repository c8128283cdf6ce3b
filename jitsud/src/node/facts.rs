//! What only Xen and Linux know about the node, for `/status`.

use std::fs;

use xen_sys::DomId;

use super::Toolstack;
use crate::capture::Captor;
use crate::card::Card;
use crate::clock::Clock;
use crate::net;
use crate::schema::{Boot, Facts, Resources, Versions, Xen};
use crate::xen::{SharedPages, sys};

/// Looks at everything that is cheap to look at.
pub fn gather(
    toolstack: &Toolstack,
    captor: &Captor,
    boot: &Boot,
    card: Option<&Card>,
    clock: &Clock,
) -> Facts {
    let memory = toolstack.hypervisor.memory().ok();
    let bytes = |pages: u64| pages << xen_sys::PAGE_SHIFT;
    let domains = toolstack.hypervisor.domains().ok();
    let dom0 = domains.iter().flatten().find(|info| info.domain == DomId::DOM0);
    let (nodes, watches) = toolstack.store.with(|store| (store.node_count(), store.watch_count()));
    Facts {
        versions: Versions {
            jitsud: env!("CARGO_PKG_VERSION").to_owned(),
            xen: toolstack.hypervisor.version().to_owned(),
            kernel: kernel_release(),
        },
        boot: boot.clone(),
        card: card.map(Card::status),
        clock: clock.status(),
        xen: Xen {
            total_bytes: memory.map(|memory| bytes(memory.total_pages)),
            free_bytes: memory.map(|memory| bytes(memory.free_pages)),
            domains: domains.as_ref().map(|domains| domains.len() as u64),
            cpus: toolstack.hypervisor.cpus().ok().map(u64::from),
            dom0_bytes: dom0.map(|info| bytes(info.tot_pages)),
            dom0_cpu_ns: dom0.map(|info| info.cpu_time),
        },
        cpu_ns: domains.iter().flatten().map(|info| (info.domain.0, info.cpu_time)).collect(),
        packets: captor.status(),
        resources: Resources {
            xenstore_nodes: Some(nodes as u64),
            xenstore_watches: Some(watches as u64),
            xenstore_connections: Some(toolstack.store.connections() as u64),
            event_channels: Some(toolstack.hypervisor.event_channels() as u64),
            mapped_pages: Some(SharedPages::mapped() as u64),
            vifs: Some(net::count_vifs() as u64),
            devices: entries("/sys/bus/xen-backend/devices"),
            open_files: entries("/proc/self/fd"),
            resident_bytes: resident(),
        },
    }
}

/// Nanoseconds since Xen made dom0, which is before its kernel was entered.
pub fn since_dom0() -> Option<u64> {
    let (ticks, frequency) = sys::virtual_counter()?;
    u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(frequency.max(1))).ok()
}

/// How much there is in a folder.
fn entries(folder: &str) -> Option<u64> {
    fs::read_dir(folder).ok().map(|entries| entries.count() as u64)
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The second figure of `/proc/self/statm` is in pages.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages << xen_sys::PAGE_SHIFT)
}
