//! Recognises an ARM zImage by its first bytes (Linux, `Documentation/arch/arm/booting.rst`, section 5,
//! and `arch/arm/boot/compressed/head.S`): a little-endian header of three words at 0x24.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::DiskIdentity;
use crate::text::chain;

/// Most bytes that the kernels and ramdisks of all services may have together: they are kept in dom0's memory, half of
/// which they may take where it is smallest (128 MiB, `board/*/board.toml`).
pub const MAX_KERNELS: u64 = 64 << 20;

/// Bytes that the check needs: up to the end of the zImage header.
pub const HEAD_BYTES: usize = 0x30;

/// Offset and value of the word that marks a zImage.
const MAGIC_OFFSET: usize = 0x24;
const MAGIC: u32 = 0x016f_2818;
/// Offsets of the image's first address and of the address after its last byte.
const START_OFFSET: usize = 0x28;
const END_OFFSET: usize = 0x2c;

/// The beginning of a kernel file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelHead {
    /// The file's first bytes, zeroes after its end.
    pub head: [u8; HEAD_BYTES],
    /// The file's length in bytes.
    pub length: u64,
}

impl KernelHead {
    /// For a kernel that cannot be looked at: a small zImage.
    pub fn stand_in() -> Self {
        let mut head = [0; HEAD_BYTES];
        head[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(&MAGIC.to_le_bytes());
        head[END_OFFSET] = 64;
        KernelHead { head, length: 64 }
    }
}

/// Where kernels are looked for, and how files are looked at.
pub struct Kernels<'a> {
    /// Where relative names start before all other places; `None` when there is no card.
    pub card: Option<PathBuf>,
    /// Returns the first bytes of the file at a path, as [`probe_kernel`] does.
    pub probe: &'a dyn Fn(&Path) -> io::Result<KernelHead>,
    /// Looks at what is to be a disk, as [`probe_disk`](super::probe_disk) does.
    pub disk: &'a dyn Fn(&Path) -> io::Result<DiskIdentity>,
}

impl Kernels<'_> {
    /// The file of that name, or what is wrong: on the card first, then in `folder`. `what` it is, is for people.
    pub fn find(&self, what: &str, name: &str, folder: &Path) -> Result<(PathBuf, KernelHead), String> {
        let path = folder.join(name);
        // Joined with an absolute path, the card has no say.
        let on_card = self.card.as_ref().map(|card| card.join(name)).filter(|on_card| *on_card != path);
        let mut elsewhere = String::new();
        if let Some(on_card) = on_card {
            match (self.probe)(&on_card) {
                Ok(head) => return Ok((on_card, head)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    elsewhere = format!(", nor {}", on_card.display());
                }
                // One that is there and damaged is not silently replaced by another of the same name.
                Err(error) => {
                    return Err(format!("{what} {} cannot be read: {}", on_card.display(), chain(&error)));
                }
            }
        }
        match (self.probe)(&path) {
            Ok(head) => Ok((path, head)),
            Err(error) => {
                Err(format!("{what} {}{elsewhere} cannot be read: {}", path.display(), chain(&error)))
            }
        }
    }
}

/// Reads the beginning of a kernel or ramdisk.
///
/// # Errors
/// Whatever opening or reading the file fails with, and [`io::ErrorKind::InvalidInput`] for what is no file.
pub fn probe_kernel(path: &Path) -> io::Result<KernelHead> {
    let (file, length) = open(path)?;
    let mut start = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut start)?;
    let mut head = [0; HEAD_BYTES];
    head[..start.len()].copy_from_slice(&start);
    Ok(KernelHead { head, length })
}

/// Reads a whole kernel or ramdisk.
///
/// # Errors
/// As [`probe_kernel`], and [`io::ErrorKind::FileTooLarge`] for one with more than [`MAX_KERNELS`] bytes.
pub fn read_kernel(path: &Path) -> io::Result<Arc<[u8]>> {
    let (mut file, length) = open(path)?;
    let length = usize::try_from(length).ok().filter(|length| *length as u64 <= MAX_KERNELS);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    // Read in place: a vector would be copied, and for a moment take twice the memory.
    let mut image: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    if let Some(image) = Arc::get_mut(&mut image) {
        file.read_exact(image)?;
    }
    Ok(image)
}

/// The file and its length in bytes.
fn open(path: &Path) -> io::Result<(File, u64)> {
    // Asked first: opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The image's size in bytes, or what the file is instead and what to take.
pub fn image_size(kernel: &KernelHead) -> Result<u64, (String, &'static str)> {
    let word = |at: usize| {
        let bytes = &kernel.head[at..at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    if word(MAGIC_OFFSET) != MAGIC {
        let (kind, fix) = other_kind(kernel, word(MAGIC_OFFSET));
        return Err((format!("is not an ARM zImage but {kind}"), fix));
    }
    let (start, end) = (word(START_OFFSET), word(END_OFFSET));
    let Some(size) = end.checked_sub(start).filter(|size| *size > 0) else {
        return Err((
            format!("has a broken zImage header: start {start:#x}, end {end:#x}"),
            "build the kernel again",
        ));
    };
    let size = u64::from(size);
    if kernel.length < size {
        return Err((
            format!("is cut off: {} of {size} bytes are there", kernel.length),
            "copy the whole file again",
        ));
    }
    Ok(size)
}

fn other_kind(kernel: &KernelHead, magic: u32) -> (&'static str, &'static str) {
    const ZIMAGE: &str = "use the zImage from arch/arm/boot";
    match kernel.head {
        _ if kernel.length == 0 => ("an empty file", "copy the kernel again"),
        _ if magic == MAGIC.swap_bytes() => ("a big-endian zImage", "build the kernel little-endian"),
        [0x7f, b'E', b'L', b'F', ..] => ("an ELF file", ZIMAGE),
        [0x1f, 0x8b, ..] => ("a gzip file", "unpack it"),
        [0x27, 0x05, 0x19, 0x56, ..] => ("a U-Boot image (uImage)", ZIMAGE),
        _ => ("something else", ZIMAGE),
    }
}
