//! Guests that get past their quotas.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Access, Change, Limits, Perms};

use crate::client::{World, error, ok};

/// oxenstored did not apply its quota on nodes to a write that only it would create (CVE-2018-15470).
#[test]
fn xsa_272_a_write_creates_no_more_than_the_quota() {
    let limits = Limits { nodes: 100, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    for n in 0..300 {
        let _ = world.write(guest, 0, &format!("data/w{n}"), "");
        let _ = world.mkdir(guest, 0, &format!("data/m{n}"));
        let _ = world.write(guest, 0, &format!("data/deep{n}/a/b/c"), "");
    }
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 100);
}

/// A guest that had no quota left could not remove anything any more, and what failed half-way stayed on
/// its account (part of XSA-115's series).
#[test]
fn xsa_115_what_fails_is_not_on_the_account() {
    let limits = Limits { nodes: 10, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    for n in 0..9 {
        world.mkdir(guest, 0, &format!("data/{n}")).unwrap();
    }
    for _ in 0..20 {
        assert_eq!(world.write(guest, 0, "data/a/b/c", "x"), error("ENOSPC"));
        assert_eq!(world.store.nodes_owned_by(DomId(5)), 10);
    }
    assert_eq!(world.rm(guest, 0, "data/0"), ok(), "removing is always possible");
    assert_eq!(world.mkdir(guest, 0, "data/0"), ok());
}

/// Undoing a creation that failed half-way crashed xenstored, or damaged its accounts: here it is
/// refused before anything is done.
#[test]
fn xsa_414_a_creation_is_whole_or_not_at_all() {
    let limits = Limits { nodes: 6, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let dom0 = world.dom0();
    let before = world.store.node_count();
    for tx in [0, world.begin(guest)] {
        for depth in 6..40 {
            let path = format!("data{}", "/x".repeat(depth));
            assert_eq!(world.write(guest, tx, &path, "v"), error("ENOSPC"), "{depth}");
            assert_eq!(world.directory(guest, tx, "data"), Ok(String::new()), "nothing of it is there");
        }
    }
    assert_eq!(world.store.node_count(), before);
    assert_eq!(world.ask(dom0, Type::Control, 0, b"check\0"), ok());
    assert_eq!(world.write(guest, 0, &format!("data{}", "/x".repeat(5)), "v"), ok());
}

/// The parts of a creation that failed within a transaction stayed in it: its commit left nodes that no
/// parent lists, and nobody can remove.
#[test]
fn xsa_415_a_transaction_leaves_no_orphans() {
    let limits = Limits { nodes: 6, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let dom0 = world.dom0();
    for round in 0..20 {
        let tx = world.begin(guest);
        assert_eq!(world.mkdir(guest, tx, "data/a"), ok());
        assert_eq!(world.mkdir(guest, tx, &format!("data/b{round}/c/d/e/f/g")), error("ENOSPC"));
        assert_eq!(world.commit(guest, tx), ok());
        assert_eq!(world.directory(dom0, 0, "/local/domain/5/data"), Ok("a".to_owned()));
        assert_eq!(world.store.nodes_owned_by(DomId(5)), 2);
        assert_eq!(world.ask(dom0, Type::Control, 0, b"check\0"), ok());
    }
}

/// Creating a node and removing it again in the same transaction ended the commit half-way, with nodes
/// made and not accounted for.
#[test]
fn xsa_421_what_comes_and_goes_in_a_transaction_costs_nothing() {
    let mut world = World::with(Limits { writes_per_second: 0, ..Limits::default() });
    let guest = world.guest(5);
    let dom0 = world.dom0();
    for round in 0..30 {
        let tx = world.begin(guest);
        for n in 0..20 {
            assert_eq!(world.write(guest, tx, &format!("data/keep{n}"), "v"), ok());
            assert_eq!(world.write(guest, tx, &format!("data/gone{n}/x"), "v"), ok());
        }
        for n in 0..20 {
            assert_eq!(world.rm(guest, tx, &format!("data/gone{n}")), ok());
        }
        assert_eq!(world.write(guest, tx, "data/gone5/again", "v"), ok());
        assert_eq!(world.rm(guest, tx, "data/gone5"), ok());
        // With somebody else's change in between, the commit is a merge, and without, it is none.
        if round % 2 == 0 {
            world.store.commit(&[Change::mkdir(format!("/other/{round}"))]).unwrap();
        }
        assert_eq!(world.commit(guest, tx), ok());
        assert_eq!(world.store.nodes_owned_by(DomId(5)), 21);
        assert_eq!(world.ask(dom0, Type::Control, 0, b"check\0"), ok());
    }
}

/// Two transactions that each keep to the quota, and together do not; and one that was begun before
/// nodes of the guest were removed.
#[test]
fn xsa_421_commits_keep_to_the_quota() {
    let limits = Limits { nodes: 10, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let open: Vec<u32> = (0..10).map(|_| world.begin(guest)).collect();
    for &tx in &open {
        for n in 0..8 {
            assert_eq!(world.mkdir(guest, tx, &format!("data/{tx}-{n}")), ok());
        }
    }
    let committed = open.iter().filter(|tx| world.commit(guest, **tx).is_ok()).count();
    assert_eq!(committed, 1);
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 9);
}

/// A number that is read as signed, or past its range, makes a quota negative or none at all.
#[test]
fn negative_quotas_are_refused() {
    let mut world = World::new();
    let dom0 = world.dom0();
    for value in ["-1", "-2147483648", "4294967296", "99999999999999999999", "1x", "", " 1", "+1", "0x10"] {
        for payload in [format!("nodes\0{value}\0"), format!("5\0nodes\0{value}\0")] {
            let answer = world.ask(dom0, Type::SetQuota, 0, payload.as_bytes());
            assert_eq!(answer, error("EINVAL"), "{value:?}");
        }
        let payload = format!("quota\0set\0nodes\0{value}\0");
        assert_eq!(world.ask(dom0, Type::Control, 0, payload.as_bytes()), error("EINVAL"), "{value:?}");
    }
    assert_eq!(world.store.limits(), &Limits::default());
}

/// What dom0 gives to a guest beyond its quota is there; the guest can make no more, and nothing turns
/// negative when it goes.
#[test]
fn accounts_beyond_the_quota_do_not_wrap() {
    let limits = Limits { nodes: 3, memory: 2000, ..Limits::default() };
    let mut world = World::with(limits);
    let guest = world.guest(5);
    let own = Perms::new(DomId(5), Access::None);
    let gifts: Vec<_> = (0..50)
        .map(|n| Change::write(format!("/local/domain/5/data/{n}"), "x".repeat(200)).with_perms(own.clone()))
        .collect();
    world.store.commit(&gifts).unwrap();
    assert_eq!(world.mkdir(guest, 0, "data/more"), error("ENOSPC"));
    assert_eq!(world.watch(guest, "data", "t"), error("ENOSPC"));
    assert_eq!(world.write(guest, 0, "data/1", "shorter"), ok());
    for n in 0..50 {
        assert_eq!(world.rm(guest, 0, &format!("data/{n}")), ok());
    }
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 1);
    assert_eq!(world.mkdir(guest, 0, "data/more"), ok());
}
