//! Sockets, rings that start anew, and guests that go too fast.

use std::time::Duration;

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Change, ConnKind, Limits};

use crate::client::{World, error, message, ok};

#[test]
fn a_tools_socket_has_dom0s_privilege_and_no_quota() {
    let limits = Limits { nodes: 1, watches: 1, transactions: 1, outstanding: 1, ..Limits::default() };
    let mut world = World::with(limits);
    let tool = world.store.connect_socket();
    assert_eq!(world.write(tool, 0, "tool/x", "1"), ok());
    assert_eq!(world.store.read("/local/domain/0/tool/x"), Some(&b"1"[..]));
    for n in 0..300 {
        assert_eq!(world.mkdir(tool, 0, &format!("/tool/{n}")), ok());
        assert_eq!(world.watch(tool, "/tool", &format!("{n}")), ok());
        world.begin(tool);
    }
    let kinds: Vec<_> = world.store.connections().map(|(_, domid, kind)| (domid, kind)).collect();
    assert_eq!(kinds, [(DomId::DOM0, ConnKind::Socket)]);
}

#[test]
fn a_tool_that_was_stopped_costs_no_more_than_its_bound() {
    let limits = Limits { socket_output: 10_000, ..Limits::default() };
    let mut world = World::with(limits);
    let tool = world.store.connect_socket();
    world.watch(tool, "/w", "t").unwrap();
    for n in 0..2000 {
        world.store.commit(&[Change::mkdir(format!("/w/{n}"))]).unwrap();
    }
    assert!(world.store.output(tool).len() < 10_100);
    let events = world.events(tool);
    assert_eq!(events[0], "/w/0 t");
    assert_eq!(events.last().unwrap(), "/w t", "one for all that it missed");
}

#[test]
fn a_ring_starts_anew() {
    let mut world = World::new();
    let guest = world.guest(5);
    world.watch(guest, "data", "t").unwrap();
    let tx = world.begin(guest);
    world.write(guest, tx, "data/x", "lost").unwrap();
    let half = &message(Type::Read as u32, 1, 0, b"data/x\0")[..20];
    world.store.receive(guest, half).unwrap();
    world.store.commit(&[Change::mkdir("/local/domain/5/data/y")]).unwrap();
    assert!(!world.store.output(guest).is_empty());

    world.store.reset(guest);
    assert!(world.store.output(guest).is_empty());
    assert!(world.store.watches_of(guest).is_empty());
    assert_eq!(world.store.watch_count(), 0);
    assert_eq!(world.commit(guest, tx), error("ENOENT"));
    assert_eq!(world.read(guest, 0, "data/x"), error("ENOENT"), "on a message's boundary again");
    assert!(world.store.is_introduced(DomId(5)));
}

#[test]
fn a_guest_with_too_many_unread_replies_waits() {
    let mut world = World::new();
    let guest = world.guest(5);
    let requests: Vec<u8> = (0..50).flat_map(|n| message(Type::GetDomainPath as u32, n, 0, b"5\0")).collect();
    world.store.receive(guest, &requests).unwrap();
    assert_eq!(world.store.output(guest).len(), 20 * (16 + 16), "20 replies");
    assert!(!world.store.wants_input(guest));
    world.store.consume_output(guest, 31);
    assert_eq!(world.store.output(guest).len(), 20 * 32 - 31, "none is taken whole");
    world.store.consume_output(guest, 1);
    assert_eq!(world.store.output(guest).len(), 20 * 32, "one more");
    let replies: Vec<u32> = world.drain(guest).iter().map(|message| message.header.req_id).collect();
    assert_eq!(replies, (1..50).collect::<Vec<_>>());
}

#[test]
fn a_guest_that_writes_without_end_is_slowed_and_loses_nothing() {
    let limits = Limits { write_burst: 100, writes_per_second: 10, ..Limits::default() };
    let mut world = World::with(limits);
    let (guest, other) = (world.guest(5), world.guest(6));
    let mut sent = 0;
    while world.store.wants_input(guest) {
        world.store.receive(guest, &message(Type::Write as u32, sent, 0, b"data/x\0v")).unwrap();
        sent += 1;
        world.store.consume_output(guest, usize::MAX);
    }
    assert_eq!(sent, 101);
    world.store.receive(guest, &message(Type::Write as u32, sent, 0, b"data/last\0v")).unwrap();
    assert_eq!(world.store.read("/local/domain/5/data/last"), None, "it waits");
    assert_eq!(world.write(other, 0, "data/x", "v"), ok(), "others do not");
    world.store.connections_with_output();
    let deadline = world.store.deadline().unwrap();
    assert!(deadline > Duration::from_secs(1));
    world.store.advance(deadline - Duration::from_nanos(1));
    assert_eq!(world.store.read("/local/domain/5/data/last"), None);
    world.store.advance(deadline);
    assert!(world.store.read("/local/domain/5/data/last").is_some());
    assert_eq!(world.store.connections_with_output(), [guest]);
    assert!(world.store.wants_input(guest));
    assert_eq!(world.store.deadline(), None);
}

#[test]
fn transactions_do_not_last_for_ever() {
    let mut world = World::new();
    let guest = world.guest(5);
    let (old, other) = (world.begin(guest), world.begin(guest));
    world.write(guest, old, "data/x", "v").unwrap();
    assert_eq!(world.store.deadline(), Some(Duration::from_secs(60)));
    world.store.advance(Duration::from_secs(30));
    let young = world.begin(guest);
    world.store.advance(Duration::from_secs(60));
    assert_eq!(world.read(guest, old, "data/x"), error("EAGAIN"));
    assert_eq!(world.commit(guest, old), error("EAGAIN"), "try again");
    assert_eq!(world.commit(guest, old), error("ENOENT"), "it has been told");
    assert_eq!(world.abort(guest, other), ok());
    assert_eq!(world.write(guest, young, "data/x", "v"), ok());
    assert_eq!(world.store.deadline(), Some(Duration::from_secs(90)));
    assert_eq!(world.commit(guest, young), ok());
}

/// A guest may write what dom0's transaction reads; if it does so again and again, dom0 still gets on.
#[test]
fn conflicts_on_purpose_do_not_starve_the_toolstack() {
    let mut world = World::new();
    let (guest, innocent) = (world.guest(5), world.guest(6));
    let dom0 = world.dom0();
    world.write(guest, 0, "data/x", "0").unwrap();
    let mut tries = 0;
    loop {
        tries += 1;
        let tx = world.begin(dom0);
        world.read(dom0, tx, "/local/domain/5/data/x").unwrap();
        world.write(dom0, tx, "/done", "yes").unwrap();
        let spoil = message(Type::Write as u32, 1, 0, b"data/x\0again");
        if world.store.wants_input(guest) {
            world.store.receive(guest, &spoil).unwrap();
            world.store.consume_output(guest, usize::MAX);
        }
        if world.commit(dom0, tx) == ok() {
            break;
        }
    }
    assert_eq!(tries, 6, "five points of credit, and then it is not heard");
    assert!(!world.store.wants_input(guest));
    assert!(world.store.wants_input(innocent));
    world.store.advance(Duration::from_millis(50));
    assert!(world.store.wants_input(guest), "one point more");
}
