//! The device or file that is flashed: found, looked at, opened, written, read past the host's page cache.

use super::candidate::{Candidate, Refusal, Use};
use super::sysfs::{Block, Host};
use super::write::{CHUNK, Medium};
use crate::fail::{Class, Fail};
use crate::ui;
use anyhow::{Context, Result};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{major, minor};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a name on the command line stands for.
#[derive(Debug)]
pub enum Target {
    /// A disk, and its path with symbolic links resolved.
    Disk(PathBuf, Candidate),
    /// A plain file of `size` bytes; a missing one counts as empty.
    File { path: PathBuf, size: u64, refusals: Vec<Refusal> },
}

impl Target {
    /// Looks at what `name` is, without opening it.
    ///
    /// # Errors
    /// It is nothing that an image could be written to.
    pub fn find(name: &Path, host: &Host) -> Result<Self> {
        let refuse = |why: String| Err(Fail::new(Class::Input, format!("{}: {why}", name.display())));
        let path = match name.canonicalize() {
            Ok(path) => path,
            Err(e) if e.kind() == ErrorKind::NotFound => return Self::missing(name, host),
            Err(e) => return Err(e).with_context(|| format!("resolving {}", name.display())),
        };
        let facts = path.metadata().with_context(|| format!("looking at {}", path.display()))?;
        let kind = facts.file_type();
        if kind.is_block_device() {
            return match host.block_of(major(facts.rdev()), minor(facts.rdev()))? {
                Block::Disk(disk) => Ok(Self::Disk(path, host.disk(&disk)?)),
                Block::Partition { disk, .. } => refuse(format!(
                    "it is a partition; an image has its own: name the whole card, /dev/{disk}"
                )),
            };
        }
        if !kind.is_file() {
            return refuse("it is neither a disk nor a plain file: name one of these".to_owned());
        }
        let uses = host.uses_of_file(&path)?;
        let refusals = uses.into_iter().map(Refusal::InUse).collect();
        Ok(Self::File { path, size: facts.len(), refusals })
    }

    fn missing(name: &Path, host: &Host) -> Result<Self> {
        // A mistyped device must not become a file among the devices.
        if name.starts_with("/dev") && !name.starts_with("/dev/shm") {
            return Err(Fail::new(
                Class::Input,
                format!(
                    "{}: there is no such device; `cargo xtask flash` lists what there is",
                    name.display()
                ),
            ));
        }
        if let Some(disk) = name.to_str().filter(|name| host.has_disk(name)) {
            return Err(Fail::new(
                Class::Input,
                format!("{disk}: there is no such file; say /dev/{disk} for the disk"),
            ));
        }
        Ok(Self::File { path: name.to_owned(), size: 0, refusals: vec![] })
    }

    /// Every reason not to write an image of `needs` bytes to it.
    ///
    /// A file that is missing or empty gets the image's size. Any other is like a card of its size: somebody
    /// gave it that size, so it is not extended.
    pub fn refusals(&self, needs: u64) -> Vec<Refusal> {
        match self {
            Self::Disk(_, candidate) => candidate.refusals(needs),
            Self::File { size, refusals, .. } => {
                let mut refusals = refusals.clone();
                if (1..needs).contains(size) {
                    refusals.push(Refusal::TooSmall { has: *size, needs });
                }
                refusals
            }
        }
    }

    /// Its path, symbolic links resolved.
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk(path, _) | Self::File { path, .. } => path,
        }
    }

    /// Whether writing to it would write to the file `image`: the same file under any name, or a loop device on it.
    pub fn is(&self, image: &Path, host: &Host) -> Result<bool> {
        let image = image.canonicalize()?;
        match self {
            Self::Disk(_, disk) => {
                let uses = host.uses_of_file(&image)?;
                Ok(uses.iter().any(|used| matches!(used, Use::Held { by, .. } if *by == disk.name)))
            }
            Self::File { path, .. } => {
                let identity = |path: &Path| path.metadata().map(|facts| (facts.dev(), facts.ino()));
                Ok(path.exists() && identity(path)? == identity(&image)?)
            }
        }
    }

    /// Opens it for an image of `needs` bytes, to be written.
    pub fn open(&self, needs: u64) -> Result<Opened> {
        let path = self.path();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match self {
            // Linux refuses while it is mounted or held by anybody else, and keeps others away from now on.
            Self::Disk(..) => options.custom_flags(OFlag::O_EXCL.bits()),
            Self::File { .. } => options.create(true),
        };
        let mut file = options.open(path).map_err(|e| open_error(path, &e))?;
        if matches!(self, Self::File { size: 0, .. }) {
            file.set_len(needs).with_context(|| format!("giving {} its size", path.display()))?;
        }
        let size = file.seek(SeekFrom::End(0)).with_context(|| format!("measuring {}", path.display()))?;
        let direct = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path);
        let direct = match direct {
            Ok(file) => Some(file),
            // Some file systems cannot; the page cache is dropped instead.
            Err(e) if e.kind() == ErrorKind::InvalidInput => None,
            Err(e) => return Err(e).with_context(|| format!("opening {} to read it back", path.display())),
        };
        Ok(Opened { file, direct, size, buffer: AlignedBuffer::new() })
    }

    /// Has the kernel read the new partition table of a disk, so that the desktop shows it. Only said when it
    /// fails: the card is fine.
    pub fn reread_partitions(&self) {
        let Self::Disk(path, _) = self else { return };
        let outcome = std::process::Command::new("blockdev").arg("--rereadpt").arg(path).output();
        let failure = match outcome {
            Ok(output) if output.status.success() => return,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(e) => format!("blockdev: {e}"),
        };
        ui::say(format!(
            "warning: the new partitions do not show before the card is plugged in again ({failure})"
        ));
    }
}

fn open_error(path: &Path, error: &io::Error) -> anyhow::Error {
    let fix = match error.kind() {
        ErrorKind::PermissionDenied => "; run this as root, or as a member of the group that owns it",
        ErrorKind::ResourceBusy => "; something uses it: close the programs that do, eject its file systems",
        ErrorKind::ReadOnlyFilesystem => "; it is write-protected: move the card's lock slider",
        _ => "",
    };
    Fail::new(Class::Host, format!("opening {}: {error}{fix}", path.display()))
}

/// An open target.
pub struct Opened {
    file: File,
    /// The same, for reading past the page cache.
    direct: Option<File>,
    size: u64,
    buffer: AlignedBuffer,
}

impl Medium for Opened {
    fn size(&self) -> u64 {
        self.size
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else {
            // What has been synced is clean, so that it can be dropped; the length 0 means up to the end.
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            return self.file.read_exact_at(data, offset);
        };
        let begin = offset - offset % ALIGNMENT as u64;
        let lead = (offset - begin) as usize;
        let needed = lead + data.len();
        let buffer = self.buffer.get(needed.next_multiple_of(ALIGNMENT))?;
        let mut have = 0;
        while have < needed {
            match direct.read_at(&mut buffer[have..], begin + have as u64) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        data.copy_from_slice(&buffer[lead..needed]);
        Ok(())
    }
}

/// What O_DIRECT wants of addresses, offsets and lengths: the device's logical block, which is 512 or 4096 bytes.
const ALIGNMENT: usize = 4096;

/// Room for [`CHUNK`] bytes from any offset, and for finding an aligned beginning.
struct AlignedBuffer(Vec<u8>);

impl AlignedBuffer {
    fn new() -> Self {
        Self(vec![0; CHUNK as usize + 3 * ALIGNMENT])
    }

    fn get(&mut self, length: usize) -> io::Result<&mut [u8]> {
        let begin = self.0.as_ptr().align_offset(ALIGNMENT);
        let end = begin.saturating_add(length);
        self.0.get_mut(begin..end).ok_or_else(|| ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests;
