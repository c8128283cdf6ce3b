//! Archives of sites, and images that one is to be appended to: files from a card, which anybody may have written.
//!
//! The input is read as an archive, and as an image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use site::{Site, append, kernel};

fuzz_target!(|input: &[u8]| {
    if let Ok(site) = Site::read(input) {
        assert!(site.size() <= input.len());
        let within = |bytes: &[u8]| {
            let start = bytes.as_ptr().addr().wrapping_sub(input.as_ptr().addr());
            bytes.is_empty() || (start < site.size() && bytes.len() <= site.size() - start)
        };
        let mut before = None;
        for file in site.files() {
            assert!(before < Some(file.name));
            before = Some(file.name);
            assert_eq!(site.find(file.name), Some(file));
            assert!(file.media_type.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let contents = [Some(file.plain), file.gzip].into_iter().flatten();
            assert!(
                within(file.name.as_bytes()) && contents.into_iter().all(|content| within(content.bytes))
            );
        }
    }
    if let Ok((alone, place)) = kernel(input) {
        assert!(alone.len() <= input.len() && alone.len() <= place);
        // Where an image is larger than its place by far, it is not made here.
        if place <= 1 << 20 {
            let image = append(input, b"archive").expect("it is small");
            assert_eq!(
                kernel(&image).map(|(kernel, place)| (kernel.len().min(place), place)),
                Ok((place, place))
            );
            assert!(image[place..].starts_with(b"archive"));
            assert_eq!(append(&image, b"archive"), Ok(image));
        }
    }
});
