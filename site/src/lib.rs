//! A folder of web pages as bytes: what `cargo xtask unikernel pack` appends to the unikernel `www`, and `www` serves.
//!
//! An archive is read where it lies, nothing is copied. Numbers are little-endian words of 32 bits, offsets are counted
//! from the archive's first byte. It begins with its index, so that one look at neighbouring pages finds a file:
//!
//! ```text
//!  0  "JSITE01\n"
//!  8  bytes of the archive
//! 12  number of files
//! 16  files, 72 bytes each, sorted by name (bytewise); no two have the same
//!  …  names and media types
//!  …  contents, each at a multiple of 64
//! ```
//!
//! and each file is:
//!
//! ```text
//!  0  name: offset, length        "a/index.html": UTF-8, no slash in front
//!  8  media type: offset, length  what goes into Content-Type; printable ASCII
//! 16  when it was modified        64 bits, seconds since 1970 (UTC); 0 if that is not known
//! 24  content: offset, length
//! 32  compressed by gzip: offset, length; offset 0 if there is none
//! 40  the content's digest        the first 16 bytes of its SHA-256
//! 56  the compressed one's digest
//! ```
//!
//! Files with the same content share it. The same folder gives the same archive, wherever and whenever it is made.
//!
//! [`Site::read`] checks all of the index, once. `image` (in [`append`]) says how an archive comes to be in memory.
#![cfg_attr(not(any(test, feature = "pack")), no_std)]

extern crate alloc;

mod image;
#[cfg(feature = "pack")]
pub mod pack;

use core::fmt;

pub use image::{Mark, NotForSites, append, kernel};

/// Most bytes of an image that a node takes: all its kernels and ramdisks together have so much room in dom0's memory.
pub const MOST_BYTES: usize = 64 << 20;

/// Bytes of a digest.
pub const DIGEST: usize = 16;

/// Where contents may lie: at multiples of this, the line of a cache.
#[cfg(feature = "pack")]
const ALIGNMENT: usize = 64;

const MAGIC: &[u8; 8] = b"JSITE01\n";
const HEADER: usize = 16;
const ENTRY: usize = 72;

/// An archive, checked.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    bytes: &'a [u8],
    files: &'a [[u8; ENTRY]],
}

/// A file of a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File<'a> {
    /// Its path in the folder: no slash in front.
    pub name: &'a str,
    /// What Content-Type says.
    pub media_type: &'a str,
    /// When it was modified, in seconds since 1970 (UTC), if that is known.
    pub modified: Option<u64>,
    /// What is in it.
    pub plain: Content<'a>,
    /// The same compressed by gzip, if that is worth it.
    pub gzip: Option<Content<'a>>,
}

/// Bytes, and what tells them from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content<'a> {
    /// All of them.
    pub bytes: &'a [u8],
    /// The beginning of their SHA-256.
    pub digest: [u8; DIGEST],
}

/// Why bytes are no archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damaged {
    /// They do not begin like one.
    Magic,
    /// They end before the archive does.
    CutOff,
    /// The file of this number, counted from 0, has something out of bounds, or a text that is none.
    File(usize),
    /// The file of this number does not come after the one before it.
    Order(usize),
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damaged::Magic => f.write_str("what is behind the kernel is no site, or one of another version"),
            Damaged::CutOff => f.write_str("the site is cut off"),
            Damaged::File(number) => write!(f, "file {number} of the site is damaged"),
            Damaged::Order(number) => write!(f, "file {number} of the site is not in order"),
        }?;
        f.write_str(": pack it again")
    }
}

impl core::error::Error for Damaged {}

impl<'a> Site<'a> {
    /// Checks the index. What is behind the archive's end is left alone.
    ///
    /// # Errors
    /// See [`Damaged`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Damaged> {
        if bytes.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(Damaged::Magic);
        }
        let word =
            |at| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word));
        let length = word(8).ok_or(Damaged::CutOff)? as usize;
        let count = word(12).ok_or(Damaged::CutOff)? as usize;
        let bytes = bytes.get(..length).ok_or(Damaged::CutOff)?;
        let end = count.checked_mul(ENTRY).and_then(|size| size.checked_add(HEADER));
        let index = end.and_then(|end| bytes.get(HEADER..end)).ok_or(Damaged::CutOff)?;
        let site = Site { bytes, files: index.as_chunks().0 };
        let mut before = None;
        for (number, entry) in site.files.iter().enumerate() {
            let file = site.file(entry).ok_or(Damaged::File(number))?;
            if before.is_some_and(|before| before >= file.name) {
                return Err(Damaged::Order(number));
            }
            before = Some(file.name);
        }
        Ok(site)
    }

    /// The file of this name.
    pub fn find(&self, name: &str) -> Option<File<'a>> {
        let found = self.files.binary_search_by(|entry| self.name(entry).cmp(&Some(name.as_bytes())));
        self.file(self.files.get(found.ok()?)?)
    }

    /// All files, sorted by name.
    pub fn files(&self) -> impl ExactSizeIterator<Item = File<'a>> {
        let site = *self;
        self.files.iter().map(move |entry| site.file(entry).expect("it was checked"))
    }

    /// Bytes of the archive.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn file(&self, entry: &[u8; ENTRY]) -> Option<File<'a>> {
        let text = |bytes: Option<&'a [u8]>| core::str::from_utf8(bytes?).ok();
        let seconds = u64::from(word(entry, 16)) | u64::from(word(entry, 20)) << 32;
        let gzip = match word(entry, 32) {
            0 => None,
            _ => Some(Content { bytes: self.slice(entry, 32)?, digest: digest(entry, 56) }),
        };
        let media_type = text(self.slice(entry, 8))?;
        // A line's end in it would begin another field.
        let printable = media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        printable.then_some(File {
            name: text(self.name(entry))?,
            media_type,
            modified: Some(seconds).filter(|seconds| *seconds > 0),
            plain: Content { bytes: self.slice(entry, 24)?, digest: digest(entry, 40) },
            gzip,
        })
    }

    fn name(&self, entry: &[u8; ENTRY]) -> Option<&'a [u8]> {
        self.slice(entry, 0)
    }

    /// The bytes whose offset and length are at `at` in an entry.
    fn slice(&self, entry: &[u8; ENTRY], at: usize) -> Option<&'a [u8]> {
        let (start, length) = (word(entry, at) as usize, word(entry, at + 4) as usize);
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// `at` is that of a field of the format.
fn word(entry: &[u8; ENTRY], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&entry[at..at + 4]);
    u32::from_le_bytes(word)
}

fn digest(entry: &[u8; ENTRY], at: usize) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&entry[at..at + DIGEST]);
    digest
}

#[cfg(all(test, feature = "pack"))]
mod tests;
