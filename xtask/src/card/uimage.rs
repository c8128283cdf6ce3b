//! U-Boot's legacy image around a script: a header of 64 bytes with two checksums, all words big-endian
//! (`include/image.h` in U-Boot). A script's data begins with a list of lengths, ended by zero.

/// Starts the header.
const MAGIC: u32 = 0x2705_1956;
const HEADER_SIZE: usize = 64;
const NAME_SIZE: usize = 32;
/// Where the header's own checksum is.
const HEADER_CRC: std::ops::Range<usize> = 4..8;
/// Linux, ARM, a script, not compressed.
const KIND: [u8; 4] = [5, 2, 6, 0];

/// A `boot.scr` of the script `text`, with the time `date` (seconds since 1970). Of `name` 32 bytes are shown.
pub fn script(name: &str, text: &str, date: u32) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + text.len());
    data.extend((text.len() as u32).to_be_bytes());
    data.extend([0; 4]);
    data.extend(text.as_bytes());

    let mut image = Vec::with_capacity(HEADER_SIZE + data.len());
    // Magic, own checksum, time, size, load address, entry point, checksum of the data.
    for word in [MAGIC, 0, date, data.len() as u32, 0, 0, crc32fast::hash(&data)] {
        image.extend(word.to_be_bytes());
    }
    image.extend(KIND);
    image.extend(name.bytes().take(NAME_SIZE));
    image.resize(HEADER_SIZE, 0);
    let crc = crc32fast::hash(&image);
    image[HEADER_CRC].copy_from_slice(&crc.to_be_bytes());
    image.extend(data);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mkimage 2023.01 makes of it, with SOURCE_DATE_EPOCH=0 -A arm -O linux -T script -C none -n name.
    const BY_MKIMAGE: &[u8] = b"\x27\x05\x19\x56\x19\x00\xb7\x28\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\xd9\x34\x01\x62\
        \x05\x02\x06\0name\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\0echo hi\n";

    #[test]
    fn as_mkimage_writes_it() {
        assert_eq!(script("name", "echo hi\n", 0), BY_MKIMAGE);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(script(&"x".repeat(40), "", 0).len(), HEADER_SIZE + 8);
    }
}
