//! Makes the data partition as long as the card.
//!
//! An image is small, so that any card takes it, and cards differ in size. Three things have to follow, each from
//! the one before: the entry in the partition table, the kernel's idea of the partition, and the file system.
//! Each step is taken only when its result is not there yet, so the whole can be repeated after any of them, and
//! is, at every boot; when nothing is left to do it reads one sector and writes nothing.
//!
//! The power may go at any moment:
//! - *While the table is written*: it is one sector, written alone and past every cache; a card writes a sector
//!   whole or not at all. Old and new table differ in one number, and what is within the shorter length is the
//!   same file system in both.
//! - *Before the kernel is told*: at the next boot the kernel reads the new table itself.
//! - *Before or while the file system grows*: a file system that is shorter than its partition is a valid one,
//!   and ext4 grows under its journal, a block group or a few at a time, each of which is valid by itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::sys::statvfs::statvfs;

use super::device::{self, Partition};
use super::mount::DATA;
use super::partition::{self, NotGrown, SECTOR, Table};
use super::sys;

/// Why the data partition kept its size.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The partition table is not one to touch.
    #[error("the partition table is left as it is")]
    Table(#[from] NotGrown),
    /// Something failed.
    #[error("{step}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Failed { step, source }
}

/// A sector where the kernel can copy it from and to directly: direct access wants memory that is aligned as the
/// disk's sectors are.
#[repr(C, align(512))]
struct Aligned([u8; SECTOR as usize]);

/// Grows partition `data`, which is mounted at `/data`, and its file system. Returns whether anything was done.
///
/// # Errors
/// Whatever fails leaves partition and file system usable as they were.
pub fn grow(data: &Partition) -> Result<bool, Error> {
    let disk_sectors = device::sectors(&data.disk).map_err(failed("looking the card's size up"))?;
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC | libc::O_CLOEXEC)
        .open(device::device(&data.disk))
        .map_err(failed("opening the card"))?;
    let mut sector = Aligned([0; SECTOR as usize]);
    disk.read_exact_at(&mut sector.0, 0).map_err(failed("reading the partition table"))?;
    let mut table = Table::new(sector.0);
    let mut changed = false;
    if let Some(grown) = table.grown(disk_sectors)? {
        disk.write_all_at(&Aligned(*grown.sector()).0, 0).map_err(failed("writing the partition table"))?;
        disk.sync_all().map_err(failed("writing the partition table"))?;
        (table, changed) = (grown, true);
    }
    let extent = table.partition(partition::DATA).ok_or(NotGrown::NotOurs)?;
    let sectors = data.sectors().map_err(failed("looking the data partition's size up"))?;
    if sectors < extent.length.into() {
        let bytes = |sectors: u32| u64::from(sectors) * SECTOR;
        sys::resize_partition(&disk, partition::DATA, bytes(extent.start), bytes(extent.length))
            .map_err(failed("telling the kernel of the larger partition"))?;
        changed = true;
    }
    Ok(grow_file_system(u64::from(extent.length) * SECTOR)? || changed)
}

/// ext4 leaves a last block group that would have no room for its own tables away, so less than a group may stay
/// unused; then this asks again at each boot, and the kernel finds nothing to do.
fn grow_file_system(bytes: u64) -> Result<bool, Error> {
    let before = total_blocks()?;
    let wanted = bytes / before.size;
    if wanted <= before.count {
        return Ok(false);
    }
    let inside = File::open(DATA.point).map_err(failed("opening the data partition"))?;
    sys::resize_file_system(&inside, wanted).map_err(failed("growing the file system"))?;
    Ok(total_blocks()?.count != before.count)
}

struct Blocks {
    count: u64,
    size: u64,
}

fn total_blocks() -> Result<Blocks, Error> {
    let found =
        statvfs(DATA.point).map_err(io::Error::from).map_err(failed("asking for the file system's size"))?;
    // 32 bits on ARM. A size of 0 is nothing that ext4 says; dividing by it must not end the daemon all the same.
    #[allow(clippy::useless_conversion)]
    Ok(Blocks { count: found.blocks().into(), size: u64::from(found.fragment_size()).max(1) })
}
