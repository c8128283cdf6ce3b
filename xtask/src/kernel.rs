//! Dom0's kernel, unpacked ahead of time.
//!
//! Debian's ARM kernel is a zImage whose payload is compressed with xz; unpacking it costs 2.1 s of
//! instruction time at each boot, more than everything else on the way to userland. What boots instead is
//! the payload itself behind a small header (`kernel/entry.S`) that copies it into place: 22 MB of image
//! for 2 s of boot.
//!
//! The zImage describes itself: see `arch/arm/boot/compressed/head.S` and `vmlinux.lds.S` in Linux 6.1 for
//! the header words and the table that are read here.

use crate::fail::{Class, Fail};
use crate::{host, paths};
use anyhow::{Context, Result};
use object::{Object, ObjectSection};
use std::io::{Read, Write};
use std::process::Command;

const ENTRY_SOURCE: &str = include_str!("kernel/entry.S");

/// Size of `entry.S` assembled; the kernel follows.
const ENTRY_SIZE: usize = 0x100;
/// Offsets of the words in `entry.S` that are filled in here.
const FILE_LENGTH: usize = 0x2c;
const RAM_MASK: usize = 0x40;
const TEXT_OFFSET: usize = 0x44;
const KERNEL_SIZE: usize = 0x48;

const ZIMAGE_MAGIC: (usize, u32) = (0x24, 0x016f_2818);
/// Says that the next word is the offset of the table.
const TABLE_MAGIC: (usize, u32) = (0x34, 0x4545_4545);
const TABLE_POINTER: usize = 0x38;
/// Tag of the table's entry about the kernel's size ("KLSZ").
const TABLE_KERNEL: u32 = 0x5a53_4c4b;

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";

/// What a zImage carries.
struct Payload {
    image: Vec<u8>,
    /// Where it runs, in bytes from the start of RAM.
    text_offset: u32,
}

/// Rewrites `zimage` so that it starts without unpacking. `ram_block` (bytes, a power of two) is the
/// alignment of the block of memory that the loader puts it into: its start is where RAM starts.
pub fn unpack(zimage: &[u8], ram_block: u32) -> Result<Vec<u8>> {
    let payload = parse(zimage)?;
    let mut out = assemble()?;
    let size = payload.image.len().next_multiple_of(16);
    let mut fill = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fill(FILE_LENGTH, u32::try_from(ENTRY_SIZE + size).context("a kernel of more than 4 GiB")?);
    fill(RAM_MASK, !(ram_block - 1));
    fill(TEXT_OFFSET, payload.text_offset);
    fill(KERNEL_SIZE, u32::try_from(size)?);
    out.extend_from_slice(&payload.image);
    out.resize(ENTRY_SIZE + size, 0);
    Ok(out)
}

/// The header of a gzip file, RFC 1952, section 2.3: where its flags are, the flag that a name follows, its length.
const GZIP_FLAGS: usize = 3;
const GZIP_NAME: u8 = 8;
const GZIP_HEADER: usize = 10;

/// Packs a kernel for Xen, which unpacks it into memory of its own before it looks at it, and then copies it to
/// the same place as one that was not packed (`kernel_decompress` and `kernel_zimage_place` of
/// xen/arch/arm/kernel.c, 4.17).
pub fn gzip(kernel: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    let mut packed = gzip.write_all(kernel).and_then(|()| gzip.finish()).context("packing the kernel")?;
    // Xen reads the last four bytes, the unpacked size, as a word, and dies of a data abort where that is not
    // aligned (`output_length`, tried with 4.17). The name in the header fills up.
    let mut name = b"kernel".to_vec();
    while !(packed.len() + name.len() + 1).is_multiple_of(4) {
        name.push(b'-');
    }
    name.push(0);
    packed[GZIP_FLAGS] |= GZIP_NAME;
    packed.splice(GZIP_HEADER..GZIP_HEADER, name);
    Ok(packed)
}

fn parse(zimage: &[u8]) -> Result<Payload> {
    let bad =
        |what: &str| Fail::new(Class::Integrity, format!("the kernel is no zImage as expected: {what}"));
    for ((at, magic), what) in [(ZIMAGE_MAGIC, "no magic number"), (TABLE_MAGIC, "no table in it")] {
        if word(zimage, at) != Some(magic) {
            return Err(bad(what));
        }
    }
    let table =
        word(zimage, TABLE_POINTER).and_then(|at| usize::try_from(at).ok()).ok_or_else(|| bad("no table"))?;
    let entry = |n: usize| word(zimage, table + 4 * n);
    if entry(1) != Some(TABLE_KERNEL) {
        return Err(bad("its table does not tell the kernel's size"));
    }
    // Words of the entry: length, tag, offset of the unpacked size (behind the payload), bss, text offset.
    let (Some(size_at), Some(text_offset)) = (entry(2), entry(4)) else {
        return Err(bad("its table is cut short"));
    };
    let size_at = size_at as usize;
    let size = word(zimage, size_at).ok_or_else(|| bad("its payload is cut short"))? as usize;

    // Where the payload starts is not recorded. The magic number occurs by chance too (the decompressor
    // compares with it), so the stream that unpacks to the recorded size is the one.
    let starts = (0..size_at).filter(|&at| zimage[at..size_at].starts_with(XZ_MAGIC));
    for start in starts {
        let mut image = Vec::with_capacity(size);
        let unpacked = liblzma::read::XzDecoder::new(&zimage[start..size_at]).read_to_end(&mut image);
        if unpacked.is_ok() && image.len() == size {
            return Ok(Payload { image, text_offset });
        }
    }
    Err(bad("no xz payload of the recorded size in it"))
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The header's code, by the cross assembler.
fn assemble() -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("creating a temporary directory")?;
    let (source, output) = (dir.path().join("entry.S"), dir.path().join("entry.o"));
    paths::write_atomic(&source, ENTRY_SOURCE.as_bytes())?;
    let run = Command::new(host::CROSS_GCC).arg("-c").arg(&source).arg("-o").arg(&output).output().map_err(
        |e| Fail::new(Class::Host, format!("running {}: {e}; try `cargo xtask setup`", host::CROSS_GCC)),
    )?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(Fail::new(Class::Build, format!("assembling xtask/src/kernel/entry.S: {said}")));
    }
    let data = paths::read(&output)?;
    let file = object::File::parse(&*data).context("reading the assembled kernel entry")?;
    let text = file.section_by_name(".text").context("the assembled kernel entry has no .text")?;
    let code = text.data().context("reading the assembled kernel entry")?.to_vec();
    if code.len() != ENTRY_SIZE {
        return Err(Fail::new(
            Class::Build,
            format!("xtask/src/kernel/entry.S has {} bytes instead of {ENTRY_SIZE}", code.len()),
        ));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zimage(content: &[u8], recorded: u32) -> Vec<u8> {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(content).expect("xz");
        let payload = xz.finish().expect("xz");
        let table = [6, TABLE_KERNEL, (0x80 + payload.len()) as u32, 0, 0x20_8000, 0];
        let mut data = vec![0; 0x80];
        let mut fill = |at: usize, value: u32| data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fill(ZIMAGE_MAGIC.0, ZIMAGE_MAGIC.1);
        fill(TABLE_MAGIC.0, TABLE_MAGIC.1);
        fill(TABLE_POINTER, 0x40);
        for (n, value) in table.into_iter().enumerate() {
            fill(0x40 + 4 * n, value);
        }
        // A decoy in front of the payload.
        data[0x60..0x66].copy_from_slice(XZ_MAGIC);
        data.extend_from_slice(&payload);
        data.extend_from_slice(&recorded.to_le_bytes());
        data
    }

    #[test]
    fn packed_kernels_have_their_size_in_an_aligned_word() {
        for length in 0..40 {
            let kernel: Vec<u8> = (0..length).map(|n| (n * n) as u8).collect();
            let packed = gzip(&kernel).expect("packed");
            assert_eq!(packed.len() % 4, 0);
            assert_eq!(word(&packed, packed.len() - 4), Some(length));
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("unpacked");
            assert_eq!(unpacked, kernel);
        }
    }

    #[test]
    fn finds_the_payload() {
        let payload = parse(&zimage(b"kernel code", 11)).expect("parse");
        assert_eq!((payload.image.as_slice(), payload.text_offset), (&b"kernel code"[..], 0x20_8000));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(parse(b"").is_err());
        assert!(parse(&[0; 4096]).is_err());
        assert!(parse(&zimage(b"kernel code", 12)).is_err());
    }
}
