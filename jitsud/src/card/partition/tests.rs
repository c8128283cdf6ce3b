use super::*;

/// Sectors of the image: FAT at 1 MiB, 192 MiB of it, then 64 MiB of data.
const FAT: (u8, u32, u32) = (0x0c, 2048, 393_216);
const DATA_AT_FIRST: (u8, u32, u32) = (TYPE_LINUX, 395_264, 131_072);

fn table(partitions: &[(u8, u32, u32)]) -> Table {
    let mut sector = [0; SECTOR as usize];
    sector[SIGNATURE..SIGNATURE + 4].copy_from_slice(&0x6a69_7473_u32.to_le_bytes());
    sector[MARK..].copy_from_slice(&[0x55, 0xaa]);
    for (index, (kind, start, length)) in partitions.iter().enumerate() {
        let entry = &mut sector[ENTRIES + index * ENTRY_BYTES..][..ENTRY_BYTES];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&length.to_le_bytes());
    }
    Table(sector)
}

#[test]
fn names_of_partitions() {
    let name: PartUuid = "6a697473-01".parse().unwrap();
    assert_eq!(name, PartUuid { disk: 0x6a69_7473, number: 1 });
    assert_eq!(name.to_string(), "6a697473-01");
    assert_eq!("6A697473-04".parse(), Ok(PartUuid { disk: 0x6a69_7473, number: 4 }));
    for wrong in [
        "",
        "6a697473",
        "6a697473-1",
        "6a697473-00",
        "6a697473-05",
        "6a69747-01",
        "+a697473-01",
        "6a697473-+1",
    ] {
        assert_eq!(wrong.parse::<PartUuid>(), Err(NotAPartUuid), "{wrong:?}");
    }
    // The UUID of a partition of a GUID partition table.
    assert_eq!("01234567-89ab-cdef-0123-456789abcdef".parse::<PartUuid>(), Err(NotAPartUuid));
}

#[test]
fn the_signature_needs_the_mark() {
    let mut table = table(&[FAT, DATA_AT_FIRST]);
    assert_eq!(table.disk(), Some(0x6a69_7473));
    assert_eq!(table.partition(DATA), Some(Extent { start: 395_264, length: 131_072 }));
    assert_eq!(table.partition(3), None);
    table.0[MARK] = 0;
    assert_eq!((table.disk(), table.grown(1 << 30)), (None, Err(NotGrown::NoTable)));
}

#[test]
fn only_the_length_of_the_data_partition_changes() {
    let before = table(&[FAT, DATA_AT_FIRST]);
    let after = before.grown(2_097_152 + 77).unwrap().unwrap();
    // 1 GiB and a few sectors more: to the last whole MiB.
    assert_eq!(after.partition(DATA), Some(Extent { start: 395_264, length: 2_097_152 - 395_264 }));
    let changed: Vec<usize> = (0..512).filter(|&at| before.0[at] != after.0[at]).collect();
    assert!(changed.iter().all(|at| (474..478).contains(at)), "{changed:?}");
    // Done again, as after a power cut, there is nothing left to do.
    assert_eq!(after.grown(2_097_152 + 77), Ok(None));
}

#[test]
fn the_end_of_what_can_be_expressed() {
    let end = |disk| {
        let data = table(&[FAT, DATA_AT_FIRST]).grown(disk).unwrap().unwrap().partition(DATA).unwrap();
        data.end()
    };
    assert_eq!(end(1 << 32), u64::from(u32::MAX));
    assert_eq!(end(1 << 40), u64::from(u32::MAX));
    let full = DATA_AT_FIRST.1 + DATA_AT_FIRST.2;
    for disk in [full, full + 2047] {
        assert_eq!(table(&[FAT, DATA_AT_FIRST]).grown(disk.into()), Ok(None), "{disk}");
    }
}

#[test]
fn tables_that_are_not_the_images_are_left_alone() {
    let disk = 1 << 24;
    for (partitions, why) in [
        (&[FAT][..], NotGrown::NotOurs),
        (&[FAT, (0x07, 395_264, 131_072)], NotGrown::NotOurs),
        (&[FAT, (TYPE_LINUX, 395_264, 0)], NotGrown::NotOurs),
        (&[FAT, (TYPE_LINUX, 395_263, 131_072)], NotGrown::NotLast),
        (&[FAT, (TYPE_LINUX, 1, 2047)], NotGrown::NotLast),
        (&[(0x0c, 0, 2048), DATA_AT_FIRST], NotGrown::NotLast),
        (&[FAT, DATA_AT_FIRST, (TYPE_LINUX, 1 << 23, 8)], NotGrown::NotLast),
        (&[FAT, DATA_AT_FIRST, (0x05, 395_264, 8)], NotGrown::NotLast),
        (&[FAT, (TYPE_LINUX, 395_264, 1 << 24)], NotGrown::TooSmall),
        (&[FAT, (TYPE_LINUX, u32::MAX, u32::MAX)], NotGrown::TooSmall),
    ] {
        assert_eq!(table(partitions).grown(disk), Err(why), "{partitions:?}");
    }
}

#[test]
fn any_sector_may_be_on_a_card() {
    // All bytes alike, and a sequence that repeats only after 2^32 sectors' worth of steps.
    let mut state = 1_u32;
    for round in 0..2000_u32 {
        let mut sector = [round as u8; SECTOR as usize];
        if round >= 256 {
            for byte in &mut sector[SIGNATURE..MARK] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        }
        sector[MARK..].copy_from_slice(&[0x55, 0xaa]);
        sector[Table::entry(DATA) + 4] = TYPE_LINUX;
        let before = Table(sector);
        if let Ok(Some(after)) = before.grown(u64::from(state)) {
            let (old, new) = (before.partition(DATA).unwrap(), after.partition(DATA).unwrap());
            assert!(new.start == old.start && new.length > old.length && new.end() <= u64::from(state));
        }
    }
}
