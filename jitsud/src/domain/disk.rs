//! A guest's block devices in dom0: what blkback is told to open.
//!
//! blkback takes nothing but block devices, so that a file gets a loop device. Linux gives that back when the last one
//! who has it open lets go of it: nobody has to remember it, whoever is killed. Until blkback, which looks at a new
//! domain's XenStore nodes on its own time, has opened the device, [`Opened`] has; it is kept as long as the domain.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xen_sys::DomId;

use crate::config::Disk;

mod sys;

/// What hands out loop devices; Linux's module `loop` makes it.
const LOOP_CONTROL: &str = "/dev/loop-control";

/// Why a disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is not there, or may not be used so.
    #[error("disk {} cannot be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// It is mounted in dom0, or another guest writes to it.
    #[error("disk {} is in use: unmount it, or give every service that writes one of its own", .0.display())]
    InUse(PathBuf),
    /// It is neither a file nor a block device.
    #[error("disk {} is neither a file nor a block device", .0.display())]
    Kind(PathBuf),
    /// There is no loop device for it.
    #[error("no loop device for disk {}", .0.display())]
    Loop(PathBuf, #[source] io::Error),
}

/// A disk that is open.
#[derive(Debug)]
pub struct Opened {
    #[expect(dead_code, reason = "it is there to be dropped")]
    device: File,
    /// The device's number in dom0.
    pub number: DeviceNumber,
}

/// A block device's major and minor number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

/// Opens a disk for a guest.
///
/// # Errors
/// Names the disk; nothing stays open then.
pub fn open(disk: &Disk) -> Result<Opened, DiskError> {
    let path = &disk.path;
    let failed = |error| DiskError::Open(path.clone(), error);
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    let device = if kind.is_block_device() {
        // Exclusively, where it is written to: that fails for what is mounted, and keeps it from being mounted.
        let flags = if disk.writable { libc::O_EXCL } else { 0 };
        OpenOptions::new().read(true).write(disk.writable).custom_flags(flags).open(path).map_err(
            |error| match error.raw_os_error() {
                Some(libc::EBUSY) => DiskError::InUse(path.clone()),
                _ => failed(error),
            },
        )?
    } else if kind.is_file() {
        let file = OpenOptions::new().read(true).write(disk.writable).open(path).map_err(failed)?;
        loop_device(&file, disk.writable).map_err(|error| DiskError::Loop(path.clone(), error))?
    } else {
        return Err(DiskError::Kind(path.clone()));
    };
    let id = device.metadata().map_err(failed)?.rdev();
    let number = DeviceNumber { major: libc::major(id), minor: libc::minor(id) };
    Ok(Opened { device, number })
}

/// Whether blkback has opened a domain's disk; `number` is its number in XenStore. It shows the device then
/// (`xenvbd_sysfs_addif` in Linux's `drivers/block/xen-blkback/xenbus.c`).
pub fn is_with_blkback(domid: DomId, number: &str) -> bool {
    Path::new(&format!("/sys/bus/xen-backend/devices/vbd-{domid}-{number}/physical_device")).exists()
}

/// A loop device on `file`, which goes when it is not open any more.
fn loop_device(file: &File, writable: bool) -> io::Result<File> {
    let named = |path: &Path, error: io::Error| {
        let hint = "is Linux's module loop loaded?";
        io::Error::new(error.kind(), format!("{}: {error} ({hint})", path.display()))
    };
    let control = Path::new(LOOP_CONTROL);
    let control = OpenOptions::new().read(true).write(true).open(control).map_err(|e| named(control, e))?;
    loop {
        let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop_device(&control)?));
        let device = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| named(&path, e))?;
        match sys::configure_loop_device(&device, file, !writable) {
            Ok(()) => return Ok(device),
            // Another build was faster; so there is another free one, or there will be.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_disk_is_named() {
        let open = |path: &str| {
            let disk = Disk { path: path.into(), ..Disk::default() };
            open(&disk).expect_err("no disk").to_string()
        };
        assert_eq!(open("/nowhere/disk.img"), "disk /nowhere/disk.img cannot be opened");
        assert_eq!(open("/"), "disk / is neither a file nor a block device");
        assert_eq!(open("/dev/null"), "disk /dev/null is neither a file nor a block device");
    }
}
