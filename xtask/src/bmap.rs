//! Block maps: which blocks of an image have to be written to a card, and their checksums.
//!
//! The format is version 2.0 of bmaptool's (package `bmap-tools`), an XML document beside the image, so that
//! people may flash with that tool as well:
//!
//! ```xml
//! <bmap version="2.0">
//!     <ImageSize> bytes </ImageSize>      <BlockSize> bytes </BlockSize>
//!     <BlocksCount> n </BlocksCount>      <MappedBlocksCount> n </MappedBlocksCount>
//!     <ChecksumType> sha256 </ChecksumType>
//!     <BmapFileChecksum> of this file, computed with 64 zeros in this place </BmapFileChecksum>
//!     <BlockMap>
//!         <Range chksum="of the blocks' bytes"> first-last </Range>      <!-- or one number -->
//!     </BlockMap>
//! </bmap>
//! ```
//!
//! A block is mapped when it has a byte that is not zero, or when the image's maker requires it. The second
//! half matters: what is not mapped keeps what the card had there before, and by its content alone a hole
//! cannot be told from zeros that a file system relies on (FAT entries, inode tables, an empty journal). Whether
//! the image is sparse on the host's disk makes no difference, so that a copy of it has the same map.

use crate::download::hex;
use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::ops;
use std::path::Path;

/// Bytes in a block of the maps made here; those of other tools may differ.
pub const BLOCK_SIZE: u64 = 4096;

/// Largest map that is read, in bytes. One with a range per 8 KiB of a 1 GiB image has less.
const MAP_LIMIT: u64 = 16 << 20;

/// Largest image that a map may speak of, in bytes: far above any card, far below where sums overflow.
const IMAGE_LIMIT: u64 = 1 << 48;

/// Bytes read from the image at a time; a multiple of [`BLOCK_SIZE`].
const CHUNK: usize = 1 << 20;

/// In the place of the map's own checksum while that is computed.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The map of one image. Whoever has one can rely on what [`Bmap::parse`] checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmap {
    image_size: u64,
    block_size: u64,
    ranges: Vec<Range>,
}

/// Consecutive mapped blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first block, counted from 0.
    pub first: u64,
    /// The last block, which is part of the range.
    pub last: u64,
    /// SHA-256 of the blocks' bytes; the image's last block may be a part of one.
    pub sha256: [u8; 32],
}

impl Bmap {
    /// Maps the image at `path`. What lies in `required` (ranges of bytes, in any order, possibly overlapping)
    /// is mapped even where it is zero.
    ///
    /// # Errors
    /// The image cannot be read or is empty; a required range does not lie in it.
    pub fn of(path: &Path, required: &[ops::Range<u64>]) -> Result<Self> {
        let reading = || format!("reading image {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let size = file.metadata().with_context(reading)?.len();
        Self::of_reader(file, size, required).with_context(reading)
    }

    fn of_reader(mut image: impl Read, size: u64, required: &[ops::Range<u64>]) -> Result<Self> {
        if size == 0 || size > IMAGE_LIMIT {
            return Err(Fail::new(Class::Input, format!("{size} bytes are no image of a card")));
        }
        let required = required_blocks(size, required)?;
        let mut ahead = required.iter().peekable();
        let mut mapper = Mapper::default();
        let mut buffer = vec![0; CHUNK];
        let mut block = 0;
        let mut left = size;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK as u64) as usize];
            image.read_exact(chunk)?;
            left -= chunk.len() as u64;
            for bytes in chunk.chunks(BLOCK_SIZE as usize) {
                while ahead.next_if(|blocks| blocks.end <= block).is_some() {}
                let needed = ahead.peek().is_some_and(|blocks| blocks.contains(&block));
                mapper.block(block, bytes, needed || !is_zero(bytes));
                block += 1;
            }
        }
        Ok(Self { image_size: size, block_size: BLOCK_SIZE, ranges: mapper.finish(block) })
    }

    /// The map's file at `path`; see [`Bmap::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let reading = || format!("reading block map {}", path.display());
        let mut text = String::new();
        let file = File::open(path).with_context(reading)?;
        let size = file.take(MAP_LIMIT + 1).read_to_string(&mut text).with_context(reading)?;
        if size as u64 > MAP_LIMIT {
            return Err(Fail::new(Class::Integrity, format!("larger than {MAP_LIMIT} bytes")))
                .with_context(reading);
        }
        Self::parse(&text).map_err(|cause| Fail::new(Class::Integrity, cause)).with_context(reading)
    }

    /// A map of this format from this or another tool, trusted in nothing: its own checksum must be right, the
    /// counts must agree with the image's size and with the ranges, and the ranges must have checksums, be in
    /// order, and neither overlap nor leave the image.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = roxmltree::Document::parse(text).map_err(|e| format!("not XML: {e}"))?;
        let root = document.root_element();
        let version = root.attribute("version").unwrap_or("none");
        if !root.has_tag_name("bmap") || version.split_once('.').is_none_or(|(major, _)| major != "2") {
            let name = root.tag_name().name();
            return Err(format!("<{name}> of version {version} instead of <bmap> of version 2"));
        }
        check_own_checksum(text, &root)?;
        let kind = element(&root, "ChecksumType")?.text().unwrap_or_default().trim();
        if kind != "sha256" {
            return Err(format!("checksums are {kind:?}; only sha256 is known here"));
        }

        let image_size = count(&root, "ImageSize")?;
        let block_size = count(&root, "BlockSize")?;
        if image_size == 0 || image_size > IMAGE_LIMIT {
            return Err(format!("ImageSize {image_size} is out of range"));
        }
        if !block_size.is_power_of_two() || !(512..=1 << 20).contains(&block_size) {
            return Err(format!("BlockSize {block_size} is no power of two between 512 and 1048576"));
        }
        let blocks = image_size.div_ceil(block_size);
        let claimed = count(&root, "BlocksCount")?;
        if claimed != blocks {
            return Err(format!("BlocksCount {claimed} instead of {blocks}, from ImageSize and BlockSize"));
        }

        let mut ranges = Vec::new();
        let mut mapped = 0;
        let mut free = 0;
        for node in element(&root, "BlockMap")?.children().filter(roxmltree::Node::is_element) {
            let range = range(&node)?;
            if range.first < free || range.last < range.first || range.last >= blocks {
                let Range { first, last, .. } = range;
                return Err(format!(
                    "Range {first}-{last} overlaps, is out of order, or ends after {blocks}"
                ));
            }
            mapped += range.last - range.first + 1;
            free = range.last + 1;
            ranges.push(range);
        }
        let claimed = count(&root, "MappedBlocksCount")?;
        if claimed != mapped {
            return Err(format!("MappedBlocksCount {claimed} instead of {mapped}, the sum of the ranges"));
        }
        Ok(Self { image_size, block_size, ranges })
    }

    /// The map's file. The same image and requirements give the same bytes.
    pub fn to_xml(&self) -> String {
        let Self { image_size, block_size, ranges } = self;
        let blocks = image_size.div_ceil(*block_size);
        let mapped: u64 = ranges.iter().map(|range| range.last - range.first + 1).sum();
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n\
             <!-- The blocks of an image that have to be written to a card. With Debian's bmap-tools:\n\
             \x20    bmaptool copy IMAGE DEVICE -->\n\
             <bmap version=\"2.0\">\n\
             \x20   <ImageSize> {image_size} </ImageSize>\n\
             \x20   <BlockSize> {block_size} </BlockSize>\n\
             \x20   <BlocksCount> {blocks} </BlocksCount>\n\
             \x20   <MappedBlocksCount> {mapped} </MappedBlocksCount>\n\
             \x20   <ChecksumType> sha256 </ChecksumType>\n\
             \x20   <BmapFileChecksum> {NO_CHECKSUM} </BmapFileChecksum>\n\
             \x20   <BlockMap>\n"
        );
        for Range { first, last, sha256 } in ranges {
            let blocks = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let _ = writeln!(text, "        <Range chksum=\"{}\"> {blocks} </Range>", hex(sha256));
        }
        text += "    </BlockMap>\n</bmap>\n";
        let checksum = hex(&Sha256::digest(&text));
        text.replacen(NO_CHECKSUM, &checksum, 1)
    }

    /// The image's size in bytes; not always a multiple of the blocks'.
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// The mapped blocks, in order, without overlap.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Where `range`, one of [`Bmap::ranges`], lies in the image, in bytes.
    pub fn bytes(&self, range: &Range) -> ops::Range<u64> {
        range.first * self.block_size..((range.last + 1) * self.block_size).min(self.image_size)
    }

    /// How many bytes are mapped: what flashing has to write.
    pub fn mapped_bytes(&self) -> u64 {
        let lengths = self.ranges.iter().map(|range| self.bytes(range));
        lengths.map(|bytes| bytes.end - bytes.start).sum()
    }
}

/// Collects blocks into ranges.
#[derive(Default)]
struct Mapper {
    ranges: Vec<Range>,
    /// First block, and checksum so far, of the range that the previous block belongs to.
    open: Option<(u64, Sha256)>,
}

impl Mapper {
    fn block(&mut self, block: u64, bytes: &[u8], mapped: bool) {
        if mapped {
            let (_, hash) = self.open.get_or_insert_with(|| (block, Sha256::new()));
            hash.update(bytes);
        } else {
            self.close(block);
        }
    }

    fn close(&mut self, end: u64) {
        if let Some((first, hash)) = self.open.take() {
            self.ranges.push(Range { first, last: end - 1, sha256: hash.finalize().into() });
        }
    }

    fn finish(mut self, end: u64) -> Vec<Range> {
        self.close(end);
        self.ranges
    }
}

/// `required` in blocks, by their beginning.
fn required_blocks(size: u64, required: &[ops::Range<u64>]) -> Result<Vec<ops::Range<u64>>> {
    let mut blocks = Vec::with_capacity(required.len());
    for bytes in required {
        if bytes.end > size || bytes.start > bytes.end {
            return Err(Fail::new(
                Class::Build,
                format!("required bytes {}..{} are not in the image of {size} bytes", bytes.start, bytes.end),
            ));
        }
        if !bytes.is_empty() {
            blocks.push(bytes.start / BLOCK_SIZE..bytes.end.div_ceil(BLOCK_SIZE));
        }
    }
    blocks.sort_by_key(|range| range.start);
    Ok(blocks)
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK_SIZE as usize] = [0; BLOCK_SIZE as usize];
    // One comparison of memory: a loop over 256 MiB takes seconds in a debug build, which xtask is.
    bytes == &ZEROS[..bytes.len()]
}

fn check_own_checksum(text: &str, root: &roxmltree::Node) -> Result<(), String> {
    let element = element(root, "BmapFileChecksum")?;
    let range = element.first_child().map(|node| node.range()).unwrap_or_default();
    let stated = text[range.clone()].trim();
    checksum(stated)?;
    let begin = range.start + text[range].find(stated).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(&text[..begin]);
    hash.update(NO_CHECKSUM);
    hash.update(&text[begin + stated.len()..]);
    let actual = hex(&hash.finalize());
    if !actual.eq_ignore_ascii_case(stated) {
        return Err(format!("its own sha256 is {actual} instead of {stated}: it was changed or cut"));
    }
    Ok(())
}

/// The only child of `parent` with this name.
fn element<'a, 'input>(
    parent: &roxmltree::Node<'a, 'input>,
    name: &str,
) -> Result<roxmltree::Node<'a, 'input>, String> {
    let mut found = parent.children().filter(|node| node.has_tag_name(name));
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node),
        (None, _) => Err(format!("there is no <{name}>")),
        (Some(_), Some(_)) => Err(format!("there is more than one <{name}>")),
    }
}

fn count(root: &roxmltree::Node, name: &str) -> Result<u64, String> {
    let text = element(root, name)?.text().unwrap_or_default();
    number(text).map_err(|cause| format!("<{name}>: {cause}"))
}

fn range(node: &roxmltree::Node) -> Result<Range, String> {
    if !node.has_tag_name("Range") {
        return Err(format!("<{}> instead of <Range> in the <BlockMap>", node.tag_name().name()));
    }
    let text = node.text().unwrap_or_default();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let sha256 = node.attribute("chksum").ok_or_else(|| format!("Range {} has no chksum", text.trim()))?;
    Ok(Range { first: number(first)?, last: number(last)?, sha256: checksum(sha256)? })
}

/// A decimal number with white space around it; no sign.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.trim();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{digits:?} is no number"));
    }
    digits.parse().map_err(|e| format!("{digits:?}: {e}"))
}

fn checksum(text: &str) -> Result<[u8; 32], String> {
    let bad = || format!("{text:?} is no sha256");
    // A sign would pass `from_str_radix`, a character of several bytes would be cut.
    if text.len() != NO_CHECKSUM.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut sum = [0; 32];
    for (place, at) in sum.iter_mut().zip((0..).step_by(2)) {
        *place = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
