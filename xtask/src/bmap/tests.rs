use super::*;

const BLOCK: usize = BLOCK_SIZE as usize;

/// An image of `blocks` zero blocks and `rest` bytes, with ones in the named blocks.
fn image(blocks: usize, rest: usize, ones: &[usize]) -> Vec<u8> {
    let mut image = vec![0; blocks * BLOCK + rest];
    for block in ones {
        let end = image.len().min((block + 1) * BLOCK);
        image[end - 1] = 1;
    }
    image
}

fn map(image: &[u8], required: &[ops::Range<u64>]) -> Bmap {
    Bmap::of_reader(image, image.len() as u64, required).expect("mapped")
}

fn blocks(map: &Bmap) -> Vec<(u64, u64)> {
    map.ranges().iter().map(|range| (range.first, range.last)).collect()
}

/// `xml` with `from` replaced and its own checksum right again.
fn changed(xml: &str, from: &str, to: &str) -> String {
    assert!(xml.contains(from), "{from}");
    let begin = xml.find("<BmapFileChecksum> ").expect("checksum") + "<BmapFileChecksum> ".len();
    let own = &xml[begin..begin + 64];
    let text = xml.replacen(own, NO_CHECKSUM, 1).replacen(from, to, 1);
    let sum = hex(&Sha256::digest(&text));
    text.replacen(NO_CHECKSUM, &sum, 1)
}

#[test]
fn content_is_mapped_and_zeros_are_not() {
    let image = image(600, 100, &[0, 3, 4, 5, 255, 256, 600]);
    let map = map(&image, &[]);
    assert_eq!(blocks(&map), [(0, 0), (3, 5), (255, 256), (600, 600)]);
    assert_eq!(map.mapped_bytes(), 6 * BLOCK_SIZE + 100);
    for range in map.ranges() {
        let bytes = map.bytes(range);
        let expected = Sha256::digest(&image[bytes.start as usize..bytes.end as usize]);
        assert_eq!(range.sha256[..], expected[..]);
    }
}

#[test]
fn required_zeros_are_mapped() {
    let image = image(40, 0, &[3]);
    // One byte of block 4 joins it to block 3; the others overlap, lie in each other, are empty, come last.
    let required = [
        30 * BLOCK_SIZE..40 * BLOCK_SIZE,
        4 * BLOCK_SIZE..4 * BLOCK_SIZE + 1,
        10 * BLOCK_SIZE..20 * BLOCK_SIZE,
        11 * BLOCK_SIZE..12 * BLOCK_SIZE,
        19 * BLOCK_SIZE..21 * BLOCK_SIZE,
        25 * BLOCK_SIZE..25 * BLOCK_SIZE,
    ];
    assert_eq!(blocks(&map(&image, &required)), [(3, 4), (10, 20), (30, 39)]);
    let size = image.len() as u64;
    assert!(Bmap::of_reader(&image[..], size, std::slice::from_ref(&(0..size + 1))).is_err());
}

#[test]
fn sparse_or_not_is_the_same() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (full, sparse) = (directory.path().join("full"), directory.path().join("sparse"));
    let content = image(500, 0, &[7, 300]);
    std::fs::write(&full, &content).expect("write");
    let file = File::create(&sparse).expect("create");
    file.set_len(content.len() as u64).expect("set_len");
    for block in [7, 300] {
        let at = block * BLOCK..(block + 1) * BLOCK;
        std::os::unix::fs::FileExt::write_all_at(&file, &content[at.clone()], at.start as u64)
            .expect("write");
    }
    let map = Bmap::of(&full, &[]).expect("full");
    assert_eq!(map.to_xml(), Bmap::of(&sparse, &[]).expect("sparse").to_xml());
    std::fs::write(directory.path().join("map"), map.to_xml()).expect("write");
    assert_eq!(Bmap::read(&directory.path().join("map")).expect("read"), map);
}

#[test]
fn what_is_written_is_read() {
    for map in [
        map(&image(600, 100, &[0, 3, 4, 600]), &[]),
        map(&image(1, 0, &[]), &[]),
        map(&image(0, 1, &[0]), &[]),
    ] {
        assert_eq!(Bmap::parse(&map.to_xml()), Ok(map));
    }
    assert!(Bmap::of_reader(&b""[..], 0, &[]).is_err(), "an empty image");
}

/// Made by bmaptool 3.6 from 1 MiB of zeros with "hello" at 8192 and "x" at 65536; its comments left out, its
/// checksum computed anew by sha256sum(1).
const FOREIGN: &str = include_str!("foreign.bmap");

#[test]
fn maps_of_bmaptool_are_read() {
    let mut image = vec![0; 1 << 20];
    image[8192..8197].copy_from_slice(b"hello");
    image[65536] = b'x';
    assert_eq!(Bmap::parse(FOREIGN), Ok(map(&image, &[])));
}

#[test]
fn lies_are_found() {
    let xml = map(&image(600, 100, &[0, 3, 4, 9, 600]), &[]).to_xml();
    for (from, to, said) in [
        ("<bmap version=\"2.0\">", "<bmap version=\"1.4\">", "version 1.4"),
        ("<bmap version=\"2.0\">", "<bmap>", "version none"),
        ("sha256 <", "md5 <", "md5"),
        ("<ImageSize> 2457700", "<ImageSize> 0", "ImageSize 0"),
        ("<ImageSize> 2457700", "<ImageSize> 18446744073709551615", "out of range"),
        ("<ImageSize> 2457700", "<ImageSize> 99999999999999999999999", "too large"),
        ("<ImageSize> 2457700", "<ImageSize> +2457700", "no number"),
        ("<ImageSize> 2457700 </ImageSize>", "", "no <ImageSize>"),
        ("<ImageSize> 2457700", "<ImageSize> 2457600", "BlocksCount 601 instead of 600"),
        ("<BlockSize> 4096", "<BlockSize> 0", "BlockSize 0"),
        ("<BlockSize> 4096", "<BlockSize> 4095", "BlockSize 4095"),
        ("<BlockSize> 4096", "<BlockSize> 256", "BlockSize 256"),
        ("<MappedBlocksCount> 5", "<MappedBlocksCount> 6", "MappedBlocksCount 6 instead of 5"),
        ("> 3-4 <", "> 4-3 <", "Range 4-3"),
        ("> 3-4 <", "> 0-3 <", "Range 0-3"),
        ("> 3-4 <", "> 10-11 <", "Range 9-9"),
        ("> 600 <", "> 601 <", "Range 601-601"),
        ("> 600 <", "> 600-18446744073709551615 <", "Range 600-18446744073709551615"),
        ("> 3-4 <", "> 3--4 <", "no number"),
        ("> 3-4 <", "> <", "cannot parse"),
        ("<Range chksum=\"", "<Range chksum=\"0", "no sha256"),
        ("<Range chksum", "<Range sum", "no chksum"),
        ("<BlockMap>", "<BlockMap><Hole/>", "<Hole>"),
        ("</BlockMap>", "</BlockMap><BlockMap/>", "more than one <BlockMap>"),
        ("</BlockMap>", "</BlackMap>", "not XML"),
        ("<bmap ", "<!DOCTYPE bmap [<!ENTITY a \"b\">]><bmap ", "not XML"),
    ] {
        let error = Bmap::parse(&changed(&xml, from, to)).expect_err(to);
        assert!(error.contains(said), "{to}: {error}");
    }
    assert!(Bmap::parse(&changed(&xml, "> 3-4 <", ">3 - 4<")).is_ok());
}

#[test]
fn a_damaged_map_is_found() {
    let xml = map(&image(600, 100, &[0, 3, 4, 9, 600]), &[]).to_xml();
    let error = Bmap::parse(&xml.replace("3-4", "4-5")).expect_err("changed");
    assert!(error.contains("changed or cut"), "{error}");
    for sum in ["", "0", "é", NO_CHECKSUM] {
        let begin = xml.find("<BmapFileChecksum>").expect("begin");
        let end = xml.find("</BmapFileChecksum>").expect("end");
        let text = format!("{}<BmapFileChecksum>{sum}{}", &xml[..begin], &xml[end..]);
        assert!(Bmap::parse(&text).is_err(), "{sum:?}");
    }
    for cut in (0..xml.len() - 1).step_by(7) {
        assert!(Bmap::parse(&xml[..cut]).is_err(), "{cut}");
    }
}
