//! The data partition: an empty ext4 file system that Linux can grow while it is mounted.
//!
//! No maintained crate formats ext4 with a journal and room to grow, so this does: one block group, nothing in
//! it but `lost+found`. The layout is that of Documentation/filesystems/ext4 in Linux.
//!
//! ```text
//!   block   0  superblock, at byte 1024
//!           1  group descriptors
//!           2  reserved for more group descriptors; block 0 of what they grow into (resize inode)
//!          65  block bitmap, inode bitmap, inode table
//!              root directory, lost+found, the resize inode's map, the journal
//!              free
//! ```
//!
//! Growing: a block of descriptors describes 128 groups of 128 MiB, 16 GiB; there are 64 such blocks, for 1 TiB.
//! New groups have a checksum in their descriptors, which lets Linux leave their tables alone at first:
//! on a card of 64 GB they are 128 MiB.

mod inode;
mod superblock;

use super::BLOCK;
use super::disk::Disk;
use anyhow::{Context, Result, ensure};
use inode::{Inode, Kind};

/// What distinguishes one file system from another.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name that `blkid` shows; 16 bytes at most.
    pub label: &'static str,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// When everything in it was made, in seconds since 1970.
    pub date: u32,
}

/// Blocks of a group; fixed by a bitmap being one block.
const GROUP_BLOCKS: u64 = 8 * BLOCK;
/// Few: what grows with the card is the size of the state, not the number of its files. 1024 for each 128 MiB.
const GROUP_INODES: u32 = 1024;
const INODE_SIZE: u32 = 256;
const INODE_TABLE_BLOCKS: u32 = GROUP_INODES * INODE_SIZE / BLOCK as u32;

/// Blocks of group descriptors, used and reserved. A transaction that starts to use one touches all reserved
/// ones, and must be smaller than a quarter of the journal (`ext4_flex_group_add`).
const DESCRIPTOR_BLOCKS: u32 = 64;
const RESERVED_DESCRIPTOR_BLOCKS: u32 = DESCRIPTOR_BLOCKS - 1;

/// The smallest that Linux takes (`JBD2_MIN_JOURNAL_BLOCKS`). It has to be zeros: what a card's former life
/// left there could be taken for transactions.
const JOURNAL_BLOCKS: u32 = 1024;

/// `e2fsck` puts what it finds there, and must not need to allocate for that.
const LOST_AND_FOUND_BLOCKS: u32 = 4;

// Where everything is; in blocks.
const DESCRIPTORS: u32 = 1;
const RESERVED_DESCRIPTORS: u32 = DESCRIPTORS + 1;
const BLOCK_BITMAP: u32 = DESCRIPTORS + DESCRIPTOR_BLOCKS;
const INODE_BITMAP: u32 = BLOCK_BITMAP + 1;
const INODE_TABLE: u32 = INODE_BITMAP + 1;
const ROOT: u32 = INODE_TABLE + INODE_TABLE_BLOCKS;
const LOST_AND_FOUND: u32 = ROOT + 1;
const RESIZE_MAP: u32 = LOST_AND_FOUND + LOST_AND_FOUND_BLOCKS;
const JOURNAL: u32 = RESIZE_MAP + 1;
const FREE: u32 = JOURNAL + JOURNAL_BLOCKS;

// Numbers of inodes; all but the last are fixed by the format.
const ROOT_INODE: u32 = 2;
const RESIZE_INODE: u32 = 7;
const JOURNAL_INODE: u32 = 8;
/// The first that is not reserved.
const LOST_AND_FOUND_INODE: u32 = 11;

/// Makes an empty file system of `size` bytes at `start` of `disk`, both multiples of [`BLOCK`]. Of one block
/// group: up to 128 MiB.
pub fn format(disk: &mut Disk, start: u64, size: u64, options: &Options) -> Result<()> {
    let blocks = size / BLOCK;
    ensure!(
        (u64::from(FREE)..=GROUP_BLOCKS).contains(&blocks),
        "a data partition of {size} bytes: it must have more than {} and 128 MiB at most",
        u64::from(FREE) * BLOCK
    );
    let blocks = u32::try_from(blocks).context("blocks of the data partition")?;
    let journal = Inode {
        kind: Kind::File,
        size: u64::from(JOURNAL_BLOCKS) * BLOCK,
        links: 1,
        start: JOURNAL,
        blocks: JOURNAL_BLOCKS,
    };
    let directory = |start, blocks: u32, links| Inode {
        kind: Kind::Directory,
        size: u64::from(blocks) * BLOCK,
        links,
        start,
        blocks,
    };

    let mut put = |block: u32, data: &[u8]| {
        disk.put(start + u64::from(block) * BLOCK, data).context("formatting the data partition")
    };
    put(0, &superblock::block(options, blocks, &journal))?;
    put(DESCRIPTORS, &superblock::descriptors(options, blocks))?;
    put(BLOCK_BITMAP, &bitmap(FREE, blocks))?;
    put(INODE_BITMAP, &bitmap(LOST_AND_FOUND_INODE, GROUP_INODES))?;

    let mut table = vec![0; INODE_TABLE_BLOCKS as usize * BLOCK as usize];
    let inodes = [
        (ROOT_INODE, directory(ROOT, 1, 3)),
        (RESIZE_INODE, inode::resize()),
        (JOURNAL_INODE, journal),
        (LOST_AND_FOUND_INODE, directory(LOST_AND_FOUND, LOST_AND_FOUND_BLOCKS, 2)),
    ];
    for (number, inode) in inodes {
        let at = ((number - 1) * INODE_SIZE) as usize;
        table[at..at + INODE_SIZE as usize].copy_from_slice(&inode.bytes(options.date));
    }
    put(INODE_TABLE, &table)?;

    put(ROOT, &inode::directory(ROOT_INODE, ROOT_INODE, &[(LOST_AND_FOUND_INODE, "lost+found")]))?;
    put(LOST_AND_FOUND, &inode::directory(LOST_AND_FOUND_INODE, ROOT_INODE, &[]))?;
    for more in 1..LOST_AND_FOUND_BLOCKS {
        put(LOST_AND_FOUND + more, &inode::empty_directory_block())?;
    }
    for reserved in 0..RESERVED_DESCRIPTOR_BLOCKS {
        put(RESERVED_DESCRIPTORS + reserved, &[0; BLOCK as usize])?;
    }
    put(RESIZE_MAP, &inode::resize_map())?;
    put(JOURNAL, &superblock::journal(options))?;
    for block in 1..JOURNAL_BLOCKS {
        put(JOURNAL + block, &[0; BLOCK as usize])?;
    }
    Ok(())
}

/// A bitmap with its first `used` bits set; those from `end` on, which stand for nothing, as well.
fn bitmap(used: u32, end: u32) -> [u8; BLOCK as usize] {
    let mut bits = [0; BLOCK as usize];
    for bit in (0..used).chain(end..GROUP_BLOCKS as u32) {
        bits[bit as usize / 8] |= 1 << (bit % 8);
    }
    bits
}

#[cfg(test)]
mod tests;
