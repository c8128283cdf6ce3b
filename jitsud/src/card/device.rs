//! Finds the card among the machine's block devices, and waits for it when it is not there yet.
//!
//! Drivers of card slots find their cards in the background, so the daemon can be first. The kernel announces
//! each new device on a netlink socket (a uevent, `lib/kobject_uevent.c`); the socket is opened before the first
//! look, so that nothing can be missed between the two.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::partition::{PartUuid, SECTOR, Table};

/// How long a card may take to appear. An SD card takes under a second; slots are tried again by their drivers
/// for a while when it does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel's own multicast group; 2 is udev's.
const KERNEL_GROUP: u32 = 1;

const BLOCK_DEVICES: &str = "/sys/class/block";

/// A partition that the kernel knows of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its name, for example `mmcblk0p1`.
    pub name: String,
    /// The name of the disk that it is on, for example `mmcblk0`.
    pub disk: String,
    /// Its number on the disk.
    pub number: u8,
}

impl Partition {
    /// Its device file.
    pub fn device(&self) -> PathBuf {
        device(&self.name)
    }

    /// Its size in sectors, as the kernel has it.
    pub fn sectors(&self) -> io::Result<u64> {
        sectors(&self.name)
    }

    /// The other partition of the same disk that has this number.
    pub fn sibling(&self, number: u8) -> Option<Partition> {
        partitions().into_iter().find(|other| other.disk == self.disk && other.number == number)
    }

    /// Its number as the kernel writes it, `MAJOR:MINOR`.
    pub fn id(&self) -> io::Result<String> {
        attribute(&self.name, "dev")
    }
}

/// The device file of a block device.
pub fn device(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

/// A block device's size in sectors, as the kernel has it.
pub fn sectors(name: &str) -> io::Result<u64> {
    attribute(name, "size")?.parse().map_err(io::Error::other)
}

fn attribute(name: &str, attribute: &str) -> io::Result<String> {
    let path = Path::new(BLOCK_DEVICES).join(name).join(attribute);
    let text = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// Returns the partition as soon as it is there; `None` when it does not appear in 10 s.
///
/// # Errors
/// When the kernel's announcements cannot be listened to.
pub async fn wait_for(wanted: PartUuid) -> io::Result<Option<Partition>> {
    let mut socket = TokioSocket::new(NETLINK_KOBJECT_UEVENT)?;
    socket.socket_mut().bind(&SocketAddr::new(0, KERNEL_GROUP))?;
    let appeared = async {
        loop {
            if let Some(partition) = tokio::task::spawn_blocking(move || find(wanted)).await? {
                return Ok(partition);
            }
            next_block_device(&mut socket).await?;
        }
    };
    tokio::time::timeout(PATIENCE, appeared).await.ok().transpose()
}

/// Returns when the kernel has announced a block device, or when it may have: after more announcements than the
/// socket holds.
async fn next_block_device(socket: &mut TokioSocket) -> io::Result<()> {
    loop {
        match socket.recv_from_full().await {
            // Only the kernel itself has the port number 0.
            Ok((message, sender)) if sender.port_number() == 0 && announces_block_device(&message) => {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A message is `ACTION@DEVPATH`, then `KEY=VALUE`s, each ended by a zero byte.
fn announces_block_device(message: &[u8]) -> bool {
    let mut fields = message.split(|byte| *byte == 0);
    let header = fields.next().unwrap_or_default();
    // A card that is put into a reader later changes a disk that is there already.
    (header.starts_with(b"add@") || header.starts_with(b"change@"))
        && fields.any(|field| field == b"SUBSYSTEM=block")
}

/// Looks at what is there now.
fn find(wanted: PartUuid) -> Option<Partition> {
    let mut candidates = partitions();
    candidates.retain(|partition| partition.number == wanted.number);
    candidates.into_iter().find(|partition| match first_sector(&device(&partition.disk)) {
        Ok(table) => table.disk() == Some(wanted.disk),
        Err(error) => {
            tracing::warn!(disk = partition.disk, %error, "a disk cannot be read");
            false
        }
    })
}

fn partitions() -> Vec<Partition> {
    let Ok(entries) = fs::read_dir(BLOCK_DEVICES) else { return Vec::new() };
    let partition = |entry: fs::DirEntry| {
        // The entry links to `…/block/DISK/PARTITION`; a whole disk has no file `partition`.
        let number = fs::read_to_string(entry.path().join("partition")).ok()?.trim().parse().ok()?;
        let target = fs::canonicalize(entry.path()).ok()?;
        let disk = target.parent()?.file_name()?.to_str()?.to_owned();
        Some(Partition { name: entry.file_name().into_string().ok()?, disk, number })
    };
    entries.flatten().filter_map(partition).collect()
}

fn first_sector(disk: &Path) -> io::Result<Table> {
    let mut sector = [0; SECTOR as usize];
    File::open(disk)?.read_exact(&mut sector)?;
    Ok(Table::new(sector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_block_devices_are_worth_a_look() {
        let message = |header: &str, subsystem: &str| {
            let path = header.split_once('@').map_or("", |(_, path)| path);
            format!("{header}\0ACTION=add\0DEVPATH={path}\0SUBSYSTEM={subsystem}\0SEQNUM=1234\0").into_bytes()
        };
        let path = "/devices/platform/soc/1c0f000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1";
        assert!(announces_block_device(&message(&format!("add@{path}"), "block")));
        assert!(announces_block_device(&message(&format!("change@{path}"), "block")));
        assert!(!announces_block_device(&message(&format!("remove@{path}"), "block")));
        assert!(!announces_block_device(&message("add@/devices/virtual/net/vif1.0", "net")));
        assert!(!announces_block_device(b"libudev\0\xfe\xed\xca\xfe"));
        assert!(!announces_block_device(b""));
    }
}
