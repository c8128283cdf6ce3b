//! Mounting, in the ways that the card's two partitions need.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::mount::{MsFlags, mount};

/// No file on a card gets to be a program, a device or somebody else's.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// A file system of the card, and how it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Linux's name for it.
    pub name: &'static str,
    /// Where it is mounted.
    pub point: &'static str,
    flags: MsFlags,
    options: &'static str,
}

/// The partition that PCs can read. Written only for the moments that [`writable`] lasts.
///
/// Names are UTF-8 whatever the kernel's defaults are; the code page is that of the short names that PCs write.
/// (`iocharset=utf8` is not the way: the kernel warns that names would become case-sensitive.)
pub const BOOT: Kind = Kind {
    name: "vfat",
    point: "/boot",
    flags: HARMLESS.union(MsFlags::MS_RDONLY),
    options: "codepage=437,iocharset=ascii,utf8,errors=remount-ro",
};

/// The partition that keeps the node's state.
///
/// `minixdf`: `statfs` then counts all blocks, which [`super::grow`] compares with the partition's size.
pub const DATA: Kind = Kind {
    name: "ext4",
    point: "/data",
    flags: HARMLESS.union(MsFlags::MS_NOATIME),
    options: "errors=remount-ro,minixdf",
};

/// Mounts `device`, whose number is `id`. Done already, by an earlier daemon, is fine.
pub fn attach(kind: Kind, device: &Path, id: &str) -> io::Result<()> {
    if let Some(read_only) = mounted(&fs::read_to_string("/proc/self/mountinfo")?, kind.point, id) {
        // The earlier daemon may have been ended while it wrote.
        let wanted = kind.flags.contains(MsFlags::MS_RDONLY);
        return if wanted && !read_only { remount(kind, kind.flags) } else { Ok(()) };
    }
    fs::create_dir_all(kind.point)?;
    Ok(mount(Some(device), kind.point, Some(kind.name), kind.flags, Some(kind.options))?)
}

/// Makes the partition for PCs writable while `work` runs.
///
/// # Errors
/// The first one of remounting, `work`, and remounting again.
pub fn writable(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // The first to end would lock the other one out.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    remount(BOOT, BOOT.flags.difference(MsFlags::MS_RDONLY))?;
    let worked = work();
    // Also writes out everything that was written.
    let back = remount(BOOT, BOOT.flags);
    worked.and(back)
}

fn remount(kind: Kind, flags: MsFlags) -> io::Result<()> {
    let nothing: Option<&str> = None;
    Ok(mount(nothing, kind.point, nothing, flags | MsFlags::MS_REMOUNT, nothing)?)
}

/// Whether the device is mounted there: `Some(true)` when it is, read-only.
///
/// A line of mountinfo (Linux, `Documentation/filesystems/proc.rst`, 3.5) is `36 35 98:0 /root /point rw,noatime
/// shared:1 - ext3 /dev/root rw,errors=continue`; the later line hides the earlier one.
fn mounted(mountinfo: &str, point: &str, id: &str) -> Option<bool> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(4) == Some(&point)).then(|| {
            let same = fields[2] == id;
            let read_only = fields.get(5).is_some_and(|options| options.split(',').any(|word| word == "ro"));
            same.then_some(read_only)
        })
    };
    mountinfo.lines().filter_map(entry).next_back().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_where() {
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n\
                    30 1 179:1 / /boot ro,nosuid,nodev,noexec,relatime - vfat /dev/mmcblk0p1 ro,fmask=0022\n\
                    31 1 179:2 / /data rw,nosuid,nodev,noexec,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n\
                    32 1 179:2 / /hidden ro - ext4 /dev/mmcblk0p2 rw\n\
                    33 1 0:40 / /hidden rw - tmpfs none rw\n";
        for (point, id, expected) in [
            ("/boot", "179:1", Some(true)),
            ("/data", "179:2", Some(false)),
            ("/boot", "179:2", None),
            ("/data", "254:2", None),
            ("/hidden", "179:2", None),
            ("/nowhere", "179:2", None),
        ] {
            assert_eq!(mounted(text, point, id), expected, "{point} {id}");
        }
        assert_eq!(mounted("broken\n\n1 2 3", "/boot", "179:1"), None);
    }
}
