//! The partition that any PC can edit: FAT32, by the crate `fatfs`, with fixed dates.

mod mend;

use super::layout::Extent;
use super::mbr::SECTOR;
use anyhow::{Context, Result, ensure};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use fscommon::StreamSlice;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The name that a PC shows, filled up with spaces.
const LABEL: [u8; 11] = *b"JITSU      ";

/// The volume's serial number ("jits").
const VOLUME_ID: u32 = super::mbr::SIGNATURE;

/// Small enough for the smallest number of clusters that makes a FAT file system FAT32 (65,525) to fit into
/// 128 MiB; the kind is told by nothing else.
const CLUSTER: u32 = 2048;

/// Offset in the boot sector of the number of sectors before the partition, and the sectors that have it.
const HIDDEN_SECTORS: u64 = 0x1c;
const BOOT_SECTORS: [u64; 2] = [0, 6];

/// A medium with partitions.
pub trait Medium: Read + Write + Seek {}
impl<T: Read + Write + Seek> Medium for T {}

/// The file system on a part of a medium; see [`change`].
pub struct Fat<'a, M: Medium> {
    system: FileSystem<StreamSlice<&'a mut M>>,
}

/// Makes an empty file system.
pub fn format<M: Medium>(medium: &mut M, at: Extent) -> Result<()> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER)
        .volume_id(VOLUME_ID)
        .volume_label(LABEL);
    let format = || -> io::Result<()> {
        fatfs::format_volume(slice(medium, at)?, options)?;
        let hidden = (at.start / SECTOR) as u32;
        for sector in BOOT_SECTORS {
            medium.seek(SeekFrom::Start(at.start + sector * SECTOR + HIDDEN_SECTORS))?;
            medium.write_all(&hidden.to_le_bytes())?;
        }
        Ok(())
    };
    format().context("formatting the FAT partition")
}

/// Changes the file system on a part of a medium, or looks at it.
pub fn change<M: Medium, T>(
    medium: &mut M,
    at: Extent,
    with: impl FnOnce(&Fat<'_, M>) -> Result<T>,
) -> Result<T> {
    let value = with_open(medium, at, with)?;
    mend::mend(medium, at).context("mending directories of the FAT partition")?;
    Ok(value)
}

fn with_open<M: Medium, T>(
    medium: &mut M,
    at: Extent,
    with: impl FnOnce(&Fat<'_, M>) -> Result<T>,
) -> Result<T> {
    let fat = Fat::open(medium, at)?;
    let value = with(&fat)?;
    // Counted here and written by `unmount`: checkers want to see the number of free clusters.
    let counted = fat.system.stats().map(drop);
    counted.and(fat.system.unmount()).context("closing the FAT partition")?;
    Ok(value)
}

impl<'a, M: Medium> Fat<'a, M> {
    fn open(medium: &'a mut M, at: Extent) -> Result<Self> {
        let options = FsOptions::new().time_provider(&FIXED_TIME);
        let system = slice(medium, at).and_then(|slice| FileSystem::new(slice, options));
        let system = system.context("reading the FAT partition")?;
        ensure!(system.fat_type() == FatType::Fat32, "the FAT partition is too small for FAT32");
        Ok(Self { system })
    }

    /// A directory, and those that it is in.
    pub fn directory(&self, path: &str) -> Result<()> {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let part = &path[..end];
            self.system.root_dir().create_dir(part).with_context(|| format!("creating {part}/"))?;
        }
        Ok(())
    }

    /// Makes a file, or replaces it, and the directories that it is in.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        let write = || -> io::Result<()> {
            let mut file = self.system.root_dir().create_file(path)?;
            file.truncate()?;
            file.write_all(content)
        };
        write().with_context(|| format!("writing {path} on the FAT partition"))
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let read = || {
            let mut content = Vec::new();
            self.system.root_dir().open_file(path)?.read_to_end(&mut content)?;
            io::Result::Ok(content)
        };
        read().with_context(|| format!("reading {path} on the FAT partition"))
    }

    /// Removes a file, or an empty directory.
    pub fn remove(&self, path: &str) -> Result<()> {
        let removed = self.system.root_dir().remove(path);
        removed.with_context(|| format!("removing {path} on the FAT partition"))
    }

    /// Cuts a file off after `size` bytes.
    pub fn truncate(&self, path: &str, size: u64) -> Result<()> {
        let truncate = || -> io::Result<()> {
            let mut file = self.system.root_dir().open_file(path)?;
            file.seek(SeekFrom::Start(size))?;
            file.truncate()
        };
        truncate().with_context(|| format!("truncating {path} on the FAT partition"))
    }
}

fn slice<M: Medium>(medium: &mut M, at: Extent) -> io::Result<StreamSlice<&mut M>> {
    StreamSlice::new(medium, at.start, at.start + at.size)
}

/// The date of everything on a card.
#[derive(Debug)]
struct FixedTime;

static FIXED_TIME: FixedTime = FixedTime;

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        // That of `layout::DATE`.
        Date { year: 2026, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Disk;
    use super::*;

    const AT: Extent = Extent { start: 1 << 20, size: 160 << 20 };

    fn disk() -> Disk {
        let mut disk = Disk::new(200 << 20);
        format(&mut disk, AT).expect("format");
        disk
    }

    #[test]
    fn files_are_read_back_replaced_truncated_and_removed() {
        let mut disk = disk();
        let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        change(&mut disk, AT, |fat| {
            fat.write("a/initramfs", &content)?;
            fat.write("README.txt", b"first")?;
            fat.write("README.txt", b"new")?;
            fat.directory("unikernels")
        })
        .expect("write");
        change(&mut disk, AT, |fat| {
            assert_eq!(fat.read("a/initramfs")?, content);
            assert_eq!(fat.read("readme.TXT")?, b"new");
            fat.truncate("a/initramfs", 5000)?;
            fat.remove("README.txt")
        })
        .expect("change");
        change(&mut disk, AT, |fat| {
            assert_eq!(fat.read("a/initramfs")?, content[..5000]);
            assert!(fat.read("README.txt").is_err());
            Ok(())
        })
        .expect("read");
    }

    #[test]
    fn boot_sector_names_the_volume_and_where_it_is() {
        let mut disk = disk();
        let mut sector = [0; 512];
        for number in BOOT_SECTORS {
            disk.seek(SeekFrom::Start(AT.start + number * SECTOR)).expect("seek");
            disk.read_exact(&mut sector).expect("read");
            assert_eq!(sector[0x1c..0x20], 2048_u32.to_le_bytes());
            assert_eq!(sector[0x43..0x47], *b"stij");
            assert_eq!(sector[0x47..0x52], LABEL);
            assert_eq!(sector[0x52..0x5a], *b"FAT32   ");
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let build = || {
            let mut disk = disk();
            change(&mut disk, AT, |fat| {
                fat.write("a/xen", &[7; 10_000])?;
                fat.write("boot.scr", b"script")
            })
            .expect("write");
            disk.blocks().map(|(number, block)| (number, block.to_vec())).collect::<Vec<_>>()
        };
        assert!(build() == build());
    }
}
