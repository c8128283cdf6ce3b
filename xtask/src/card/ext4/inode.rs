//! Inodes and directories.

use super::{
    BLOCK, DESCRIPTOR_BLOCKS, DESCRIPTORS, INODE_SIZE, RESERVED_DESCRIPTOR_BLOCKS, RESERVED_DESCRIPTORS,
    RESIZE_MAP,
};

/// A file or directory, in one piece on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Inode {
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Names that lead to it.
    pub links: u16,
    /// Its first block.
    pub start: u32,
    /// How many.
    pub blocks: u32,
}

/// What an inode stands for, and how its blocks are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    /// The inode that owns the reserved group descriptors, see [`resize`]: a map of maps, which is the old
    /// way to find blocks.
    Mapped,
}

/// The blocks are in an extent tree in the inode (`EXT4_EXTENTS_FL`).
const FLAG_EXTENTS: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
/// Extents that fit into an inode.
const EXTENTS: u16 = 4;
/// Which of the 15 words of `i_block` is the map of maps.
const DOUBLE_INDIRECT: usize = 13;
/// Bytes of the part of an inode beyond the first 128 that is used: up to and including `i_crtime_extra`.
const EXTRA_SIZE: u16 = 32;

impl Inode {
    /// As it lies in the table, everything in it dated `date`.
    pub fn bytes(&self, date: u32) -> [u8; INODE_SIZE as usize] {
        let mut out = [0; INODE_SIZE as usize];
        let mode: u16 = if self.kind == Kind::Directory { 0o040_755 } else { 0o100_600 };
        put16(&mut out, 0x00, mode);
        put32(&mut out, 0x04, self.size as u32);
        for time in [0x08, 0x0c, 0x10, 0x90] {
            put32(&mut out, time, date);
        }
        put16(&mut out, 0x1a, self.links);
        // In sectors.
        put32(&mut out, 0x1c, self.blocks * (BLOCK / 512) as u32);
        put32(&mut out, 0x20, if self.kind == Kind::Mapped { 0 } else { FLAG_EXTENTS });
        for (n, word) in self.block_words().into_iter().enumerate() {
            put32(&mut out, 0x28 + 4 * n, word);
        }
        put32(&mut out, 0x6c, (self.size >> 32) as u32);
        put16(&mut out, 0x80, EXTRA_SIZE);
        out
    }

    /// `i_block`: an extent tree of one leaf, or the pointer to the map.
    pub fn block_words(&self) -> [u32; 15] {
        let mut words = [0; 15];
        if self.kind == Kind::Mapped {
            words[DOUBLE_INDIRECT] = self.start;
            return words;
        }
        let two = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        // Header: magic, entries, most entries, depth, generation. Extent: first block of the file, length,
        // upper and lower half of where it is.
        words[0] = two(EXTENT_MAGIC, 1);
        words[1] = two(EXTENTS, 0);
        words[4] = self.blocks;
        words[5] = self.start;
        words
    }
}

/// The inode that owns what is reserved for group descriptors. It pretends to be as large as such a file could
/// be, and owns its map besides the reserved blocks.
pub fn resize() -> Inode {
    let pointers = BLOCK / 4;
    let size = (pointers * pointers + pointers + 12) * BLOCK;
    let blocks = RESERVED_DESCRIPTOR_BLOCKS + 1;
    Inode { kind: Kind::Mapped, size, links: 1, start: RESIZE_MAP, blocks }
}

/// The resize inode's map: each block of descriptors that is still to be used, at its number. Each of those is
/// a map itself, of its copies in other groups, and there are none yet.
pub fn resize_map() -> [u8; BLOCK as usize] {
    let mut map = [0; BLOCK as usize];
    let first = RESERVED_DESCRIPTORS - DESCRIPTORS;
    for (number, block) in (first..DESCRIPTOR_BLOCKS).zip(RESERVED_DESCRIPTORS..) {
        put32(&mut map, 4 * number as usize, block);
    }
    map
}

/// Entries of a directory know what kind of inode they lead to.
const TYPE_DIRECTORY: u8 = 2;

/// The first block of a directory with directories in it, given by inode and name.
pub fn directory(own: u32, parent: u32, entries: &[(u32, &str)]) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let all: Vec<(u32, &str)> = [(own, "."), (parent, "..")].iter().chain(entries).copied().collect();
    let mut at = 0;
    for (n, (inode, name)) in all.iter().enumerate() {
        let needed = (8 + name.len()).next_multiple_of(4);
        let length = if n + 1 == all.len() { block.len() - at } else { needed };
        put32(&mut block, at, *inode);
        put16(&mut block, at + 4, length as u16);
        block[at + 6] = name.len() as u8;
        block[at + 7] = TYPE_DIRECTORY;
        block[at + 8..at + 8 + name.len()].copy_from_slice(name.as_bytes());
        at += length;
    }
    block
}

/// A block of a directory without entries: one that stands for nothing and is as long as the block.
pub fn empty_directory_block() -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    put16(&mut block, 4, BLOCK as u16);
    block
}

pub fn put16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
