//! dom0's store of frames for other domains' pages.
//!
//! Whenever Linux maps a page of another domain (netback a guest's buffers, the builder a guest's memory), it
//! first gives a frame of its own to Xen, so that the address is free for it. Taken one by one from all over its
//! memory, each costs a hypercall while somebody waits, and the first in a 2 MiB block makes Xen split the
//! block in dom0's stage-2 table, which takes a page that never comes back. So the frames are given up once,
//! when the node starts, and Linux's balloon keeps them for whoever maps next.

use std::path::Path;
use std::{fs, io};

use xen_sys::PAGE_SIZE;

use crate::config::Service;

/// The balloon in sysfs; Linux, `drivers/xen/xen-balloon.c`.
const BALLOON: &str = "/sys/devices/system/xen_memory/xen_memory0";

/// What Linux maps of every domain: the rings of console and XenStore, and the device tree.
const FRAMES_PER_DOMAIN: u64 = 2 + 16;

/// What netback maps for an interface: pages for packets on their way (`MAX_PENDING_REQS`), and two rings.
const FRAMES_PER_VIF: u64 = 256 + 2;

/// What blkback maps for a disk: its ring, and the pages of as many requests as fit into that, of the size that every
/// frontend can make (`BLKIF_MAX_SEGMENTS_PER_REQUEST`). Frontends that make larger ones have it map more now and then.
const FRAMES_PER_DISK: u64 = 1 + 32 * 11;

/// The store takes at most one in so many of dom0's frames. Linux gives up more when it needs more.
const LARGEST_SHARE: u64 = 4;

const KIB_PER_FRAME: u64 = PAGE_SIZE as u64 / 1024;

/// Has dom0 give up as many frames as the services' domains need when all of them run. `largest_load`
/// (bytes), the files of one guest, is mapped while it is copied. The kernel does it in the background. The file
/// `first_seen` keeps the number of dom0's frames for later daemons.
///
/// # Errors
/// When this Linux has no balloon. The node works without a store, if slower.
pub fn set_aside(services: &[Service], largest_load: usize, first_seen: &Path) -> io::Result<()> {
    let balloon = Path::new(BALLOON);
    let info = |name: &str| read_number(&balloon.join("info").join(name));
    let all = match read_number(first_seen) {
        Ok(all) => all,
        // Frames behind which something is mapped are in none of these, so it is the first daemon that counts.
        Err(_) => {
            let all = (info("current_kb")? + info("low_kb")? + info("high_kb")?) / KIB_PER_FRAME;
            fs::write(first_seen, all.to_string())?;
            all
        }
    };
    let of_service = |service: &Service| {
        let (vifs, disks) = (1 + service.vifs.len() as u64, service.disks.len() as u64);
        FRAMES_PER_DOMAIN + FRAMES_PER_VIF * vifs + FRAMES_PER_DISK * disks
    };
    let wanted = services.iter().map(of_service).sum::<u64>() + largest_load.div_ceil(PAGE_SIZE) as u64;
    let target = all - wanted.min(all / LARGEST_SHARE);
    fs::write(balloon.join("target_kb"), (target * KIB_PER_FRAME).to_string())
}

fn read_number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} says {text:?}, not a number", path.display()))
    })
}
