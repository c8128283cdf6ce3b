//! Makes archives of folders.
//!
//! What is packed is decided by names and contents alone, so that the result can be made again: files in order of their
//! names, dates only if asked for, gzip without a name or a time in it.

mod archive;
mod folder;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub use archive::{NewFile, write};

/// How to pack.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Also keeps files compressed, where that saves a tenth.
    pub gzip: bool,
    /// What is told of files' age.
    pub dates: Dates,
}

/// What is told of files' age.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dates {
    /// Nothing: their contents tell whether they have changed.
    #[default]
    Unknown,
    /// This, for all, in seconds since 1970 (UTC).
    All(u64),
    /// What the file system says.
    Modified,
}

/// What a folder became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// The archive.
    pub archive: Vec<u8>,
    /// Files in it.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Of these, how many are compressed, too, and the bytes of these before and after.
    pub compressed: (usize, u64, u64),
    /// What was left out since its name begins with a dot: paths in the folder.
    pub left_out: Vec<PathBuf>,
    /// Whether there is a page for `/`.
    pub has_index: bool,
}

/// Why a folder could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Reading failed.
    #[error("reading {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Names of files are parts of addresses, and these are UTF-8.
    #[error("{} has a name that is not UTF-8, or has control characters: rename it", .0.display())]
    Name(PathBuf),
    /// Neither a file nor a folder.
    #[error("{} is neither a file nor a folder: copy what it stands for, or remove it", .0.display())]
    Kind(PathBuf),
    /// Nothing to serve.
    #[error("{} has no files in it", .0.display())]
    Empty(PathBuf),
    /// More than a node takes.
    #[error("{} has more than {} MiB of files, and a node takes no more", path.display(), crate::MOST_BYTES >> 20)]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
}

/// Packs a folder. `progress` is told what is packed next: its name and its length in bytes.
///
/// # Errors
/// See [`PackError`].
pub fn pack(
    folder: &Path,
    options: &Options,
    mut progress: impl FnMut(&str, u64),
) -> Result<Packed, PackError> {
    let found = folder::list(folder)?;
    if found.files.is_empty() {
        return Err(PackError::Empty(folder.to_owned()));
    }
    let bytes = found.files.iter().map(|file| file.length).sum();
    let too_large = || PackError::TooLarge { path: folder.to_owned() };
    if bytes > crate::MOST_BYTES as u64 {
        return Err(too_large());
    }
    let has_index = found.files.iter().any(|file| file.name == "index.html");
    let mut compressed = (0, 0, 0);
    let mut files = Vec::with_capacity(found.files.len());
    for file in found.files {
        progress(&file.name, file.length);
        let plain = std::fs::read(&file.path)
            .map_err(|source| PackError::Read { path: file.path.clone(), source })?;
        let gzip = if options.gzip { compress(&plain) } else { None };
        if let Some(gzip) = &gzip {
            compressed.0 += 1;
            compressed.1 += plain.len() as u64;
            compressed.2 += gzip.len() as u64;
        }
        let modified = match options.dates {
            Dates::Unknown => None,
            Dates::All(date) => Some(date),
            Dates::Modified => file.modified,
        };
        let media_type = media_type(&file.name, &plain);
        files.push(NewFile { name: file.name, media_type, modified, plain, gzip });
    }
    let count = files.len();
    let archive = write(files).ok_or_else(too_large)?;
    Ok(Packed { archive, files: count, bytes, compressed, left_out: found.left_out, has_index })
}

/// The same by gzip (RFC 1952), if that is a tenth shorter at least: a browser has to unpack it.
fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    /// "unknown", so that it does not matter where it is made (RFC 1952, section 2.3.1).
    const NO_OPERATING_SYSTEM: u8 = 255;
    let header = flate2::GzBuilder::new().mtime(0).operating_system(NO_OPERATING_SYSTEM);
    let mut gzip = header.write(Vec::new(), flate2::Compression::best());
    // Writing to a vector never fails.
    gzip.write_all(plain).ok()?;
    let gzip = gzip.finish().ok()?;
    (gzip.len() <= plain.len() - plain.len() / 10 && gzip.len() < plain.len()).then_some(gzip)
}

/// What Content-Type says: by the name's extension. Text says that it is UTF-8 if that is so.
fn media_type(name: &str, content: &[u8]) -> String {
    let media_type = mime_guess::from_path(name).first_or_octet_stream();
    let is_text = media_type.type_() == mime_guess::mime::TEXT;
    let charset = if is_text && std::str::from_utf8(content).is_ok() { "; charset=utf-8" } else { "" };
    format!("{media_type}{charset}")
}
