//! Bytes as they come from a guest and from a tool, in any pieces. Nothing may panic, what the store
//! holds keeps to its bounds, its books stay right, and an export and a journal make the same state.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xen_sys::DomId;
use xenstore::{Access, Change, Limits, Perms, Store};

fuzz_target!(|input: &[u8]| {
    let limits =
        Limits { nodes: 30, memory: 30_000, output: 5_000, socket_output: 20_000, ..Limits::default() };
    let mut store = Store::new(limits);
    let own = Perms::new(DomId(5), Access::None);
    store.commit(&[Change::mkdir("/local/domain/5/data").with_perms(own)]).expect("a good path");
    store.introduce(DomId(5));
    let clients = [store.connect(DomId(5)), store.connect_socket()];
    let base = store.export();
    store.start_journal();
    let mut rest = input;
    let mut now = Duration::ZERO;
    // A byte says who sends, how much, and how much is taken back.
    while let Some((&control, tail)) = rest.split_first() {
        let conn = clients[usize::from(control & 1)];
        let (piece, tail) = tail.split_at(tail.len().min(usize::from(control >> 2)));
        rest = tail;
        if control & 2 != 0 {
            now += Duration::from_millis(u64::from(control));
            store.advance(now);
            store.consume_output(conn, usize::from(control) * 20);
        }
        if store.wants_input(conn) && store.receive(conn, piece).is_err() {
            store.disconnect(conn);
        }
        assert!(store.output(clients[0]).len() < 5_000 + 4_112 + 4_112);
        assert!(store.output(clients[1]).len() < 20_000 + 4_112 + 4_112);
        store.connections_with_output();
        store.take_requests();
    }
    // Whom a driver is to look at is in an export, and not in a journal.
    store.connections_with_output();
    let image = store.export();
    assert!(image.len() < 2_000_000, "{} bytes", image.len());
    let mut again = Store::import(&image).expect("an export can be imported");
    assert!(again.export() == image);
    let journal = store.take_journal();
    let mut replayed = Store::import(&base).expect("an export can be imported");
    assert_eq!(replayed.replay(&journal), journal.len());
    replayed.connections_with_output();
    assert!(replayed.export() == image);
    for conn in clients {
        assert_eq!(again.output(conn), store.output(conn));
        again.disconnect(conn);
    }
    again.release(DomId(5));
    assert_eq!((again.nodes_owned_by(DomId(5)), again.watch_count()), (0, 0));
});
