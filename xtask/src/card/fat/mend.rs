//! Mends what `fatfs` 0.3 does wrong in the directories that it makes; checkers complain about both.
//!
//! A directory must begin with the entries `.` and `..` (FAT specification, 6.5), without long names, and `..` of
//! one in the root directory must name cluster 0. With `fatfs` both have long names in front of them, and the
//! root's real cluster is named.

use super::Medium;
use crate::card::layout::Extent;
use crate::card::mbr::SECTOR;
use std::collections::BTreeSet;
use std::io::{self, SeekFrom};

/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// Offset of an entry's attributes; a directory's, and those of the label and of parts of long names.
const ATTRIBUTES: usize = 11;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// Offsets of the halves of an entry's cluster.
const CLUSTER_HIGH: usize = 20;
const CLUSTER_LOW: usize = 26;
/// First byte of the entry of a removed file.
const REMOVED: u8 = 0xe5;
/// Attributes of a part of a long name.
const LONG_NAME: u8 = 0x0f;
const SELF: &[u8; 11] = b".          ";
const PARENT: &[u8; 11] = b"..         ";

/// What of the boot sector is needed to find clusters; in bytes.
struct Geometry {
    table: u64,
    data: u64,
    cluster: u64,
    /// How many fit.
    clusters: u64,
    root: u32,
}

/// Mends every directory.
pub fn mend<M: Medium>(medium: &mut M, at: Extent) -> io::Result<()> {
    let geometry = Geometry::read(medium, at)?;
    let (mut open, mut seen) = (vec![geometry.root], BTreeSet::new());
    while let Some(directory) = open.pop() {
        if !seen.insert(directory) {
            continue;
        }
        if directory != geometry.root {
            mend_one(medium, &geometry, directory)?;
        }
        open.extend(geometry.directories(medium, directory)?);
    }
    Ok(())
}

/// Mends the first entries of a directory, which are in its first cluster.
fn mend_one<M: Medium>(medium: &mut M, geometry: &Geometry, directory: u32) -> io::Result<()> {
    let before = read(medium, geometry.offset(directory), 4 * ENTRY)?;
    let mut entries = before.clone();
    let is = |n: usize, name: &[u8; 11]| entries[n * ENTRY..].starts_with(name);
    let is_long = |n: usize| entries[n * ENTRY + ATTRIBUTES] == LONG_NAME;
    if is_long(0) && is(1, SELF) && is_long(2) && is(3, PARENT) {
        entries.copy_within(ENTRY..2 * ENTRY, 0);
        entries.copy_within(3 * ENTRY.., ENTRY);
        entries[2 * ENTRY..].fill(0);
        entries[2 * ENTRY] = REMOVED;
        entries[3 * ENTRY] = REMOVED;
    }
    let parent = &mut entries[ENTRY..2 * ENTRY];
    if parent.starts_with(PARENT) && cluster(parent) == geometry.root {
        parent[CLUSTER_HIGH..CLUSTER_HIGH + 2].fill(0);
        parent[CLUSTER_LOW..CLUSTER_LOW + 2].fill(0);
    }
    if entries != before {
        medium.seek(SeekFrom::Start(geometry.offset(directory)))?;
        medium.write_all(&entries)?;
    }
    Ok(())
}

impl Geometry {
    fn read<M: Medium>(medium: &mut M, at: Extent) -> io::Result<Self> {
        let boot = read(medium, at.start, SECTOR as usize)?;
        let (reserved, tables) = (u64::from(boot[0x0e]) | u64::from(boot[0x0f]) << 8, u64::from(boot[0x10]));
        let table = at.start + reserved * SECTOR;
        let cluster = u64::from(boot[0x0d]).max(1) * SECTOR;
        let data = table + tables * u64::from(word(&boot, 0x24)) * SECTOR;
        Ok(Self { table, data, cluster, clusters: at.size / cluster, root: word(&boot, 0x2c) })
    }

    /// The directories in a directory.
    fn directories<M: Medium>(&self, medium: &mut M, directory: u32) -> io::Result<Vec<u32>> {
        let (mut found, mut next) = (Vec::new(), directory);
        // No chain has more clusters than there are.
        for _ in 0..self.clusters {
            let content = read(medium, self.offset(next), self.cluster as usize)?;
            let in_use = content.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0);
            let named = in_use.filter(|entry| ![REMOVED, b'.'].contains(&entry[0]));
            let directories = named.filter(|entry| entry[ATTRIBUTES] & (DIRECTORY | LABEL) == DIRECTORY);
            found.extend(directories.map(cluster));
            let link = read(medium, self.table + 4 * u64::from(next), 4)?;
            next = word(&link, 0) & 0x0fff_ffff;
            if !(2..0x0fff_fff7).contains(&next) {
                break;
            }
        }
        Ok(found)
    }

    /// Where a cluster is; they are counted from 2.
    fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster.saturating_sub(2)) * self.cluster
    }
}

fn read<M: Medium>(medium: &mut M, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; length];
    medium.seek(SeekFrom::Start(offset))?;
    medium.read_exact(&mut content)?;
    Ok(content)
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

fn cluster(entry: &[u8]) -> u32 {
    let half = |at: usize| u32::from(entry[at]) | u32::from(entry[at + 1]) << 8;
    half(CLUSTER_HIGH) << 16 | half(CLUSTER_LOW)
}
