//! Writes archives; the crate's header has the format.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::{ALIGNMENT, DIGEST, ENTRY, HEADER, MAGIC, MOST_BYTES};

/// A file that is to be in an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewFile {
    /// Its path: parts that are not empty, with slashes between them.
    pub name: String,
    /// What Content-Type says: printable ASCII.
    pub media_type: String,
    /// When it was modified, in seconds since 1970 (UTC), if that is to be told.
    pub modified: Option<u64>,
    /// What is in it.
    pub plain: Vec<u8>,
    /// The same compressed by gzip, if that is worth it.
    pub gzip: Option<Vec<u8>>,
}

/// An archive of these files; of two of the same name, the first. `None` when it would have more than
/// [`MOST_BYTES`].
pub fn write(mut files: Vec<NewFile>) -> Option<Vec<u8>> {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.name == b.name);
    let mut archive = Archive { bytes: vec![0; HEADER + files.len() * ENTRY], pieces: HashMap::new() };
    // Before the contents, so that the index is together.
    let texts: Vec<_> = files
        .iter()
        .map(|file| [file.name.as_bytes(), file.media_type.as_bytes()].map(|text| archive.add(text, 1)))
        .collect();
    for (number, (file, [name, media_type])) in files.iter().zip(texts).enumerate() {
        let plain = archive.add(&file.plain, ALIGNMENT);
        let gzip = file.gzip.as_ref().map(|gzip| archive.add(gzip, ALIGNMENT));
        let modified = file.modified.unwrap_or_default();
        let none = Piece { offset: 0, length: 0, digest: [0; DIGEST] };
        let gzip = gzip.unwrap_or(none);
        let words = [
            name.offset,
            name.length,
            media_type.offset,
            media_type.length,
            modified as u32,
            (modified >> 32) as u32,
            plain.offset,
            plain.length,
            gzip.offset,
            gzip.length,
        ];
        let entry = words.iter().flat_map(|word| word.to_le_bytes()).chain(plain.digest).chain(gzip.digest);
        let at = HEADER + number * ENTRY;
        archive.bytes[at..at + ENTRY].iter_mut().zip(entry).for_each(|(byte, value)| *byte = value);
        if archive.bytes.len() > MOST_BYTES {
            return None;
        }
    }
    let length = archive.bytes.len() as u32;
    archive.bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    archive.bytes[8..12].copy_from_slice(&length.to_le_bytes());
    archive.bytes[12..16].copy_from_slice(&(files.len() as u32).to_le_bytes());
    Some(archive.bytes)
}

struct Archive {
    bytes: Vec<u8>,
    /// What is there already, by its whole digest and how it must lie.
    pieces: HashMap<([u8; 32], usize), Piece>,
}

#[derive(Clone, Copy)]
struct Piece {
    offset: u32,
    length: u32,
    digest: [u8; DIGEST],
}

impl Archive {
    /// Where these bytes are, at a multiple of `alignment`.
    fn add(&mut self, bytes: &[u8], alignment: usize) -> Piece {
        let whole: [u8; 32] = Sha256::digest(bytes).into();
        let Archive { bytes: all, pieces } = self;
        *pieces.entry((whole, alignment)).or_insert_with(|| {
            all.resize(all.len().next_multiple_of(alignment), 0);
            let offset = all.len() as u32;
            all.extend_from_slice(bytes);
            let mut digest = [0; DIGEST];
            digest.copy_from_slice(&whole[..DIGEST]);
            Piece { offset, length: bytes.len() as u32, digest }
        })
    }
}
