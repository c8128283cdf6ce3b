//! Transactions that keep others from getting on, or end in the middle of something.

use std::time::Duration;

use xen_sys::io::xs_wire::XsdSockmsgType as Type;

use crate::client::{World, error, message, ok};

/// Every write of a guest made every open transaction fail: by writing in a loop it kept the toolstack
/// from ever committing one.
#[test]
fn xsa_206_a_guest_that_writes_without_end_stops_nobody() {
    let mut world = World::new();
    let guest = world.guest(5);
    let dom0 = world.dom0();
    let mut tries = 0;
    for round in 0..200_u64 {
        world.store.advance(Duration::from_millis(round));
        let tx = world.begin(dom0);
        // It reads the guest's node: a true conflict, whenever the guest writes.
        world.read(dom0, tx, "/local/domain/5/data").unwrap();
        world.write(dom0, tx, &format!("/tool/{round}"), "").unwrap();
        for _ in 0..10 {
            if world.store.wants_input(guest) {
                world.store.receive(guest, &message(Type::Write as u32, 0, 0, b"data\0x")).unwrap();
                world.store.consume_output(guest, usize::MAX);
            }
        }
        tries += usize::from(world.commit(dom0, tx) == error("EAGAIN"));
    }
    assert!(tries <= 5 + 200 / 50, "{tries} of 200 failed");
    // And where it is no true conflict, nothing fails at all.
    let tx = world.begin(dom0);
    world.write(dom0, tx, "/tool/other", "").unwrap();
    world.store.advance(Duration::from_secs(60));
    world.drain(guest);
    assert_eq!(world.write(guest, 0, "data/x", "y"), ok());
    let tx = world.begin(dom0);
    world.write(dom0, tx, "/tool/other", "").unwrap();
    assert_eq!(world.write(guest, 0, "data/x", "z"), ok());
    assert_eq!(world.commit(dom0, tx), ok());
}

/// RESET_WATCHES within a transaction removed the transaction that it was itself part of: an assertion
/// failed, and any guest could end xenstored with it.
#[test]
fn xsa_484_reset_watches_inside_a_transaction() {
    let mut world = World::new();
    let (guest, other) = (world.guest(5), world.guest(6));
    for _ in 0..3 {
        let (first, second) = (world.begin(guest), world.begin(guest));
        world.watch(guest, "data", "t").unwrap();
        world.write(guest, first, "data/x", "never").unwrap();
        assert_eq!(world.ask(guest, Type::ResetWatches, first, b"\0"), ok());
        for tx in [first, second] {
            assert_eq!(world.commit(guest, tx), error("ENOENT"), "all are gone");
        }
        assert_eq!(world.store.watch_count(), 0);
        assert_eq!(world.read(guest, 0, "data/x"), error("ENOENT"));
        assert_eq!(world.write(other, 0, "data/x", "v"), ok());
    }
    let open: Vec<_> = (0..10).map(|_| world.begin(guest)).collect();
    assert_eq!(open.len(), 10, "none counts that was reset");
}

/// Other requests, too, that carry the id of a transaction that just ended, or never was.
#[test]
fn ended_transactions_are_no_transactions() {
    let mut world = World::new();
    let guest = world.guest(5);
    let tx = world.begin(guest);
    world.commit(guest, tx).unwrap();
    for tx in [tx, 77, u32::MAX] {
        assert_eq!(world.read(guest, tx, "data"), error("ENOENT"));
        assert_eq!(world.write(guest, tx, "data/x", "v"), error("ENOENT"));
        assert_eq!(world.ask(guest, Type::TransactionStart, tx, b"\0"), error("ENOENT"));
        assert_eq!(world.commit(guest, tx), error("ENOENT"));
    }
    assert_eq!(world.read(guest, 0, "data/x"), error("ENOENT"));
}
