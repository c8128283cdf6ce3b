//! Where an archive goes: behind a zImage, to where it does not cover the memory that the guest zeroes.
//!
//! A unikernel that serves a site has a mark in its zImage's table of tags (as `handover`'s, whose header says what such
//! a table is):
//!
//! | word | what                                                                     |
//! |------|--------------------------------------------------------------------------|
//! | 0    | 3, the length                                                            |
//! | 1    | "JST1"                                                                   |
//! | 2    | where in the image the archive begins: behind all that the guest writes  |
//!
//! The zImage's header says where the image ends, and so whether there is one: a guest's heap begins behind it.

use alloc::vec::Vec;
use core::fmt;

/// What marks a zImage (`Documentation/arch/arm/booting.rst`), and what its table: offset and value.
const ZIMAGE: (usize, u32) = (0x24, 0x016f_2818);
const TABLE: (usize, u32) = (0x34, 0x4545_4545);
/// Where its header says what its first address is, and the one after its last.
const START: usize = 0x28;
const END: usize = 0x2c;
/// Bytes of the header, with the table's place.
const HEADER: usize = 0x3c;
/// Entries of a table that are looked at.
const MOST_ENTRIES: usize = 16;
const TAG: u32 = u32::from_le_bytes(*b"JST1");

/// The mark, as it is linked into an image: `place` is an absolute symbol whose address is the offset.
#[derive(Debug)]
#[repr(C)]
pub struct Mark<P> {
    length: u32,
    tag: u32,
    place: P,
}

impl<P> Mark<P> {
    /// The mark of an image in which archives begin at `place`.
    pub const fn new(place: P) -> Self {
        Mark { length: 3, tag: TAG, place }
    }
}

/// Why nothing can be appended to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotForSites {
    /// It is no zImage.
    NoKernel,
    /// It is one, but of no unikernel that serves sites.
    NoServer,
    /// It has fewer bytes than its header says.
    CutOff,
    /// The image would have more than [`MOST_BYTES`](crate::MOST_BYTES): so many.
    TooLarge(usize),
}

impl fmt::Display for NotForSites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotForSites::NoKernel => f.write_str("it is no ARM zImage: take the unikernel www"),
            NotForSites::NoServer => {
                f.write_str("it serves no sites: take the unikernel www of this version")
            }
            NotForSites::CutOff => f.write_str("it is cut off: copy the whole file again"),
            NotForSites::TooLarge(bytes) => {
                let most = crate::MOST_BYTES >> 20;
                write!(f, "with the site it has {} MiB, and a node takes {most}", bytes.div_ceil(1 << 20))
            }
        }
    }
}

impl core::error::Error for NotForSites {}

/// The kernel alone, without a site that may be behind it, and where one goes.
///
/// # Errors
/// See [`NotForSites`].
pub fn kernel(image: &[u8]) -> Result<(&[u8], usize), NotForSites> {
    let word = |at: usize| {
        let bytes = image.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(ZIMAGE.0) != Some(ZIMAGE.1) {
        return Err(NotForSites::NoKernel);
    }
    let place = || {
        let mut next = (word(TABLE.0)? == TABLE.1).then(|| word(TABLE.0 + 4))?? as usize;
        for _ in 0..MOST_ENTRIES {
            let (length @ 2.., tag) = (word(next)?, word(next.checked_add(4)?)?) else { return None };
            if tag == TAG {
                return Some((word(next.checked_add(8)?)? as usize, next.checked_add(12)?));
            }
            next = (length as usize).checked_mul(4)?.checked_add(next)?;
        }
        None
    };
    let end = word(END).unwrap_or_default() as usize;
    let sound = |(place, mark_end): &(usize, usize)| {
        let kernel_end = end.min(*place);
        word(START) == Some(0)
            && *place < crate::MOST_BYTES
            && kernel_end >= HEADER
            && kernel_end >= *mark_end
    };
    let (place, _) = place().filter(sound).ok_or(NotForSites::NoServer)?;
    // Behind the place is a site; before it, what is behind the kernel's end is filled up with zeros.
    image.get(..end).map(|whole| (&whole[..end.min(place)], place)).ok_or(NotForSites::CutOff)
}

/// The image of a web server with a site. One that it has had is replaced.
///
/// # Errors
/// See [`NotForSites`].
pub fn append(image: &[u8], archive: &[u8]) -> Result<Vec<u8>, NotForSites> {
    let (kernel, place) = kernel(image)?;
    let end = (place + archive.len()).next_multiple_of(4);
    if end > crate::MOST_BYTES {
        return Err(NotForSites::TooLarge(end));
    }
    let mut whole = Vec::with_capacity(end);
    whole.extend_from_slice(kernel);
    whole.resize(place, 0);
    whole.extend_from_slice(archive);
    whole.resize(end, 0);
    whole[END..END + 4].copy_from_slice(&(end as u32).to_le_bytes());
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: usize = 0x3000;

    /// A zImage of 0x2000 bytes with these entries in its table.
    fn zimage(entries: &[&[u32]]) -> Vec<u8> {
        let mut image = vec![7; 0x2000];
        let mut put = |at: usize, word: u32| image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        for (at, word) in [ZIMAGE, (START, 0), (END, 0x2000), TABLE, (TABLE.0 + 4, 0x40)] {
            put(at, word);
        }
        let words = entries.iter().flat_map(|entry| entry.iter()).chain([&0]);
        words.zip((0x40..).step_by(4)).for_each(|(word, at)| put(at, *word));
        image
    }

    fn server() -> Vec<u8> {
        zimage(&[&[6, 1, 2, 3, 4, 5], &[3, TAG, PLACE as u32]])
    }

    #[test]
    fn a_site_is_appended_and_replaced() {
        let image = append(&server(), b"site").unwrap();
        assert_eq!(image.len(), PLACE + 4);
        assert_eq!(&image[PLACE..], b"site");
        assert!(image[0x2000..PLACE].iter().all(|byte| *byte == 0));
        assert_eq!(image[END..END + 4], (PLACE as u32 + 4).to_le_bytes());
        let again = append(&image, b"other").unwrap();
        assert_eq!(again, append(&server(), b"other").unwrap());
        assert_eq!(again.len(), PLACE + 8);
    }

    #[test]
    fn other_files_are_told_apart() {
        let refused = |image: &[u8]| append(image, b"").unwrap_err();
        assert_eq!(refused(b""), NotForSites::NoKernel);
        assert_eq!(refused(&[0; 0x2000]), NotForSites::NoKernel);
        assert_eq!(refused(&zimage(&[&[6, 1, 2, 3, 4, 5]])), NotForSites::NoServer);
        assert_eq!(refused(&zimage(&[&[1, TAG]])), NotForSites::NoServer);
        for place in [0, HEADER as u32, 0x40 + 11, u32::MAX] {
            assert_eq!(refused(&zimage(&[&[3, TAG, place]])), NotForSites::NoServer, "{place:#x}");
        }
        assert_eq!(refused(&zimage(&[&[2, 7][..]; 20])), NotForSites::NoServer);
        assert_eq!(refused(&server()[..0x1fff]), NotForSites::CutOff);
        for at in [TABLE.0, START] {
            let mut image = server();
            image[at] ^= 1;
            assert_eq!(refused(&image), NotForSites::NoServer, "{at:#x}");
        }
        for table in [0x1ffd, u32::MAX - 3, u32::MAX] {
            let mut image = server();
            image[TABLE.0 + 4..TABLE.0 + 8].copy_from_slice(&table.to_le_bytes());
            assert_eq!(refused(&image), NotForSites::NoServer, "{table:#x}");
        }
        let large = vec![0; crate::MOST_BYTES - PLACE + 1];
        assert_eq!(append(&server(), &large), Err(NotForSites::TooLarge(crate::MOST_BYTES + 4)));
        assert!(append(&server(), &large[1..]).is_ok());
    }
}
