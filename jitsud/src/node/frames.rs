//! dom0's store of frames for other domains' pages.
//!
//! Whenever Linux maps a page of another domain (netback a guest's buffers, the builder a guest's memory), it
//! first gives a frame of its own to Xen, so that the address is free for it: 32-bit ARM has no addresses to
//! spare. Taken one by one from all over its memory, each costs a hypercall while somebody waits, and the first in
//! a 2 MiB block makes Xen split the block in dom0's stage-2 table, which takes a page that never comes back. So
//! the frames are given up once, when the node starts, and Linux's balloon keeps them for whoever maps next.
//!
//! They are of no other use: dom0's addresses are those of its memory, for the sake of its devices, so Xen keeps the
//! memory behind them for dom0. That is 1 MiB for each guest, and dom0 is made so much larger than it needs to be. When
//! the balloon is empty, Linux takes from what it needs itself, until it ends processes; therefore no more domains are
//! started than there are frames for (see [`super::admission`]).

use std::path::Path;
use std::{fs, io};

use xen_sys::PAGE_SIZE;

use crate::config::Service;

/// The balloon in sysfs; Linux, `drivers/xen/xen-balloon.c`.
const BALLOON: &str = "/sys/devices/system/xen_memory/xen_memory0";

/// Into how many queues an interface's packets may be divided; Linux, `drivers/net/xen-netback`.
const QUEUES: &str = "/sys/module/xen_netback/parameters/max_queues";

/// The rings of console and XenStore.
const FRAMES_PER_DOMAIN: u64 = 2;

/// What netback maps for an interface of one queue: pages for packets on their way (`MAX_PENDING_REQS`), two rings,
/// and a control ring for guests that want one.
const FRAMES_PER_VIF: u64 = 256 + 3;

/// What blkback maps for a disk: its ring, and the pages of as many requests as fit into that, of the size that every
/// frontend can make (`BLKIF_MAX_SEGMENTS_PER_REQUEST`). Frontends that make larger ones have it map more now and then.
const FRAMES_PER_DISK: u64 = 1 + 32 * 11;

/// Builds whose kernels are mapped at the same time; further ones take from what is there for domains that have not
/// been started. The boards have two processors.
const BUILDS: u64 = 2;

/// What dom0 keeps of its frames when there are no guests: 96 MiB. Linux and the daemon need some 52 of them; another
/// 16 are for the display where there is one, and for nobody where there is none.
const OWN: u64 = 96 << 20 >> xen_sys::PAGE_SHIFT;

/// What it keeps for each interface of a guest, 0.27 MiB as counted with 90 of them: netback's records and threads,
/// the files of Linux about it, the console's terminal, and what the daemon knows.
const OWN_PER_VIF: u64 = 70;

/// A dom0 that is hardly larger than [`OWN`] may still give up one in so many of its frames.
const SHARE: u64 = 4;

const KIB_PER_FRAME: u64 = PAGE_SIZE as u64 / 1024;

/// What is kept for a shell: as much as it takes when it is a service. It takes less before, but as much of dom0's own.
pub const OF_SHELL: u64 = FRAMES_PER_DOMAIN + FRAMES_PER_VIF;

/// What Linux maps of a service's domain, in frames, for as long as it runs.
pub fn of_service(service: &Service) -> u64 {
    let (vifs, disks) = (1 + service.vifs.len() as u64, service.disks.len() as u64);
    FRAMES_PER_DOMAIN + FRAMES_PER_VIF * vifs + FRAMES_PER_DISK * disks
}

/// Has dom0, which has been made with `all` frames, give up as many as the services' domains need when all of them run,
/// if it can spare them. The kernel does it in the background. Returns how many there are for domains; beside that,
/// `largest_load` (bytes), the files of one guest, is mapped while it is copied.
///
/// # Errors
/// When this Linux has no balloon. The node works without a store, if slower.
pub fn set_aside(all: u64, services: &[Service], shells: u64, largest_load: usize) -> io::Result<u64> {
    let building = BUILDS * largest_load.div_ceil(PAGE_SIZE) as u64;
    let aside = spared(all).min(services.iter().map(of_service).sum::<u64>() + shells * OF_SHELL + building);
    fs::write(Path::new(BALLOON).join("target_kb"), ((all - aside) * KIB_PER_FRAME).to_string())?;
    // A guest that asks for more queues would have netback map more.
    if let Err(error) = fs::write(QUEUES, "1") {
        tracing::warn!(%error, "{QUEUES} cannot be set: guests may have dom0 map more pages than are set aside");
    }
    Ok(aside.saturating_sub(building))
}

/// How many of so many frames dom0 can spare.
fn spared(all: u64) -> u64 {
    let for_guests = all.saturating_sub(OWN) * FRAMES_PER_VIF / (FRAMES_PER_VIF + OWN_PER_VIF);
    for_guests.max(all / SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dom0_keeps_what_it_needs() {
        let frames = |mib: u64| mib * 1024 / KIB_PER_FRAME;
        for (all, given_up) in [(384, 226), (256, 125), (128, 32), (64, 16)] {
            assert_eq!(spared(frames(all)) / frames(1), given_up, "{all} MiB");
        }
    }
}
