use super::*;
use std::cell::Cell;
use std::io::Write as _;

/// A medium in memory, with the faults that real ones have.
struct Fake {
    bytes: Vec<u8>,
    /// Bytes that it takes before it is pulled out.
    lasts: u64,
    /// A bit of this byte does not hold what was written.
    weak: Option<usize>,
    /// The offsets written, and `None` for each sync.
    log: Vec<Option<u64>>,
}

impl Fake {
    /// A used card: no byte of it is zero.
    fn used(size: u64) -> Self {
        Self { bytes: vec![0xa5; size as usize], lasts: u64::MAX, weak: None, log: vec![] }
    }

    fn boots(&self) -> bool {
        self.bytes[510..512] == [0x55, 0xaa]
    }
}

impl Medium for Fake {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.log.push(Some(offset));
        let taken = self.lasts.min(data.len() as u64);
        self.lasts -= taken;
        self.bytes[offset as usize..][..taken as usize].copy_from_slice(&data[..taken as usize]);
        if taken < data.len() as u64 { Err(io::Error::other("pulled out")) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.push(None);
        Ok(())
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.copy_from_slice(&self.bytes[offset as usize..][..data.len()]);
        let weak = self.weak.and_then(|at| at.checked_sub(offset as usize)).and_then(|at| data.get_mut(at));
        if let Some(byte) = weak {
            *byte ^= 4;
        }
        Ok(())
    }
}

/// An image with a partition table, a loader across the first MiB's border, content further on that takes more
/// than a chunk, and zeros that matter; 12 MiB and a part of a block.
fn image() -> (File, Bmap, Vec<u8>) {
    let mut bytes = vec![0; (12 << 20) + 512];
    let end = bytes.len();
    for (range, value) in [(0..510, 3), (8192..1_100_000, 1), (5 << 20..8 << 20, 7), (end - 512..end, 9)] {
        bytes[range].fill(value);
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut file = tempfile::NamedTempFile::new().expect("tempfile");
    file.write_all(&bytes).expect("write");
    let map = Bmap::of(file.path(), std::slice::from_ref(&(9 << 20..10 << 20))).expect("map");
    (file.into_file(), map, bytes)
}

fn flash(image: &File, map: &Bmap, medium: &mut Fake) -> Result<()> {
    write(image, map, medium, &|_| {})?;
    verify(image, map, medium, &|_| {})
}

#[test]
fn mapped_blocks_arrive_and_others_are_left() {
    let (image, map, bytes) = image();
    let mut card = Fake::used(16 << 20);
    let done = Cell::new(0);
    write(&image, &map, &mut card, &|bytes| done.set(done.get() + bytes)).expect("written");
    assert_eq!(done.get(), map.mapped_bytes());
    verify(&image, &map, &mut card, &|_| {}).expect("verified");
    assert!(card.boots());
    assert_eq!(card.bytes[..1 << 20], bytes[..1 << 20], "the first MiB, holes and all");
    assert_eq!(card.bytes[5 << 20..8 << 20], bytes[5 << 20..8 << 20]);
    assert!(card.bytes[9 << 20..10 << 20].iter().all(|byte| *byte == 0), "zeros that matter");
    assert!(card.bytes[3 << 20..4 << 20].iter().all(|byte| *byte == 0xa5), "not mapped");
    assert!(card.bytes[15 << 20..].iter().all(|byte| *byte == 0), "where a GPT has its backup");
    assert!(card.bytes[14 << 20..15 << 20].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_card_of_the_images_size_keeps_no_old_end() {
    let (image, map, bytes) = image();
    let mut card = Fake::used(bytes.len() as u64);
    flash(&image, &map, &mut card).expect("verified");
    let tail = bytes.len() - (1 << 20);
    assert_eq!(card.bytes[tail..], bytes[tail..]);
}

#[test]
fn the_partition_table_comes_last_and_alone() {
    let (image, map, _) = image();
    let mut card = Fake::used(16 << 20);
    write(&image, &map, &mut card, &|_| {}).expect("written");
    assert_eq!(card.log[..3], [Some(0), Some(15 << 20), None], "wiped first, and on the medium");
    assert_eq!(card.log[card.log.len() - 3..], [None, Some(0), None], "nothing is on its way beside it");
    let loader = card.log.iter().position(|entry| *entry == Some(8192)).expect("loader");
    let body = card.log.iter().rposition(|entry| entry.is_some_and(|at| at >= ENDS)).expect("body");
    assert!(card.log[body..loader].contains(&None), "the loader waits for what it loads");
}

#[test]
fn interrupted_anywhere_it_does_not_boot_and_repeating_mends() {
    let (image, map, _) = image();
    let total = 2 * ENDS + map.mapped_bytes();
    for lasts in [512, ENDS, ENDS + 1, total / 2, total - TABLE - 1, total - TABLE, total - TABLE + 100] {
        let mut card = Fake { lasts, ..Fake::used(16 << 20) };
        let error = flash(&image, &map, &mut card).expect_err("pulled out");
        assert!(format!("{error:#}").contains("pulled out"), "{error:#}");
        assert!(!card.boots(), "after {lasts} bytes");
        assert!(verify(&image, &map, &mut card, &|_| {}).is_err());
        card.lasts = u64::MAX;
        flash(&image, &map, &mut card).expect("repeated");
        assert!(card.boots());
    }
}

#[test]
fn a_bit_that_does_not_hold_is_found_and_named() {
    let (image, map, _) = image();
    let at = (6 << 20) + 4321;
    let mut card = Fake { weak: Some(at), ..Fake::used(16 << 20) };
    let error = flash(&image, &map, &mut card).expect_err("corrupt");
    assert_eq!(crate::fail::class_of(&error), Some(Class::Integrity));
    let text = error.to_string();
    assert!(text.contains("blocks 1280-2047 ") && text.contains(&format!("first at byte {at} ")), "{text}");
    assert!(!card.boots());
    // Where nothing is mapped, nothing is promised.
    let mut card = Fake { weak: Some(3 << 20), ..Fake::used(16 << 20) };
    flash(&image, &map, &mut card).expect("verified");
}

#[test]
fn too_small_is_untouched() {
    let (image, map, bytes) = image();
    let mut card = Fake::used(bytes.len() as u64 - 1);
    let error = flash(&image, &map, &mut card).expect_err("too small");
    assert!(error.to_string().contains("larger"), "{error}");
    assert!(card.log.is_empty() && card.bytes.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn an_image_that_is_not_its_maps_is_refused() {
    let (image, map, _) = image();
    check_source(&image, &map).expect("its own");
    image.write_all_at(b"edited", 6 << 20).expect("write");
    let error = check_source(&image, &map).expect_err("edited");
    assert!(error.to_string().contains("blocks 1280-2047"), "{error}");
    image.set_len(13 << 20).expect("set_len");
    assert!(check_source(&image, &map).expect_err("longer").to_string().contains("13631488"));
}
