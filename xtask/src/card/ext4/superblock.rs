//! The superblock, the group descriptors and the journal's own superblock.

use super::inode::{Inode, put16, put32};
use super::{
    BLOCK, BLOCK_BITMAP, DESCRIPTOR_BLOCKS, FREE, GROUP_BLOCKS, GROUP_INODES, INODE_BITMAP, INODE_SIZE,
    INODE_TABLE, JOURNAL_BLOCKS, JOURNAL_INODE, LOST_AND_FOUND_INODE, Options, RESERVED_DESCRIPTOR_BLOCKS,
};

/// Byte of the first block where the superblock is.
const OFFSET: usize = 1024;
const MAGIC: u16 = 0xef53;
const DESCRIPTOR_SIZE: usize = 32;

/// has_journal, ext_attr, resize_inode, dir_index.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x10 | 0x20;
/// filetype, extents, flex_bg.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// sparse_super, large_file, huge_file, uninit_bg (checksums of descriptors), dir_nlink, extra_isize.
const COMPATIBLE_READ_ONLY: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40;

/// 16 groups have their bitmaps and inode tables beside each other.
const LOG_FLEX_GROUPS: u8 = 4;
/// Hash of names in large directories: half MD4 of signed characters.
const HASH_HALF_MD4: u8 = 1;
const FLAG_SIGNED_HASH: u32 = 1;
/// On errors go on; the node says so and needs nothing from there to serve.
const ERRORS_CONTINUE: u16 = 1;
/// Options of every mount: user_xattr, acl.
const MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// `s_jnl_blocks` has a copy of the journal's inode.
const JOURNAL_BACKUP: u8 = 1;
const CLEAN: u16 = 1;
/// Bytes of an inode beyond 128 that programs may count on.
const EXTRA_SIZE: u16 = 32;

/// The first block of a file system of `blocks` blocks.
pub fn block(options: &Options, blocks: u32, journal: &Inode) -> [u8; BLOCK as usize] {
    let mut out = [0; BLOCK as usize];
    let sb = &mut out[OFFSET..];
    put32(sb, 0x00, GROUP_INODES);
    put32(sb, 0x04, blocks);
    put32(sb, 0x0c, blocks - FREE);
    put32(sb, 0x10, GROUP_INODES - LOST_AND_FOUND_INODE);
    // The logarithm of the size of a block, and of an allocation cluster, less ten.
    put32(sb, 0x18, BLOCK.ilog2() - 10);
    put32(sb, 0x1c, BLOCK.ilog2() - 10);
    put32(sb, 0x20, GROUP_BLOCKS as u32);
    put32(sb, 0x24, GROUP_BLOCKS as u32);
    put32(sb, 0x28, GROUP_INODES);
    put32(sb, 0x30, options.date);
    // Never checked for having been mounted so often.
    put16(sb, 0x36, u16::MAX);
    put16(sb, 0x38, MAGIC);
    put16(sb, 0x3a, CLEAN);
    put16(sb, 0x3c, ERRORS_CONTINUE);
    put32(sb, 0x40, options.date);
    // Revision 1: what follows is there.
    put32(sb, 0x4c, 1);
    put32(sb, 0x54, LOST_AND_FOUND_INODE);
    put16(sb, 0x58, INODE_SIZE as u16);
    put32(sb, 0x5c, COMPATIBLE);
    put32(sb, 0x60, INCOMPATIBLE);
    put32(sb, 0x64, COMPATIBLE_READ_ONLY);
    sb[0x68..0x78].copy_from_slice(&options.uuid);
    let label = options.label.as_bytes();
    sb[0x78..0x78 + label.len()].copy_from_slice(label);
    put16(sb, 0xce, RESERVED_DESCRIPTOR_BLOCKS as u16);
    put32(sb, 0xe0, JOURNAL_INODE);
    // Seed of the hash of names: against names that somebody chose, and only the node writes here.
    sb[0xec..0xfc].copy_from_slice(&options.uuid);
    sb[0xfc] = HASH_HALF_MD4;
    sb[0xfd] = JOURNAL_BACKUP;
    put32(sb, 0x100, MOUNT_OPTIONS);
    put32(sb, 0x108, options.date);
    for (n, word) in journal.block_words().into_iter().enumerate() {
        put32(sb, 0x10c + 4 * n, word);
    }
    put32(sb, 0x148, (journal.size >> 32) as u32);
    put32(sb, 0x14c, journal.size as u32);
    put16(sb, 0x15c, EXTRA_SIZE);
    put16(sb, 0x15e, EXTRA_SIZE);
    put32(sb, 0x160, FLAG_SIGNED_HASH);
    sb[0x174] = LOG_FLEX_GROUPS;
    out
}

/// The first block of group descriptors: one.
pub fn descriptors(options: &Options, blocks: u32) -> [u8; BLOCK as usize] {
    let mut out = [0; BLOCK as usize];
    let descriptor = &mut out[..DESCRIPTOR_SIZE];
    put32(descriptor, 0x00, BLOCK_BITMAP);
    put32(descriptor, 0x04, INODE_BITMAP);
    put32(descriptor, 0x08, INODE_TABLE);
    put16(descriptor, 0x0c, (blocks - FREE) as u16);
    put16(descriptor, 0x0e, (GROUP_INODES - LOST_AND_FOUND_INODE) as u16);
    put16(descriptor, 0x10, DIRECTORIES);
    put16(descriptor, 0x12, FLAG_INODES_ZEROED);
    // Inodes at the table's end that were never used.
    put16(descriptor, 0x1c, (GROUP_INODES - LOST_AND_FOUND_INODE) as u16);
    let checksum = descriptor_checksum(&options.uuid, 0, &descriptor[..0x1e]);
    put16(descriptor, 0x1e, checksum);
    out
}

/// The root and lost+found.
const DIRECTORIES: u16 = 2;
/// The rest of the inode table is zeros already.
const FLAG_INODES_ZEROED: u16 = 4;

/// A descriptor's checksum: of the file system's UUID, the group's number and what precedes the checksum.
fn descriptor_checksum(uuid: &[u8; 16], group: u32, descriptor: &[u8]) -> u16 {
    const CRC16: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);
    let mut digest = CRC16.digest();
    digest.update(uuid);
    digest.update(&group.to_le_bytes());
    digest.update(descriptor);
    digest.finalize()
}

/// Starts every block of the journal's own; the journal's numbers are big-endian (include/linux/jbd2.h).
const JOURNAL_MAGIC: u32 = 0xc03b_3998;
const JOURNAL_SUPERBLOCK_V2: u32 = 4;

/// The journal's first block: an empty journal.
pub fn journal(options: &Options) -> [u8; BLOCK as usize] {
    let mut out = [0; BLOCK as usize];
    // Magic, type, sequence; size of a block, blocks, first block of the log, first sequence, start (none).
    let words = [JOURNAL_MAGIC, JOURNAL_SUPERBLOCK_V2, 0, BLOCK as u32, JOURNAL_BLOCKS, 1, 1, 0];
    for (slot, word) in out.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    out[0x30..0x40].copy_from_slice(&options.uuid);
    // Number of file systems that use it.
    out[0x40..0x44].copy_from_slice(&1_u32.to_be_bytes());
    out
}

const _: () =
    assert!(DESCRIPTOR_BLOCKS as u64 * (BLOCK / DESCRIPTOR_SIZE as u64) * 128 >= 64 * 1024, "64 GiB");
