//! Records as values of XenStore nodes.
//!
//! The records' bytes follow each other, cut wherever a node's value is full. In front of the first value's is one
//! byte: how many further values there are. With a small window most often there is one value, and so one question.

use alloc::vec::Vec;

use crate::record::{NotARecord, Record};

/// Bytes of a value: what XenStore has in a message (`XENSTORE_PAYLOAD_MAX`, `xen/include/public/io/xs_wire.h`).
const VALUE: usize = 4096;

/// Values at most.
const MOST_VALUES: usize = 16;

/// Bytes that the records handed over at once may have together.
pub const MOST_BYTES: usize = MOST_VALUES * VALUE - 1;

/// The values for these records, and how many of the records are in them: as many as there is room for, none of the
/// rest. What keeps to its [`Offer`](crate::Offer) fits. No records are no values.
pub fn pack(records: &[Record]) -> (Vec<Vec<u8>>, usize) {
    let mut bytes = Vec::from([0]);
    let mut count = 0;
    for record in records {
        if bytes.len() + record.encoded_len() > MOST_BYTES + 1 {
            break;
        }
        record.encode(&mut bytes);
        count += 1;
    }
    if count == 0 {
        return (Vec::new(), 0);
    }
    let mut values: Vec<_> = bytes.chunks(VALUE).map(Vec::from).collect();
    values[0][0] = (values.len() - 1) as u8;
    (values, count)
}

/// How many values follow the first one, and that one's share of the records' bytes.
///
/// # Errors
/// It is empty, or there would be more than there may be.
pub fn further(first: &[u8]) -> Result<(usize, &[u8]), NotARecord> {
    match first.split_first() {
        Some((count, bytes)) if usize::from(*count) < MOST_VALUES => Ok((usize::from(*count), bytes)),
        _ => Err(NotARecord),
    }
}

/// The records in these bytes: those of all values, one after the other.
///
/// # Errors
/// If there is anything else in them.
pub fn unpack(mut bytes: &[u8]) -> Result<Vec<Record>, NotARecord> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = Record::decode(bytes)?;
        records.push(record);
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn records(count: usize, length: usize) -> Vec<Record> {
        (0..count).map(|port| Record { data: vec![port as u8; length], ..record(port as u16) }).collect()
    }

    fn unpacked(values: &[Vec<u8>]) -> Vec<Record> {
        let (count, first) = further(&values[0]).expect("a value");
        assert_eq!(count, values.len() - 1);
        assert!(values.iter().all(|value| value.len() <= VALUE) && values.len() <= MOST_VALUES);
        unpack(&[first, &values[1..].concat()].concat()).expect("records")
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        for (count, length) in [(1, 0), (1, 2048), (2, 2048), (16, 2048), (16, 3000), (1, 50_000), (300, 7)] {
            let records = records(count, length);
            let (values, packed) = pack(&records);
            assert_eq!((packed, unpacked(&values)), (count, records), "{count} with {length} bytes");
        }
        assert_eq!(pack(&[]), (vec![], 0));
    }

    #[test]
    fn what_has_no_room_is_left_out_whole() {
        let records = records(100, 2000);
        let (values, packed) = pack(&records);
        assert_eq!(packed, MOST_BYTES / (records[0].encoded_len()));
        assert_eq!(unpacked(&values), records[..packed]);
        assert_eq!(pack(&[Record { data: vec![0; MOST_BYTES], ..record(1) }]), (vec![], 0));
        // To the last byte.
        let largest = Record { data: vec![0; MOST_BYTES - crate::FIXED], ..record(1) };
        let (values, packed) = pack(std::slice::from_ref(&largest));
        assert_eq!((values.len(), packed), (MOST_VALUES, 1));
        assert_eq!(unpacked(&values), [largest]);
    }

    #[test]
    fn other_values_are_refused() {
        assert_eq!(further(&[]), Err(NotARecord));
        assert_eq!(further(&[MOST_VALUES as u8, 1]), Err(NotARecord));
        assert_eq!(unpack(&[0]), Err(NotARecord));
        let (values, _) = pack(&records(2, 10));
        let bytes = &values[0][1..];
        assert_eq!(unpack(bytes).map(|records| records.len()), Ok(2));
        assert_eq!(unpack(&bytes[..bytes.len() - 1]), Err(NotARecord));
    }
}
