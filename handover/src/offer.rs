//! What a guest that takes connections over promises, and the mark in its image that says so.
//!
//! A zImage may have a table of tags; its header says where (Linux, `arch/arm/boot/compressed/head.S`): the word
//! 0x4545_4545 at 0x34 is followed by the table's offset in the image. Each entry begins with its own length in words
//! and its tag; a length of 0 ends the table. Linux has one entry, boot loaders pass over those that they do not know.
//! The mark is an entry of [`Offer::WORDS`] words, little-endian as all of them:
//!
//! | word | bits  | what                                                      |
//! |------|-------|-----------------------------------------------------------|
//! | 0    |       | 6, the length                                             |
//! | 1    |       | "JHO1"                                                    |
//! | 2, 3 |       | ports, two in each word, the lower half first; 0 for none |
//! | 4    | 0–15  | MSS                                                       |
//! |      | 16–31 | window                                                    |
//! | 5    | 0–15  | connections                                               |
//! |      | 16–23 | window scale                                              |
//! |      | 24    | SACK                                                      |
//! |      | 25    | timestamps                                                |
//!
//! It lies in the image's beginning and refers to nothing, so that what is appended to the image does not matter.

use core::fmt;

use crate::parcel::MOST_BYTES;
use crate::record::{FIXED, LARGEST_SHIFT};

/// Most ports that connections are taken over on.
pub const MOST_PORTS: usize = 4;

/// What a client is told when its connection is opened on a guest's behalf: just what the guest will keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// TCP ports at which the guest listens whenever it runs; 0 for none.
    pub ports: [u16; MOST_PORTS],
    /// Connections that it can take over at once: it has so many sockets.
    pub connections: u16,
    /// Largest segment that the guest takes with IPv4, in bytes. 1460 fits Ethernet.
    pub mss: u16,
    /// The window, in bytes: so much is taken before the guest does. Also bounds what is kept of a connection.
    pub window: u16,
    /// Shift of the windows that the guest sends later, at most 14; only if the client scales, too.
    pub window_scale: u8,
    /// Whether the guest sends selective acknowledgements.
    pub sack: bool,
    /// Whether the guest has timestamps.
    pub timestamps: bool,
}

/// An image has a mark that says nothing of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnOffer;

impl fmt::Display for NotAnOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the kernel's mark for connections that it takes over is of another version, damaged, or promises more \
             than can be handed over: build the kernel again",
        )
    }
}

impl core::error::Error for NotAnOffer {}

const TAG: u32 = u32::from_le_bytes(*b"JHO1");

/// What marks a zImage (`Documentation/arch/arm/booting.rst`), and what its table: offset and value.
const ZIMAGE: (usize, u32) = (0x24, 0x016f_2818);
const TABLE: (usize, u32) = (0x34, 0x4545_4545);
/// Entries of a table that are looked at. Linux has one.
const MOST_ENTRIES: usize = 16;

/// RFC 9293, section 3.7.1: what every host takes.
const SMALLEST_MSS: u16 = 536;

impl Offer {
    /// Words of the mark.
    pub const WORDS: usize = 6;

    /// The mark.
    pub const fn mark(&self) -> [u32; Self::WORDS] {
        let [a, b, c, d] = self.ports;
        let bits = self.sack as u32 | (self.timestamps as u32) << 1;
        [
            Self::WORDS as u32,
            TAG,
            a as u32 | (b as u32) << 16,
            c as u32 | (d as u32) << 16,
            self.mss as u32 | (self.window as u32) << 16,
            self.connections as u32 | (self.window_scale as u32) << 16 | bits << 24,
        ]
    }

    /// What a zImage's mark says; `None` for an image without, or that is none.
    ///
    /// # Errors
    /// A mark that makes no sense.
    pub fn find(image: &[u8]) -> Result<Option<Self>, NotAnOffer> {
        let word = |at: usize| {
            let bytes = image.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        if word(ZIMAGE.0) != Some(ZIMAGE.1) || word(TABLE.0) != Some(TABLE.1) {
            return Ok(None);
        }
        let mut next = word(TABLE.0 + 4).map(|offset| offset as usize);
        for _ in 0..MOST_ENTRIES {
            let Some(at) = next else { break };
            let (Some(length @ 2..), Some(tag)) = (word(at), word(at.saturating_add(4))) else { break };
            if tag == TAG {
                let mut mark = [0; Self::WORDS];
                for (place, value) in mark.iter_mut().enumerate() {
                    *value = word(at.saturating_add(4 * place)).ok_or(NotAnOffer)?;
                }
                return Self::read(mark).map(Some);
            }
            next = (length as usize).checked_mul(4).and_then(|bytes| at.checked_add(bytes));
        }
        Ok(None)
    }

    fn read(mark: [u32; Self::WORDS]) -> Result<Self, NotAnOffer> {
        let [length, _, ab, cd, sizes, rest] = mark;
        let offer = Offer {
            ports: [ab as u16, (ab >> 16) as u16, cd as u16, (cd >> 16) as u16],
            connections: rest as u16,
            mss: sizes as u16,
            window: (sizes >> 16) as u16,
            window_scale: (rest >> 16) as u8,
            sack: rest >> 24 & 1 != 0,
            timestamps: rest >> 24 & 2 != 0,
        };
        let all = usize::from(offer.connections) * (FIXED + usize::from(offer.window));
        let sound = length as usize == Self::WORDS
            && rest >> 26 == 0
            && offer.ports != [0; MOST_PORTS]
            && offer.connections > 0
            && offer.window > 0
            && offer.mss >= SMALLEST_MSS
            && offer.window_scale <= LARGEST_SHIFT
            && all <= MOST_BYTES;
        if sound { Ok(offer) } else { Err(NotAnOffer) }
    }

    /// Whether connections to this port are taken over.
    pub fn serves(&self, port: u16) -> bool {
        port != 0 && self.ports.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer {
        ports: [80, 443, 0, 8080],
        connections: 16,
        mss: 1460,
        window: 2048,
        window_scale: 3,
        sack: true,
        timestamps: false,
    };

    /// A zImage with these entries in its table, which begins at `at`.
    fn image(at: usize, entries: &[&[u32]]) -> Vec<u8> {
        let mut image = vec![0; at];
        for (at, word) in [ZIMAGE, TABLE, (TABLE.0 + 4, at as u32)] {
            image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let words = entries.iter().flat_map(|entry| entry.iter()).chain([&0]);
        image.extend(words.flat_map(|word| word.to_le_bytes()));
        image
    }

    #[test]
    fn a_mark_is_found_among_others() {
        // Linux's own entry.
        let linux: &[u32] = &[6, 0x5a53_4c4b, 0x100, 1 << 20, 0x8000, 0x1_0000];
        let other = Offer { sack: false, timestamps: true, ..OFFER };
        for offer in [OFFER, other] {
            assert_eq!(Offer::find(&image(0x3c, &[&offer.mark()])), Ok(Some(offer)));
            let mut appended = image(0x1000, &[linux, &offer.mark()]);
            appended.resize(100_000, 0xff);
            assert_eq!(Offer::find(&appended), Ok(Some(offer)));
        }
        assert!(OFFER.serves(443) && !OFFER.serves(81) && !OFFER.serves(0));
    }

    #[test]
    fn others_have_none() {
        let marked = image(0x40, &[&OFFER.mark()]);
        for at in [ZIMAGE.0, TABLE.0] {
            let mut other = marked.clone();
            other[at] ^= 1;
            assert_eq!(Offer::find(&other), Ok(None), "{at:#x}");
        }
        // Tables that are cut off, go in circles, or lead out of the image.
        for table in [[0, TAG], [1, TAG], [u32::MAX, 7], [2, 7], [0x4000_0000, 7]] {
            assert_eq!(Offer::find(&image(0x40, &[&table])), Ok(None), "{table:x?}");
        }
        for offset in [0, 0x41, marked.len() as u32 - 3, u32::MAX - 3, u32::MAX] {
            let mut other = marked.clone();
            other[0x38..0x3c].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(Offer::find(&other), Ok(None), "{offset:#x}");
        }
        assert_eq!(Offer::find(&[]), Ok(None));
        assert_eq!(Offer::find(&image(0x40, &[&[2_u32, 7][..]; 20])), Ok(None));
    }

    #[test]
    fn a_mark_that_makes_no_sense_is_told_from_none() {
        let marked = image(0x40, &[&OFFER.mark()]);
        for length in 0x48..0x40 + 4 * Offer::WORDS {
            assert_eq!(Offer::find(&marked[..length]), Err(NotAnOffer), "{length} bytes");
        }
        let none = [0; MOST_PORTS];
        for offer in [
            Offer { ports: none, ..OFFER },
            Offer { connections: 0, ..OFFER },
            Offer { window: 0, ..OFFER },
            Offer { mss: 535, ..OFFER },
            Offer { window_scale: 15, ..OFFER },
            // More than the records' nodes have room for.
            Offer { window: 4096, ..OFFER },
            Offer { connections: 40, ..OFFER },
        ] {
            assert_eq!(Offer::find(&image(0x40, &[&offer.mark()])), Err(NotAnOffer), "{offer:?}");
        }
        let mut longer = OFFER.mark();
        longer[0] = 7;
        assert_eq!(Offer::find(&image(0x40, &[&longer, &[1]])), Err(NotAnOffer));
        let mut unknown = OFFER.mark();
        unknown[5] |= 1 << 26;
        assert_eq!(Offer::find(&image(0x40, &[&unknown])), Err(NotAnOffer));
    }
}
