//! What a guest cannot use up.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Change, ConnId, Limits, Store};

use crate::client::{World, error, message, ok, parse};

#[test]
fn a_driver_sets_quotas_by_their_names() {
    let mut store = Store::new(Limits::default());
    for (value, name) in (7000..).zip(Limits::quota_names()) {
        assert!(store.change_quota(name, value), "{name}");
    }
    assert!(!store.change_quota("no-such", 1));
    assert_eq!((store.limits().nodes, store.limits().watches), (7000, 7001));
    let again = Store::import(&store.export()).unwrap();
    assert_eq!(again.limits(), store.limits());
}

#[test]
fn the_defaults_are_xenstoreds() {
    let limits = Limits::default();
    assert_eq!(limits.nodes, 1000);
    assert_eq!(limits.node_size, 2048);
    assert_eq!(limits.permissions, 5);
    assert_eq!(limits.path, 2048);
    assert_eq!(limits.outstanding, 20);
    assert_eq!(limits.memory, 2_621_440);
    assert_eq!(limits.watches, 128);
    assert_eq!(limits.transactions, 10);
    assert_eq!(limits.transaction_nodes, 1024);
}

/// Asks the same of a guest and of dom0, until the guest is refused; returns how often it was not.
fn until_refused(
    world: &mut World,
    guest: ConnId,
    mut ask: impl FnMut(&mut World, ConnId, usize) -> crate::client::Answer,
    refusal: &str,
) -> usize {
    let dom0 = world.dom0();
    for n in 0.. {
        let answer = ask(world, guest, n);
        if answer.is_err() {
            assert_eq!(answer, error(refusal));
            for more in 0..3 {
                assert!(ask(world, dom0, n + more).is_ok(), "dom0 is exempt");
            }
            assert!(ask(world, guest, n + 10).is_err(), "still refused");
            return n;
        }
    }
    0
}

#[test]
fn nodes() {
    let limits = Limits { nodes: 50, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let data = "/local/domain/5/data";
    let write = |world: &mut World, conn, n: usize| world.write(conn, 0, &format!("{data}/{n}"), "");
    assert_eq!(until_refused(&mut world, guest, write, "ENOSPC"), 49, "data itself is one");
    assert_eq!(world.write(guest, 0, "data/0", "y"), ok(), "what is there can be written");
    assert_eq!(world.rm(guest, 0, "data/0"), ok());
    assert_eq!(world.write(guest, 0, "data/a/b", ""), error("ENOSPC"), "two would be too many");
    assert_eq!(world.write(guest, 0, "data/a", ""), error("ENOSPC"), "dom0 gave it three more");
}

#[test]
fn nodes_in_transactions() {
    let limits = Limits { nodes: 10, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let (a, b) = (world.begin(guest), world.begin(guest));
    for n in 0..9 {
        assert_eq!(world.mkdir(guest, a, &format!("data/a{n}")), ok());
        assert_eq!(world.mkdir(guest, b, &format!("data/b{n}")), ok());
    }
    assert_eq!(world.mkdir(guest, a, "data/more"), error("ENOSPC"));
    assert_eq!(world.commit(guest, a), ok());
    assert_eq!(world.commit(guest, b), error("ENOSPC"), "each alone would do");
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 10);
}

#[test]
fn sizes() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    let (fits, too_long) = ("x".repeat(2048), "x".repeat(2049));
    assert_eq!(world.write(guest, 0, "data/x", &fits), ok());
    assert_eq!(world.write(guest, 0, "data/x", &too_long), error("ENOSPC"));
    assert_eq!(world.write(dom0, 0, "/x", &"x".repeat(4000)), ok());
    assert_eq!(world.set_perms(guest, 0, "data", "n5 r1 r2 r3 r4"), ok());
    assert_eq!(world.set_perms(guest, 0, "data", "n5 r1 r2 r3 r4 r6"), error("ENOSPC"));
    let deep = format!("data{}", "/x".repeat(1022));
    assert_eq!(world.mkdir(guest, 0, &deep), error("ENOSPC"), "too many nodes");
    assert_eq!(world.mkdir(dom0, 0, &"/x".repeat(1536)), ok(), "dom0 may go to the depth");
    assert_eq!(world.rm(dom0, 0, "/x"), ok());
}

#[test]
fn paths() {
    let limits = Limits { path: 40, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let short = format!("data/{}", "x".repeat(40 - "data/".len()));
    assert_eq!(world.write(guest, 0, &short, ""), ok());
    assert_eq!(world.write(guest, 0, &format!("{short}x"), ""), error("EINVAL"));
    assert_eq!(world.watch(guest, &format!("{short}x"), "t"), error("EINVAL"));
    let dom0 = world.dom0();
    assert_eq!(world.write(dom0, 0, &format!("/{}", "x".repeat(50)), ""), ok());
}

#[test]
fn watches() {
    let mut world = World::new();
    let guest = world.guest(5);
    let watch = |world: &mut World, conn, n: usize| world.watch(conn, "data", &format!("{n}"));
    assert_eq!(until_refused(&mut world, guest, watch, "E2BIG"), 128);
    assert_eq!(world.ask(guest, Type::Unwatch, 0, b"data\x005\0"), ok());
    assert_eq!(world.watch(guest, "data", "again"), ok());
}

#[test]
fn transactions() {
    let mut world = World::new();
    let guest = world.guest(5);
    let begin = |world: &mut World, conn, _: usize| world.ask(conn, Type::TransactionStart, 0, b"\0");
    assert_eq!(until_refused(&mut world, guest, begin, "ENOSPC"), 10);
}

#[test]
fn nodes_touched_by_a_transaction() {
    let limits = Limits { transaction_nodes: 20, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let tx = world.begin(guest);
    // Its home, whose permissions decide what it is told, is the first of them.
    for n in 1..20 {
        assert_eq!(world.read(guest, tx, &format!("{n}")), error("ENOENT"));
    }
    assert_eq!(world.read(guest, tx, "20"), error("ENOSPC"));
    assert_eq!(world.read(guest, tx, "5"), error("ENOENT"), "known already");
    assert_eq!(world.write(guest, tx, "data/x", ""), error("ENOSPC"));
    assert_eq!(world.commit(guest, tx), ok());
}

#[test]
fn memory() {
    let limits = Limits { memory: 20_000, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let value = "x".repeat(1000);
    let mut written = 0;
    while world.write(guest, 0, &format!("data/{written}"), &value).is_ok() {
        written += 1;
    }
    assert!((15..20).contains(&written), "{written}");
    let all_refused = |world: &mut World| {
        assert_eq!(world.write(guest, 0, "data/more", &value), error("ENOSPC"));
        assert_eq!(world.watch(guest, "data", &value), error("ENOSPC"));
        let begin = world.ask(guest, Type::TransactionStart, 0, b"\0");
        assert_eq!(begin, error("ENOSPC"), "it could keep alive what is removed then");
    };
    all_refused(&mut world);
    assert_eq!(world.write(guest, 0, "data/0", &value), ok(), "overwriting takes nothing");
    assert_eq!(world.rm(guest, 0, "data/0"), ok());
    assert_eq!(world.write(guest, 0, "data/0", &value), ok());
    for n in 0..written {
        world.rm(guest, 0, &format!("data/{n}")).unwrap();
    }

    // A transaction that writes one node again and again does not grow for ever, either.
    let tx = world.begin(guest);
    let mut rounds = 0;
    while world.write(guest, tx, "data/x", &value).is_ok() {
        rounds += 1;
    }
    assert!((10..20).contains(&rounds), "{rounds}");
    assert_eq!(world.watch(guest, "data", &value), error("ENOSPC"));
    assert_eq!(world.abort(guest, tx), ok());
    assert_eq!(world.watch(guest, "data", &value), ok());
}

#[test]
fn output_is_bounded_and_nothing_is_lost() {
    let limits = Limits { output: 10_000, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let value = "x".repeat(2000);
    world.write(guest, 0, "data/x", &value).unwrap();
    let mut sent = 0;
    while world.store.wants_input(guest) {
        // As much as a ring holds, in one go.
        let requests: Vec<u8> =
            (0..40).flat_map(|n| message(Type::Read as u32, sent + n, 0, b"data/x\0")).collect();
        world.store.receive(guest, &requests).unwrap();
        sent += 40;
        assert!(world.store.output(guest).len() < 10_000 + 2016);
    }
    assert_eq!(sent, 40);
    let mut answered = 0;
    loop {
        let (messages, used) = parse(world.store.output(guest));
        if used == 0 {
            break;
        }
        // Taken in small bites, as a ring would.
        for bite in vec![500; used / 500].into_iter().chain([used % 500]) {
            world.store.consume_output(guest, bite);
            assert!(world.store.output(guest).len() < 10_000 + 2016);
        }
        for message in messages {
            assert_eq!(message.header.req_id, answered);
            assert_eq!(message.payload.len(), 2000);
            answered += 1;
        }
    }
    assert_eq!(answered, sent);
    assert!(world.store.wants_input(guest));
}

#[test]
fn feeding_without_being_asked_ends_the_connection() {
    let limits = Limits { output: 100, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let request = message(Type::Read as u32, 1, 0, &[b'x'; 4000]);
    let refused = (0..100).find(|_| world.store.receive(guest, &request).is_err());
    assert!(refused.is_some());
}

#[test]
fn the_control_domain_hears_every_event() {
    let limits = Limits { output: 1000, ..Limits::default() };
    let mut world = World::with(limits);
    let dom0 = world.dom0();
    world.watch(dom0, "/w", "t").unwrap();
    world.drain(dom0);
    let batch: Vec<_> = (0..500).map(|n| Change::mkdir(format!("/w/{n}"))).collect();
    world.store.commit(&batch).unwrap();
    assert!(!world.store.wants_input(dom0));
    assert_eq!(world.events(dom0).len(), 500);
}
