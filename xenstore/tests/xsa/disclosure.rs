//! Guests that learn or change what is not theirs.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Access, Change, Perms};

use crate::client::{World, error, ok};

/// Watch events went to whoever had set a watch, with no regard to the node's permissions: a guest that
/// watched `/` saw the path of every change on the host.
#[test]
fn xsa_115_watches_tell_only_of_what_one_may_see() {
    let mut world = World::new();
    let (spy, victim) = (world.guest(5), world.guest(6));
    let dom0 = world.dom0();
    for path in ["/", "/local/domain/6", "/local/domain/6/data/key", "/tool"] {
        assert_eq!(world.watch(spy, path, "spy"), ok(), "it may set them");
    }
    world.drain(spy);
    world.write(victim, 0, "data/key", "x").unwrap();
    world.write(dom0, 0, "/tool/secret", "x").unwrap();
    let tx = world.begin(dom0);
    world.write(dom0, tx, "/tool/in-a-transaction", "x").unwrap();
    world.commit(dom0, tx).unwrap();
    world.rm(victim, 0, "data/key").unwrap();
    world.rm(dom0, 0, "/tool").unwrap();
    assert_eq!(world.events(spy), Vec::<String>::new());

    world.set_perms(victim, 0, "data", "n6 r5").unwrap();
    world.write(victim, 0, "data/key", "x").unwrap();
    assert!(!world.events(spy).is_empty(), "it hears of what it may read");
}

/// Removing a node fired every watch below it, also those on nodes that never were: a guest could find
/// out, by watching names, what had been there.
#[test]
fn xsa_115_a_removal_fires_only_the_watches_of_what_was_there() {
    let mut world = World::new();
    let guest = world.guest(5);
    let dom0 = world.dom0();
    let reads = Perms::new(DomId::DOM0, Access::None).with(DomId(5), Access::Read);
    let hidden = Perms::new(DomId::DOM0, Access::None);
    let batch = [
        Change::mkdir("/t").with_perms(reads.clone()),
        Change::mkdir("/t/open").with_perms(reads),
        Change::mkdir("/t/shut").with_perms(hidden.clone()),
        Change::mkdir("/t/shut/deep").with_perms(hidden),
    ];
    world.store.commit(&batch).unwrap();
    for path in ["/t/open", "/t/never", "/t/shut/deep", "/t/shut/never"] {
        world.watch(guest, path, "w").unwrap();
    }
    world.drain(guest);
    world.rm(dom0, 0, "/t").unwrap();
    assert_eq!(world.events(guest), ["/t/open w"]);
}

/// `@introduceDomain` and `@releaseDomain` were told to everybody, and everybody could ask whether a
/// domain is introduced: guests learnt of the coming and going of others.
#[test]
fn xsa_115_other_domains_are_nobodys_business() {
    let mut world = World::new();
    let spy = world.guest(5);
    for name in ["@introduceDomain", "@releaseDomain", "@releaseDomain/6"] {
        assert_eq!(world.watch(spy, name, "spy"), ok());
    }
    assert_eq!(world.ask(spy, Type::Watch, 0, b"@releaseDomain\0deep\x001\0"), ok());
    world.drain(spy);
    world.store.introduce(DomId(6));
    world.store.stopped(DomId(6));
    world.store.release(DomId(6));
    assert_eq!(world.events(spy), Vec::<String>::new());
    assert_eq!(world.ask(spy, Type::IsDomainIntroduced, 0, b"6\0"), error("EACCES"));
    assert_eq!(world.set_perms(spy, 0, "@releaseDomain", "n0 r5"), error("EACCES"));
}

/// WATCH and UNWATCH with a transaction's id failed when there was no such transaction; a guest could
/// so be kept from taking its watches away. The id is to be ignored.
#[test]
fn xsa_115_a_watchs_transaction_is_ignored() {
    let mut world = World::new();
    let guest = world.guest(5);
    assert_eq!(world.ask(guest, Type::Watch, 77, b"data\0t\0"), ok());
    assert_eq!(world.ask(guest, Type::Unwatch, 78, b"data\0t\0"), ok());
    assert_eq!(world.store.watch_count(), 0);
}

/// oxenstored let an owner give a node away: quotas of others were filled, and what dom0 was given cost
/// the giver nothing more.
#[test]
fn xsa_352_nobody_gives_nodes_away() {
    let mut world = World::new();
    let guest = world.guest(5);
    let victim = world.guest(6);
    world.write(guest, 0, "data/x", "").unwrap();
    let before = (world.store.nodes_owned_by(DomId(6)), world.store.nodes_owned_by(DomId::DOM0));
    for perms in ["n0", "n6", "n0 b5", "b6 b5"] {
        assert_eq!(world.set_perms(guest, 0, "data/x", perms), error("EPERM"), "{perms}");
        let tx = world.begin(guest);
        assert_eq!(world.set_perms(guest, tx, "data/x", perms), error("EPERM"), "{perms}");
        world.commit(guest, tx).unwrap();
    }
    assert_eq!(world.get_perms(guest, 0, "data/x"), Ok("n5".to_owned()));
    // Nor by creating below somebody else's node: what a guest creates is its own.
    assert_eq!(world.set_perms(victim, 0, "data", "b6"), ok());
    assert_eq!(world.mkdir(guest, 0, "/local/domain/6/data/a/b"), ok());
    let after = (world.store.nodes_owned_by(DomId(6)), world.store.nodes_owned_by(DomId::DOM0));
    assert_eq!(before, after);
}

/// oxenstored made no permission checks on the root node: any guest could open it, list it, and remove
/// all that is below.
#[test]
fn xsa_353_the_root_has_permissions_too() {
    let mut world = World::new();
    let guest = world.guest(5);
    let nodes = world.store.node_count();
    for tx in [0, world.begin(guest)] {
        assert_eq!(world.set_perms(guest, tx, "/", "b5"), error("EACCES"));
        assert_eq!(world.set_perms(guest, tx, "/", "b0"), error("EACCES"));
        assert_eq!(world.rm(guest, tx, "/"), error("EACCES"));
        assert_eq!(world.write(guest, tx, "/", "x"), error("EACCES"));
        assert_eq!(world.write(guest, tx, "/mine", "x"), error("EACCES"));
        assert_eq!(world.mkdir(guest, tx, "/mine"), error("EACCES"));
        assert_eq!(world.directory(guest, tx, "/"), error("EACCES"));
        assert_eq!(world.ask(guest, Type::DirectoryPart, tx, b"/\x000\0"), error("EACCES"));
        assert_eq!(world.get_perms(guest, tx, "/"), error("EACCES"));
        assert_eq!(world.read(guest, tx, "/"), error("EACCES"));
    }
    assert_eq!(world.store.node_count(), nodes);
    let dom0 = world.dom0();
    assert_eq!(world.rm(dom0, 0, "/"), error("EINVAL"), "not even dom0 removes it");
}
