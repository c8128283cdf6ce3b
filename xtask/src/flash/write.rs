//! Writing a mapped image to a medium, and reading it back: in what order, and what is wiped.
//!
//! The order makes an interruption harmless:
//!
//! 1. The first and the last MiB are zeroed: partition table, boot loader, and, at the end, what an earlier use
//!    may have left (GPT's backup header, RAID superblocks). From here on the medium does not boot.
//! 2. Everything after the first MiB is written, and brought to the medium.
//! 3. Then the boot loader, and last of all the block with the partition table.
//!
//! Whatever is not mapped keeps what it had. The map's maker has seen to the zeros that matter (see `bmap`).

use crate::bmap::{Bmap, Range};
use crate::download::hex;
use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::ops;
use std::os::unix::fs::FileExt;

/// Zeroed at both ends of the medium, in bytes. The cards' first partition begins after it.
const ENDS: u64 = 1 << 20;

/// The partition table's block, in bytes: written last, by itself.
const TABLE: u64 = 4096;

/// Bytes written or read at a time.
pub const CHUNK: u64 = 1 << 20;

/// Bytes after which the medium is waited for, so that progress is of the medium and not of the host's memory.
const SYNC_EVERY: u64 = 8 << 20;

/// What can be flashed.
pub trait Medium {
    /// Bytes that it has.
    fn size(&self) -> u64;
    /// Writes all of `data` at byte `offset`.
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Fills `data` from byte `offset` of the medium itself, not from what the host remembers of it. At most
    /// [`CHUNK`] bytes.
    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()>;
}

/// Checks that `image` is what `map` was made of, before anything is written.
pub fn check_source(image: &File, map: &Bmap) -> Result<()> {
    let changed = |what: String| {
        Fail::new(
            Class::Integrity,
            format!(
                "{what}: it was changed after its map was made; build it again, or remove the map to write all of it"
            ),
        )
    };
    let size = image.metadata().context("reading the image's size")?.len();
    if size != map.image_size() {
        return Err(changed(format!("the image has {size} bytes instead of {}", map.image_size())));
    }
    for range in map.ranges() {
        let read = |offset, data: &mut [u8]| image.read_exact_at(data, offset);
        let found = digest(map.bytes(range), read, &|_| {}).context("reading the image")?;
        if found != range.sha256 {
            return Err(changed(format!("the image's {} differ from its map", blocks(range))));
        }
    }
    Ok(())
}

/// Writes the mapped blocks of `image`. `progress` is told of bytes as they reach the medium.
///
/// # Errors
/// The medium is too small (nothing was written then), or fails.
pub fn write(image: &File, map: &Bmap, medium: &mut impl Medium, progress: &dyn Fn(u64)) -> Result<()> {
    let size = medium.size();
    if size < map.image_size() {
        return Err(Fail::new(
            Class::Input,
            format!("the medium has {size} bytes and the image {}: take a larger one", map.image_size()),
        ));
    }
    wipe_ends(medium)?;
    let (body, loader, table) = pieces(map);
    let mut buffer = vec![0; CHUNK as usize];
    for part in [body, loader, table] {
        let mut unsynced = 0;
        for piece in part {
            let data = &mut buffer[..(piece.end - piece.start) as usize];
            image.read_exact_at(data, piece.start).context("reading the image")?;
            medium.write(piece.start, data).with_context(|| format!("writing at byte {}", piece.start))?;
            unsynced += data.len() as u64;
            if unsynced >= SYNC_EVERY {
                medium.sync().with_context(|| format!("writing up to byte {}", piece.end))?;
                progress(std::mem::take(&mut unsynced));
            }
        }
        medium.sync().context("writing")?;
        progress(unsynced);
    }
    Ok(())
}

/// Reads the mapped blocks back and compares their checksums. If one differs, the medium's ends are wiped, so
/// that it does not boot, and the error names the blocks.
pub fn verify(image: &File, map: &Bmap, medium: &mut impl Medium, progress: &dyn Fn(u64)) -> Result<()> {
    let mut bad = Vec::new();
    for range in map.ranges() {
        let bytes = map.bytes(range);
        let found = digest(bytes.clone(), |offset, data| medium.read(offset, data), progress)
            .with_context(|| format!("reading {} back", blocks(range)))?;
        if found != range.sha256 {
            bad.push((range, found));
        }
    }
    let Some((range, found)) = bad.first() else { return Ok(()) };
    let place = first_difference(image, map.bytes(range), medium)?;
    let place = place.map_or("nowhere when read again".to_owned(), |at| format!("first at byte {at}"));
    wipe_ends(medium).context("making it unbootable after a failed verification")?;
    let more = if bad.len() > 1 { format!(", and {} more ranges", bad.len() - 1) } else { String::new() };
    Err(Fail::new(
        Class::Integrity,
        format!(
            "{} read back differ, {place} (sha256 {} instead of {}){more}: the card is bad or a fake; \
             it was made unbootable; take another card or reader",
            blocks(range),
            hex(found),
            hex(&range.sha256)
        ),
    ))
}

fn wipe_ends(medium: &mut impl Medium) -> Result<()> {
    let size = medium.size();
    let zeros = vec![0; ENDS as usize];
    for begin in [0, size.saturating_sub(ENDS)] {
        let length = (size - begin).min(ENDS) as usize;
        medium.write(begin, &zeros[..length]).with_context(|| format!("wiping at byte {begin}"))?;
    }
    medium.sync().context("wiping both ends")
}

type Pieces = Vec<ops::Range<u64>>;

/// The mapped bytes in pieces of at most [`CHUNK`] bytes: what comes after the first MiB, what is in it, and the
/// partition table's block.
fn pieces(map: &Bmap) -> (Pieces, Pieces, Pieces) {
    let (mut body, mut loader, mut table) = (vec![], vec![], vec![]);
    for range in map.ranges() {
        let ops::Range { mut start, end } = map.bytes(range);
        while start < end {
            let (part, limit) = match start {
                0..TABLE => (&mut table, TABLE),
                TABLE..ENDS => (&mut loader, ENDS),
                _ => (&mut body, u64::MAX),
            };
            let next = end.min(limit).min(start + CHUNK);
            part.push(start..next);
            start = next;
        }
    }
    (body, loader, table)
}

/// SHA-256 of `bytes` as `read` gives them.
fn digest(
    bytes: ops::Range<u64>,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    progress: &dyn Fn(u64),
) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK as usize];
    let mut offset = bytes.start;
    while offset < bytes.end {
        let data = &mut buffer[..(bytes.end - offset).min(CHUNK) as usize];
        read(offset, data)?;
        hash.update(&*data);
        offset += data.len() as u64;
        progress(data.len() as u64);
    }
    Ok(hash.finalize().into())
}

/// The first byte of `bytes` that is not the image's. A failing card may give the right ones the second time.
fn first_difference(image: &File, bytes: ops::Range<u64>, medium: &mut impl Medium) -> Result<Option<u64>> {
    let (mut wanted, mut found) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut offset = bytes.start;
    while offset < bytes.end {
        let length = (bytes.end - offset).min(CHUNK) as usize;
        image.read_exact_at(&mut wanted[..length], offset).context("reading the image")?;
        medium.read(offset, &mut found[..length]).with_context(|| format!("reading back byte {offset}"))?;
        let differs = wanted[..length].iter().zip(&found[..length]).position(|(a, b)| a != b);
        if let Some(at) = differs {
            return Ok(Some(offset + at as u64));
        }
        offset += length as u64;
    }
    Ok(None)
}

fn blocks(range: &Range) -> String {
    format!("blocks {}-{}", range.first, range.last)
}

#[cfg(test)]
mod tests;
