//! What comes from a card: the partition table in its first sector, and the parameters of the boot script
//! on the kernel's command line.
#![no_main]

use jitsud::card::partition::{DATA, Extent, SECTOR, Table};
use jitsud::card::{Parameters, PartUuid};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((b'T', rest)) => table(rest),
    Some((_, rest)) => parameters(&String::from_utf8_lossy(rest)),
    None => {}
});

/// Bytes of the sector that lie before the signature, the entries and the mark.
const CODE: usize = 440;

fn table(input: &[u8]) {
    let mut fields = Unstructured::new(input);
    let disk = fields.arbitrary::<u64>().unwrap_or_default();
    let mut sector = [0; SECTOR as usize];
    let rest = fields.take_rest();
    let rest = &rest[..rest.len().min(SECTOR as usize - CODE)];
    sector[CODE..CODE + rest.len()].copy_from_slice(rest);

    let table = Table::new(sector);
    assert_eq!(table.disk().is_some(), sector.ends_with(&[0x55, 0xaa]));
    let extents = |table: &Table| [1, 2, 3, 4].map(|number| table.partition(number));
    let Ok(grown) = table.grown(disk) else { return };
    // What may be grown was whole before.
    let data = table.partition(DATA).expect("it may be grown");
    let end = |extent: Extent| u64::from(extent.start) + u64::from(extent.length);
    assert!(end(data) <= disk);
    let Some(grown) = grown else { return };
    let longer = grown.partition(DATA).expect("it was there before");
    assert!(longer.start == data.start && longer.length > data.length && end(longer) <= disk);
    assert_eq!(grown.grown(disk), Ok(None));
    assert_eq!(grown.disk(), table.disk());
    let changed = |(old, new): &(&u8, &u8)| old != new;
    assert!(table.sector().iter().zip(grown.sector()).filter(changed).count() <= 4);
    for (index, (old, new)) in extents(&table).into_iter().zip(extents(&grown)).enumerate() {
        assert!(old == new || index + 1 == usize::from(DATA));
        // The others lie before it, and not in the table's own sector.
        let before = |extent: Extent| extent.start > 0 && end(extent) <= u64::from(data.start);
        assert!(index + 1 == usize::from(DATA) || old.is_none_or(before));
    }
}

fn parameters(line: &str) {
    let (found, strange) = Parameters::parse(line);
    for word in strange {
        assert!(word.starts_with("jitsu.") && word.chars().count() <= 256);
    }
    for value in [&found.board, &found.led].into_iter().flatten() {
        assert!((1..=256).contains(&value.len()) && line.contains(value.as_str()));
    }
    // It becomes part of a path.
    assert!(found.led.is_none_or(|led| !led.contains('/') && led != "." && led != ".."));
    assert!(found.fallback.iter().all(|fallback| !fallback.file.is_empty()));
    if let Some(card) = found.card {
        assert!((1..=4).contains(&card.number));
        assert_eq!(card.to_string().parse(), Ok(card));
    }
    if let Ok(name) = line.parse::<PartUuid>() {
        assert_eq!(name.to_string(), line.to_ascii_lowercase());
    }
}
