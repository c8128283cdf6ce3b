//! What the node takes: of the card, and of memory.

use super::{Context, Test};
use crate::ui::human_bytes;
use anyhow::{Context as _, Result, ensure};
use std::fs;

/// Largest compressed initramfs, in bytes.
const MAX_INITRAMFS: u64 = 12 << 20;
/// Largest image of the web server, in bytes.
const MAX_WWW: u64 = 400 << 10;
/// What dom0 may need with an idle daemon, in bytes.
const MAX_DOM0: u64 = 96 << 20;

/// The tests, in order. They want a node that has served nothing yet.
pub const TESTS: [Test; 3] = [
    ("the initramfs has at most 12 MiB", initramfs_is_small),
    ("the web unikernel has at most 400 KiB", www_is_small),
    ("dom0 with an idle jitsud fits in 96 MiB", dom0_is_small),
];

fn initramfs_is_small(context: &Context) -> Result<()> {
    let path = context.image.initramfs();
    let size = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    at_most(context, size, MAX_INITRAMFS)
}

fn www_is_small(context: &Context) -> Result<()> {
    let size = context.node().shell("stat -c %s /usr/lib/jitsu/kernels/www")?;
    at_most(context, size.trim().parse().with_context(|| format!("stat printed {size:?}"))?, MAX_WWW)
}

/// All of dom0's memory but what Linux says it could still give, so with what the kernel keeps for itself. The
/// frames that it has given to Xen are not its own any more.
fn dom0_is_small(context: &Context) -> Result<()> {
    let number = |command: &str| {
        let printed = context.node().shell(command)?;
        printed.trim().parse::<u64>().with_context(|| format!("{command} printed {printed:?}"))
    };
    let available = number("awk '/^MemAvailable/ { print $2 }' /proc/meminfo")?;
    let own = number("cat /sys/devices/system/xen_memory/xen_memory0/info/current_kb")?;
    at_most(context, own.saturating_sub(available) << 10, MAX_DOM0)
}

fn at_most(context: &Context, size: u64, limit: u64) -> Result<()> {
    context.note(human_bytes(size));
    ensure!(size <= limit, "{} instead of {} at most", human_bytes(size), human_bytes(limit));
    Ok(())
}
