//! What a machine starts from.

use crate::board::Board;
use crate::card::Edit;
use crate::fail::{Class, Fail};
use crate::image::Image;
use crate::initramfs::{self, ExtraFile};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What a machine starts from.
pub enum Start {
    /// Hypervisor, dom0's kernel and initramfs: QEMU puts them into RAM.
    Memory {
        /// The three files, and the board that they are for.
        image: Image,
        /// Files that replace or join those of the initramfs.
        extra_files: Vec<ExtraFile>,
        /// A disk that is in the machine, too.
        disk: Option<PathBuf>,
    },
    /// A card in the machine's slot: the boot ROM takes it from there.
    Card {
        /// What the card is for.
        board: Board,
        /// The card's image; the node writes to it.
        card: PathBuf,
    },
}

impl Start {
    /// An image with `config` as its `/etc/jitsu.toml`, and more files.
    pub fn configured(image: Image, config: String, mut extra_files: Vec<ExtraFile>) -> Self {
        let content = config.into_bytes();
        extra_files.push(ExtraFile { path: "/etc/jitsu.toml".into(), mode: 0o644, content });
        Self::Memory { image, extra_files, disk: None }
    }

    /// A copy in `directory` of the card that belongs to `image`, and as large as QEMU wants cards to be.
    ///
    /// # Errors
    /// When the image has no card, or it cannot be copied.
    pub fn card(image: &Image, directory: &Path) -> Result<Self> {
        Ok(Self::Card { board: image.board.clone(), card: copy_of_card(image, directory)? })
    }

    /// The board.
    pub fn board(&self) -> &Board {
        match self {
            Self::Memory { image, .. } => &image.board,
            Self::Card { board, .. } => board,
        }
    }
}

/// A copy of the card that belongs to `image`, put into `directory`. QEMU's cards have a power of two of bytes, as
/// most real ones have about.
///
/// # Errors
/// When the image has no card, or it cannot be copied.
pub fn copy_of_card(image: &Image, directory: &Path) -> Result<PathBuf> {
    let original = image.card.as_ref().ok_or_else(|| {
        Fail::new(Class::Input, format!("board {} does not start from a card", image.board.name))
    })?;
    let copy = directory.join(format!("{}.img", image.board.name));
    copy_sparse(original, &copy)
        .with_context(|| format!("copying {} to {}", original.display(), copy.display()))?;
    let size = std::fs::metadata(&copy).with_context(|| copy.display().to_string())?.len();
    Edit::open(&copy)?.grow(size.next_power_of_two())?;
    Ok(copy)
}

/// Most of a card is zeros, which need not be written.
fn copy_sparse(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; 64 << 10];
    to.set_len(from.metadata()?.len())?;
    loop {
        let length = from.read(&mut buffer)?;
        let piece = &buffer[..length];
        if length == 0 {
            return Ok(());
        } else if piece.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(length as i64))?;
        } else {
            to.write_all(piece)?;
        }
    }
}

/// The image's initramfs, or a copy in `directory` with the extra files on top.
pub fn initramfs_of(image: &Image, files: &[ExtraFile], directory: &Path) -> Result<PathBuf> {
    if files.is_empty() {
        return Ok(image.initramfs());
    }
    initramfs::with_extra_files(&image.initramfs(), files, directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;

    #[test]
    fn copies_are_equal_and_leave_zeros_out() {
        let directory = tempfile::tempdir().expect("directory");
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let mut content = vec![0; 1_000_000];
        content[300_000] = 1;
        content[999_999] = 2;
        std::fs::write(&from, &content).expect("write");
        copy_sparse(&from, &to).expect("copy");
        assert!(std::fs::read(&to).expect("read") == content);
        use std::os::unix::fs::MetadataExt;
        assert!(std::fs::metadata(&to).expect("metadata").blocks() * 512 < 300_000);
    }

    #[test]
    fn a_board_without_a_card_is_refused() {
        let board = Board::read(board::DEFAULT).expect("board");
        let image = Image { board, directory: "/nowhere".into(), card: None };
        let error = Start::card(&image, Path::new("/nowhere")).err().expect("refused");
        assert!(error.to_string().contains("does not start from a card"), "{error}");
    }
}
