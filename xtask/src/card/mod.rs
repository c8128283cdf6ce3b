//! The SD card of a board: partition table, U-Boot, a FAT partition with two copies of the system, and an ext4
//! partition for data. Made in memory, without root, and always the same from the same parts.

pub mod disk;
mod edit;
mod ext4;
mod fat;
pub mod layout;
mod mbr;
mod script;
pub mod ssh;
mod uimage;
mod write;

pub use edit::Edit;
pub use write::{IMAGE, write};

use crate::board::{Board, Card};
use crate::fail::{Class, Fail};
use crate::{paths, ui};
use anyhow::{Context, Result};
use disk::Disk;
use layout::{DATA, DATA_LABEL, DATA_UUID, DATE, FAT, FIRMWARE, SIZE};
use std::fs;

/// Bytes of a block: the unit of what is written to a card, and of the data partition.
pub const BLOCK: u64 = 4096;

/// The two copies of the system; the second is for when the first is damaged.
pub const SLOTS: [&str; 2] = ["a", "b"];

/// Most that may have to be written to a card, in bytes.
const MAPPED_LIMIT: u64 = 48 << 20;

/// What a copy of the system consists of.
pub struct System {
    /// The hypervisor.
    pub xen: Vec<u8>,
    /// Dom0's kernel; Xen unpacks it when it is packed with gzip.
    pub kernel: Vec<u8>,
    /// Dom0's root file system.
    pub initramfs: Vec<u8>,
    /// The board's device tree.
    pub device_tree: Vec<u8>,
    /// The SSH server, see [`ssh`]; the node unpacks it when there is a key for it.
    pub ssh: Vec<u8>,
}

impl System {
    /// The files of a slot that the boot script reads, in its order.
    fn loaded(&self) -> [(&'static str, &[u8]); 4] {
        [
            ("xen", &self.xen),
            ("dtb", &self.device_tree),
            ("kernel", &self.kernel),
            ("initramfs", &self.initramfs),
        ]
    }

    /// All files of a slot.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let loaded = self.loaded();
        let mut files: Vec<_> = loaded.iter().map(|(name, content)| (*name, content.to_vec())).collect();
        files.push(("sums.env", script::sums(&loaded).into_bytes()));
        files.push(("ssh.tar.gz", self.ssh.clone()));
        files
    }
}

/// A file in board/card, which all cards share.
pub fn shared(name: &str) -> Result<String> {
    let path = paths::root().join("board/card").join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// A file in the FAT partition: its path and content.
pub type FileOnCard = (String, Vec<u8>);

/// Puts everything where it belongs. Gives the card, and the files in its FAT partition.
pub fn assemble(
    board: &Board,
    card: &Card,
    firmware: &[u8],
    system: &System,
) -> Result<(Disk, Vec<FileOnCard>)> {
    check_memory(board, system)?;
    let mut disk = Disk::new(SIZE);
    let partitions = [
        mbr::Partition { kind: mbr::Kind::Fat32, start: FAT.start, size: FAT.size },
        mbr::Partition { kind: mbr::Kind::Linux, start: DATA.start, size: DATA.size },
    ];
    disk.put(0, &mbr::sector(&partitions)).context("writing the partition table")?;
    if firmware.len() as u64 > FIRMWARE.size {
        let message = format!("U-Boot has {} bytes, the first partition is in its way", firmware.len());
        return Err(Fail::new(Class::Build, message));
    }
    disk.put(FIRMWARE.start, firmware).context("writing U-Boot")?;

    let files = files(board, card, system)?;
    let _task = ui::Task::start(format!("filling the card of {}", board.name));
    fat::format(&mut disk, FAT)?;
    fat::change(&mut disk, FAT, |fat| {
        files.iter().try_for_each(|(path, content)| fat.write(path, content))?;
        fat.directory("unikernels")
    })?;
    let options = ext4::Options { label: DATA_LABEL, uuid: DATA_UUID, date: DATE };
    ext4::format(&mut disk, DATA.start, DATA.size, &options)?;

    let mapped = disk.blocks().count() as u64 * BLOCK;
    let size = ui::human_bytes(mapped);
    anyhow::ensure!(mapped <= MAPPED_LIMIT, "the card has {size} to be written instead of 48 MiB at most");
    Ok((disk, files))
}

/// What is in the FAT partition, by path.
fn files(board: &Board, card: &Card, system: &System) -> Result<Vec<FileOnCard>> {
    let template = shared("boot.cmd")?;
    let script = script::fill(&template, &script::facts(board, card)?).context("board/card/boot.cmd")?;
    let mut files = vec![
        // Read by Notepad as well, which knew no other ends of lines for long.
        ("README.txt".to_owned(), shared("README.txt")?.replace('\n', "\r\n").into_bytes()),
        ("jitsu.toml".to_owned(), shared("jitsu.toml")?.into_bytes()),
        ("boot.scr".to_owned(), uimage::script(&format!("jitsu-node {}", board.name), &script, DATE)),
    ];
    for slot in SLOTS {
        files.extend(system.files().into_iter().map(|(name, content)| (format!("{slot}/{name}"), content)));
    }
    Ok(files)
}

/// Where U-Boot puts the device tree that it has finished, at the latest (`bootm_size` of include/configs/
/// sunxi-common.h: the first 160 MiB of RAM); it needs less than 1 MiB for it.
const LOW_MEMORY: u64 = (160 << 20) - (1 << 20);
/// Where U-Boot keeps the script that it runs (`scriptaddr`), with room for it.
const SCRIPT: (u64, u64) = (0x310_0000, 64 << 10);
/// For the sums, and a checksum.
const SCRATCH_SIZE: u64 = 64 << 10;
/// The device tree grows by what U-Boot and the script add.
const DEVICE_TREE_ROOM: u64 = 64 << 10;

/// Refuses files that would overwrite each other in RAM.
fn check_memory(board: &Board, system: &System) -> Result<()> {
    let load = &board.load;
    let size = |content: &[u8]| content.len() as u64;
    board.check_apart(vec![
        ("U-Boot's copy of its script", load.ram + SCRIPT.0, SCRIPT.1),
        // Xen needs room behind its image for what is not in the file.
        ("the hypervisor", load.xen.unwrap_or(load.ram), size(&system.xen) + (1 << 20)),
        ("the device tree", load.device_tree, size(&system.device_tree) + DEVICE_TREE_ROOM),
        ("the scratch memory", load.scratch.unwrap_or(load.ram), SCRATCH_SIZE),
        ("dom0's kernel", load.kernel, size(&system.kernel)),
        ("the initramfs", load.initramfs, size(&system.initramfs)),
        ("what U-Boot uses itself", load.ram + LOW_MEMORY, 0),
    ])
}

#[cfg(test)]
mod tests;
