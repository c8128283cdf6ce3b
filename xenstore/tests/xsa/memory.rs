//! Guests that want all of the server's memory, or its stack. What the server holds is measured by its
//! exported state, in which everything is that a guest can make grow.

use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Change, ConnId, Limits};

use crate::client::{World, error, message, ok};

/// Sends as often as the server listens, and takes nothing back.
fn flood(world: &mut World, conn: ConnId, request: impl Fn(u32) -> Vec<u8>) -> u32 {
    let mut sent = 0;
    while world.store.wants_input(conn) && sent < 100_000 {
        world.store.receive(conn, &request(sent)).unwrap();
        sent += 1;
    }
    sent
}

/// A guest that sends requests and never reads the replies had all of them kept for it.
#[test]
fn xsa_326_unread_replies_are_bounded() {
    let mut world = World::new();
    let guest = world.guest(5);
    world.write(guest, 0, "data/x", &"x".repeat(2000)).unwrap();
    let empty = world.store.export().len();
    let sent = flood(&mut world, guest, |n| message(Type::Read as u32, n, 0, b"data/x\0"));
    assert_eq!(sent, 20, "outstanding requests");
    assert!(world.store.export().len() - empty < 20 * 2100);
}

/// A guest with many watches and many nodes below them removes the nodes, and does not read the events;
/// or somebody else changes them.
#[test]
fn xsa_326_unread_events_are_bounded() {
    let mut world = World::new();
    let guest = world.guest(5);
    for n in 0..128 {
        assert_eq!(world.watch(guest, "data", &format!("{n}-{}", "t".repeat(1000))), ok());
    }
    world.drain(guest);
    let batch: Vec<_> = (0..900).map(|n| Change::mkdir(format!("/local/domain/5/data/{n}"))).collect();
    world.store.commit(&batch).unwrap();
    let empty = world.store.export().len();
    for _ in 0..10 {
        world.store.commit(&[Change::remove("/local/domain/5/data")]).unwrap();
        world.store.commit(&batch).unwrap();
    }
    let limit = Limits::default().output + 4200;
    assert!(world.store.output(guest).len() < limit);
    assert!(world.store.export().len() - empty < limit);
    let events = world.events(guest);
    let last = events.len() - 128;
    let owed = events[last..].iter().filter(|event| event.starts_with("data ")).count();
    assert_eq!(owed, 128, "in the end each watch has fired");
}

/// Nodes of the greatest size in as many transactions as there may be, and many nodes touched in one.
#[test]
fn xsa_326_transactions_are_bounded() {
    let mut world = World::new();
    let guest = world.guest(5);
    let value = "x".repeat(2000);
    let mut open = Vec::new();
    while let Ok(id) = world.ask(guest, Type::TransactionStart, 0, b"\0") {
        open.push(String::from_utf8(id).unwrap().trim_end_matches('\0').parse::<u32>().unwrap());
    }
    assert!((1..=10).contains(&open.len()));
    for &tx in &open {
        for n in 0..2000 {
            let path = format!("data/{n}{}", "x".repeat(1900));
            if world.write(guest, tx, &path, &value).is_err() {
                break;
            }
        }
        for n in 0..2000 {
            let _ = world.read(guest, tx, &format!("{n}{}", "x".repeat(1900)));
        }
    }
    let held = world.store.export().len();
    assert!(held < 2 * Limits::default().memory, "{held} bytes");
}

/// What a request needed for a while was kept until its reply was read: requests that are long and
/// replies that are short made memory grow past every quota.
#[test]
fn xsa_416_a_request_leaves_nothing_behind_but_its_reply() {
    let mut world = World::new();
    let guest = world.guest(5);
    let long = [b"data/x\0", &[b'y'; 4000][..]].concat();
    let empty = world.store.export().len();
    let sent = flood(&mut world, guest, |n| message(Type::Write as u32, n, 0, &long));
    assert_eq!(sent, 20);
    let grown = world.store.export().len() - empty;
    assert!(grown < 20 * 60, "{grown} bytes: ERROR replies, and where they end");
}

/// Walking the tree by recursion: a guest that nests its nodes deeply enough ends the server's stack.
/// Creating, listing, removing, checking, exporting, releasing: none may.
#[test]
fn xsa_418_depth_is_no_danger() {
    let run = || {
        let limits = Limits { nodes: 5000, ..Limits::default() };
        let mut world = World::with(limits);
        let guest = world.guest(5);
        let dom0 = world.dom0();
        let deep = format!("data{}", "/x".repeat(1022));
        for tx in [0, 1] {
            if tx == 1 {
                assert_eq!(world.begin(guest), 1);
            }
            assert_eq!(world.mkdir(guest, tx, &deep), ok());
            assert_eq!(world.write(guest, tx, &deep, "v"), ok());
            assert_eq!(world.ask(guest, Type::Watch, 0, format!("{deep}\0{tx}\0").as_bytes()), ok());
            world.store.commit(&[Change::mkdir(format!("/other/{tx}"))]).unwrap();
            if tx == 1 {
                assert_eq!(world.commit(guest, tx), ok());
            }
            assert_eq!(world.ask(dom0, Type::Control, 0, b"check\0"), ok());
            let image = world.store.export();
            world.store = xenstore::Store::import(&image).unwrap();
            assert_eq!(world.rm(guest, 0, "data/x"), ok());
        }
        assert_eq!(world.mkdir(guest, 0, &deep), ok());
        world.store.release(xen_sys::DomId(5));
        assert_eq!(world.store.nodes_owned_by(xen_sys::DomId(5)), 0);
    };
    // A recursion of 1000 levels would need far more.
    std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap();
}

/// oxenstored forgot the watches of a RESET_WATCHES in one of two places: they counted no longer, and
/// stayed in memory.
#[test]
fn xsa_330_watches_that_were_reset_are_gone() {
    let mut world = World::new();
    let guest = world.guest(5);
    world.store.connections_with_output();
    let empty = world.store.export().len();
    for round in 0..50 {
        for n in 0..128 {
            assert_eq!(world.watch(guest, &format!("data/{round}/{n}"), "t"), ok());
        }
        assert_eq!(world.watch(guest, "data/more", "t"), error("E2BIG"));
        assert_eq!(world.ask(guest, Type::ResetWatches, 0, b"\0"), ok());
        assert_eq!(world.store.watch_count(), 0);
    }
    world.store.connections_with_output();
    assert_eq!(world.store.export().len(), empty);
    assert_eq!(world.write(guest, 0, "data/1/1", ""), ok());
    assert_eq!(world.events(guest), Vec::<String>::new());
}
