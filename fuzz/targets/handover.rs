//! A kernel file whose mark says which connections it takes over, and records as they come to a guest; the same bytes
//! as both.
#![no_main]

use handover::{FIXED, MOST_BYTES, Offer, further, pack, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(Some(offer)) = Offer::find(input) {
        let Offer { connections, window, window_scale, .. } = offer;
        assert!(window_scale <= 14 && (1..=u16::MAX).any(|port| offer.serves(port)));
        assert!((1..=MOST_BYTES).contains(&(usize::from(connections) * (FIXED + usize::from(window)))));
        let mark: Vec<u8> = offer.mark().iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(input.windows(mark.len()).any(|part| part == mark));
    }
    if let Ok(records) = unpack(input) {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        assert_eq!(bytes, input);
        let (values, count) = pack(&records);
        assert!(count == records.len() || input.len() > MOST_BYTES);
        if let Some((first, others)) = values.split_first() {
            let (further, first) = further(first).expect("a first value");
            assert_eq!(further, others.len());
            let unpacked = unpack(&[first, &others.concat()].concat());
            assert_eq!(unpacked.as_deref(), Ok(&records[..count]));
        }
    }
});
