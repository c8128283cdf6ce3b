//! Bytes that make no sense.

use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Broken, Limits, Store};

use crate::client::{Random, World, error, message, parse};

#[test]
fn an_overlong_message_breaks_the_connection() {
    let mut world = World::new();
    let guest = world.guest(5);
    let mut header = message(Type::Read as u32, 1, 0, b"");
    header[12..].copy_from_slice(&4097_u32.to_ne_bytes());
    assert_eq!(world.store.receive(guest, &header), Err(Broken::PayloadTooLong(4097)));
    world.store.disconnect(guest);
    let other = world.guest(6);
    assert_eq!(world.read(other, 0, "data"), Ok(Vec::new()), "others go on");
}

#[test]
fn the_longest_message_is_served() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let payload = [&b"/x\0"[..], &[7; 4093]].concat();
    assert!(world.ask(dom0, Type::Write, 0, &payload).is_ok());
    assert_eq!(world.read(dom0, 0, "/x"), Ok(vec![7; 4093]));
}

#[test]
fn unknown_types_get_an_error() {
    let mut world = World::new();
    let guest = world.guest(5);
    for kind in [20, 27, 100, 0xffff, u32::MAX] {
        world.store.receive(guest, &message(kind, 9, 8, b"/\0")).unwrap();
        let replies = world.drain(guest);
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].header.kind, Type::Error as u32);
        assert_eq!((replies[0].header.req_id, replies[0].header.tx_id), (9, 8));
        assert_eq!(replies[0].payload, b"ENOSYS\0");
    }
    assert_eq!(world.read(guest, 0, "gone"), error("ENOENT"));
}

#[test]
fn requests_may_come_byte_by_byte() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let stream = [
        message(Type::Write as u32, 1, 0, b"/x\0value"),
        message(Type::Read as u32, 2, 0, b"/x\0"),
        message(Type::TransactionStart as u32, 3, 0, b""),
    ]
    .concat();
    for byte in stream {
        world.store.receive(dom0, &[byte]).unwrap();
    }
    let payloads: Vec<_> = world.drain(dom0).into_iter().map(|reply| reply.payload).collect();
    assert_eq!(payloads, [&b"OK\0"[..], b"value", b"1\0"]);
}

#[test]
fn noise_does_no_harm() {
    let mut random = Random(1);
    for _ in 0..300 {
        let mut store = Store::new(Limits::default());
        let conn = store.connect(xen_sys::DomId(random.below(3) as u16));
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..random.below(60)).map(|_| random.below(256) as u8).collect();
            if store.receive(conn, &bytes).is_err() {
                break;
            }
        }
        assert_eq!(store.node_count(), 1);
    }
}

/// Whole messages of all types with payloads made of what such payloads consist of.
#[test]
fn shuffled_payloads_always_get_one_reply() {
    let words: &[&[u8]] = &[
        b"/",
        b"data",
        b"\0",
        b"\0\0",
        b"T",
        b"F",
        b"0",
        b"5",
        b"-1",
        b"n5",
        b"b0",
        b"@",
        b"//",
        b"a",
        b"introduceDomain",
        b"releaseDomain",
        b"\xff",
        b"local/domain/5",
        b"4294967296",
        b"x/y/z",
    ];
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut world = World::new();
        let clients = [world.dom0(), world.guest(5), world.guest(6)];
        for round in 0..1500 {
            let conn = clients[random.below(clients.len())];
            let payload: Vec<u8> = (0..random.below(9)).flat_map(|_| random.pick(words).to_vec()).collect();
            let tx_id = random.below(4) as u32;
            let request = message(random.below(26) as u32, round, tx_id, &payload);
            world.store.receive(conn, &request).unwrap();
            let (messages, used) = parse(world.store.output(conn));
            assert_eq!(used, world.store.output(conn).len(), "whole messages");
            let replies = messages.iter().filter(|reply| reply.header.req_id == round);
            let events = |kind| kind == Type::WatchEvent as u32;
            assert_eq!(replies.filter(|reply| !events(reply.header.kind)).count(), 1);
            world.drain(conn);
            world.store.take_requests();
        }
    }
}
