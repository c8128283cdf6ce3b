//! Saved states that nobody has saved: the input itself, or edits of a good one. The header is made
//! good, so that the records are reached; then they are refused, or make a store that can be used
//! without a panic.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xen_sys::DomId;
use xenstore::{Access, Change, Limits, Perms, Store};

/// Bytes of an image's header.
const HEADER: usize = 24;

/// The records of a store with something of everything in it.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut store = Store::new(Limits::default());
        let own = Perms::new(DomId(5), Access::None).with(DomId(6), Access::Both);
        store.commit(&[Change::write("/local/domain/5/data", "v").with_perms(own)]).expect("a good path");
        store.introduce(DomId(5));
        store.watch("/local").expect("a good path");
        let (guest, tool) = (store.connect(DomId(5)), store.connect_socket());
        // TRANSACTION_START, WRITE in it, WATCH, SET_QUOTA, INTRODUCE, and half a READ.
        for (conn, kind, tx, payload) in [
            (guest, 6_u32, 0_u32, &b"\0"[..]),
            (guest, 11, 1, b"data/x\0v"),
            (guest, 13, 1, b"data/y\0"),
            (guest, 4, 0, b"data\0t\0"),
            (tool, 26, 0, b"5\0nodes\x009\0"),
            (tool, 8, 0, b"6\x001\x001\0"),
        ] {
            let header = [kind, 1, tx, payload.len() as u32].map(u32::to_ne_bytes).concat();
            store.receive(conn, &[&header[..], payload].concat()).expect("well-formed");
        }
        store.receive(guest, &[2, 0, 0]).expect("half a header");
        store.export().split_off(HEADER)
    })
}

fuzz_target!(|input: &[u8]| {
    let mut records = input.to_vec();
    if let Some((1, edits)) = input.split_first() {
        records = good().to_vec();
        for edit in edits.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % records.len();
            records[at] = edit[2];
        }
    }
    let mut image = b"jitsu-xs\x01\0\0\0".to_vec();
    image.extend(crc32fast::hash(&records).to_le_bytes());
    image.extend((records.len() as u64).to_le_bytes());
    image.extend_from_slice(&records);
    let Ok(mut store) = Store::import(&image) else {
        return;
    };
    let saved = store.export();
    assert!(Store::import(&saved).expect("what is exported can be imported").export() == saved);
    let clients: Vec<_> = store.connections().map(|(conn, ..)| conn).collect();
    store.advance(Duration::from_secs(1));
    for conn in clients {
        // READ of the root, TRANSACTION_END of transaction 1, WRITE, RM.
        for (kind, tx, payload) in [
            (2_u32, 0_u32, &b"/\0"[..]),
            (7, 1, b"T\0"),
            (11, 0, b"/a/b\0v"),
            (11, 2, b"x\0v"),
            (13, 0, b"/a\0"),
        ] {
            let header = [kind, 1, tx, payload.len() as u32].map(u32::to_ne_bytes).concat();
            if store.receive(conn, &[&header[..], payload].concat()).is_err() {
                break;
            }
            store.consume_output(conn, usize::MAX);
        }
        store.reset(conn);
    }
    let _ = store.commit(&[Change::write("/c", "v"), Change::remove("/a")]);
    store.release(DomId(5));
    store.advance(Duration::from_secs(1 << 20));
    store.export();
});
