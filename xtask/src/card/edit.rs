//! A card's image, looked into and changed again: what people do with a card in a PC, and what wears it out.

use super::fat::{self, Fat};
use super::layout::{DATA, FAT};
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// A card image that is being changed.
pub struct Edit {
    file: File,
}

impl Edit {
    /// Opens the image; better a copy of the one under out/.
    pub fn open(image: &Path) -> Result<Self> {
        let open = || OpenOptions::new().read(true).write(true).open(image);
        Ok(Self { file: open().with_context(|| format!("opening {}", image.display()))? })
    }

    /// A file in the FAT partition.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        self.change(|fat| fat.read(path))
    }

    /// Makes or replaces a file in the FAT partition.
    pub fn write(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.change(|fat| fat.write(path, content))
    }

    /// Removes a file from the FAT partition.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        self.change(|fat| fat.remove(path))
    }

    /// Cuts off a file in the FAT partition after `size` bytes.
    pub fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.change(|fat| fat.truncate(path, size))
    }

    fn change<T>(&mut self, with: impl FnOnce(&Fat<'_, File>) -> Result<T>) -> Result<T> {
        fat::change(&mut self.file, FAT, with)
    }

    /// Overwrites the data partition with what is no file system.
    pub fn garble_data(&mut self) -> Result<()> {
        // No two sectors alike, and no zeros: repeatable, and nothing that could be taken for an empty one.
        let mut state = 0x6a69_7473_u32;
        let garbage: Vec<u8> = (0..DATA.size)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 | 1
            })
            .collect();
        self.file.seek(SeekFrom::Start(DATA.start)).context("seeking to the data partition")?;
        self.file.write_all(&garbage).context("overwriting the data partition")
    }

    /// Makes the card one of `size` bytes, larger than it is: as when the image is written to a larger card.
    pub fn grow(&mut self, size: u64) -> Result<()> {
        let now = self.file.metadata().context("asking for the image's size")?.len();
        ensure!(size >= now, "a card of {size} bytes is too small for an image of {now}");
        self.file.set_len(size).context("growing the image")
    }
}
