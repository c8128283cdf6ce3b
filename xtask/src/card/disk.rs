//! A card in memory: only the blocks that were written exist, the others read as zeros.
//!
//! What was written is what has to be written to a card, zeros included: the tables of an empty file system
//! must be zeros whatever the card held before. That is known here, and could not be found in a file again
//! without asking the file system that it lies on.

use super::BLOCK;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

const BLOCK_SIZE: usize = BLOCK as usize;

/// The card.
pub struct Disk {
    size: u64,
    position: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_SIZE]>>,
}

impl Disk {
    /// A card of `size` bytes, a multiple of [`BLOCK`].
    pub fn new(size: u64) -> Self {
        debug_assert!(size.is_multiple_of(BLOCK), "a card of whole blocks");
        Self { size, position: 0, blocks: BTreeMap::new() }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes at `offset`, and fails when that goes beyond the end.
    pub fn put(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(data)
    }

    /// The blocks that were written, in order; numbers are those of [`BLOCK`]s.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &[u8; BLOCK_SIZE])> {
        self.blocks.iter().map(|(&number, content)| (number, &**content))
    }

    /// What was written as ranges of blocks, in order, apart from each other.
    pub fn mapped(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &number in self.blocks.keys() {
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        ranges
    }

    /// The rest of the block at the position: its number, and where in it the next bytes are, `length` at most.
    fn here(&self, length: usize) -> (u64, Range<usize>) {
        let (number, start) = (self.position / BLOCK, (self.position % BLOCK) as usize);
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        (number, start..start + length.min(BLOCK_SIZE - start).min(left))
    }
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (number, range) = self.here(buffer.len());
        let target = &mut buffer[..range.len()];
        match self.blocks.get(&number) {
            Some(block) => target.copy_from_slice(&block[range.clone()]),
            None => target.fill(0),
        }
        self.position += range.len() as u64;
        Ok(range.len())
    }
}

impl Write for Disk {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (number, range) = self.here(buffer.len());
        if range.is_empty() {
            return Ok(0);
        }
        let block = self.blocks.entry(number).or_insert_with(|| Box::new([0; BLOCK_SIZE]));
        block[range.clone()].copy_from_slice(&buffer[..range.len()]);
        self.position += range.len() as u64;
        Ok(range.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position before the card's start")
        })?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_mapped_and_the_rest_reads_as_zeros() {
        let mut disk = Disk::new(8 * BLOCK);
        disk.put(BLOCK - 1, b"ab").expect("put");
        disk.put(5 * BLOCK, &[0]).expect("put");
        assert_eq!(disk.mapped(), [0..2, 5..6]);
        let mut all = Vec::new();
        disk.seek(SeekFrom::Start(0)).expect("seek");
        disk.read_to_end(&mut all).expect("read");
        assert_eq!(all.len() as u64, 8 * BLOCK);
        assert_eq!(&all[BLOCK_SIZE - 2..BLOCK_SIZE + 2], b"\0ab\0");
        assert_eq!(all.iter().filter(|&&byte| byte != 0).count(), 2);
    }

    #[test]
    fn nothing_is_written_beyond_the_end() {
        let mut disk = Disk::new(BLOCK);
        assert!(disk.put(BLOCK - 1, b"ab").is_err());
        assert!(disk.put(BLOCK, b"a").is_err());
        assert!(disk.seek(SeekFrom::Current(-1_000_000)).is_err());
    }
}
