use super::*;
use std::io::{Read, Seek, SeekFrom};

const OPTIONS: Options = Options { label: "jitsu-data", uuid: *b"0123456789abcdef", date: 1_767_225_600 };

fn formatted(size: u64) -> Vec<u8> {
    let mut disk = Disk::new(BLOCK + size);
    format(&mut disk, BLOCK, size, &OPTIONS).expect("format");
    let mut image = Vec::new();
    disk.seek(SeekFrom::Start(BLOCK)).expect("seek");
    disk.read_to_end(&mut image).expect("read");
    image
}

fn word(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"))
}

fn half(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(image[at..at + 2].try_into().expect("two bytes"))
}

#[test]
fn superblock_is_where_linux_looks() {
    let image = formatted(64 << 20);
    let sb = &image[1024..2048];
    assert_eq!(half(sb, 0x38), 0xef53);
    assert_eq!((word(sb, 0x04), 1024 << word(sb, 0x18)), (16384, 4096));
    assert_eq!(&sb[0x78..0x83], b"jitsu-data\0");
    assert_eq!(half(sb, 0xce), 63);
}

#[test]
fn what_is_free_is_free_in_the_bitmap() {
    let image = formatted(64 << 20);
    let bits = |block: u32| {
        let at = block as usize * BLOCK as usize;
        image[at..at + BLOCK as usize].iter().map(|byte| byte.count_zeros()).sum::<u32>()
    };
    assert_eq!(bits(BLOCK_BITMAP), word(&image, 1024 + 0x0c));
    assert_eq!(bits(INODE_BITMAP), word(&image, 1024 + 0x10));
    let descriptor = &image[BLOCK as usize..];
    assert_eq!(u32::from(half(descriptor, 0x0c)), bits(BLOCK_BITMAP));
}

#[test]
fn reserved_descriptors_are_mapped_and_zeros() {
    let image = formatted(64 << 20);
    let map = &image[RESIZE_MAP as usize * BLOCK as usize..];
    assert_eq!([0, 1, 63, 64].map(|n| word(map, 4 * n)), [0, 2, 64, 0]);
    let reserved = RESERVED_DESCRIPTORS as usize * BLOCK as usize..BLOCK_BITMAP as usize * BLOCK as usize;
    assert!(image[reserved].iter().all(|&byte| byte == 0));
}

/// What a card held before must not show in anything that Linux reads.
#[test]
fn everything_in_use_is_written() {
    let mut disk = Disk::new(64 << 20);
    format(&mut disk, 0, 64 << 20, &OPTIONS).expect("format");
    assert!(disk.blocks().map(|(number, _)| number).eq(0..u64::from(FREE)));
}

#[test]
fn sizes_that_are_not_one_group_are_refused() {
    let mut disk = Disk::new(256 << 20);
    for size in [1 << 20, 129 << 20, 256 << 20] {
        assert!(format(&mut disk, 0, size, &OPTIONS).is_err(), "{size}");
    }
}
