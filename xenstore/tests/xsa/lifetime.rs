//! Domains that come, misbehave, go, and whose numbers come again.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::DriverRequest;

use crate::client::{World, error, message, ok};

fn gone(world: &mut World, conn: xenstore::ConnId, domid: u16) {
    world.store.disconnect(conn);
    world.store.release(DomId(domid));
}

/// Permissions were not removed with a domain: a later one of the same number had the rights that an
/// earlier one had been given.
#[test]
fn xsa_322_a_number_used_again_brings_no_rights() {
    let mut world = World::new();
    let (friend, old) = (world.guest(6), world.guest(5));
    let dom0 = world.dom0();
    world.write(friend, 0, "data/x", "for the old domain 5").unwrap();
    world.set_perms(friend, 0, "data/x", "n6 n7 b5").unwrap();
    world.write(dom0, 0, "/shared", "x").unwrap();
    world.set_perms(dom0, 0, "/shared", "n0 b5").unwrap();
    world.set_perms(dom0, 0, "@releaseDomain", "n0 r5").unwrap();
    assert!(world.read(old, 0, "/local/domain/6/data/x").is_ok());
    gone(&mut world, old, 5);

    let new = world.guest(5);
    assert_eq!(world.read(new, 0, "/local/domain/6/data/x"), error("EACCES"));
    assert_eq!(world.write(new, 0, "/shared", "y"), error("EACCES"));
    assert_eq!(world.get_perms(new, 0, "@releaseDomain"), error("EACCES"));
    assert_eq!(world.get_perms(friend, 0, "data/x"), Ok("n6 n7".to_owned()));
}

/// The same by way of a transaction that was open meanwhile: what it wrote has to fail, not to bring the
/// old permissions back.
#[test]
fn xsa_322_a_transaction_does_not_bring_rights_back() {
    let mut world = World::new();
    let (friend, old) = (world.guest(6), world.guest(5));
    world.set_perms(friend, 0, "data", "n6 b5").unwrap();
    let tx = world.begin(friend);
    assert_eq!(world.write(friend, tx, "data/x", "inherits from data"), ok());
    gone(&mut world, old, 5);
    assert_eq!(world.commit(friend, tx), error("EAGAIN"));
    let new = world.guest(5);
    assert_eq!(world.read(new, 0, "/local/domain/6/data/x"), error("EACCES"));
}

/// A client that broke the protocol was killed with all that was known of its domain: `@releaseDomain`
/// fired while it ran, and not when it died, so that its death went unnoticed and it stayed a zombie.
#[test]
fn xsa_325_a_broken_client_is_still_a_domain() {
    let mut world = World::new();
    let guest = world.guest(5);
    let dom0 = world.dom0();
    world.watch(dom0, "@releaseDomain", "r").unwrap();
    world.drain(dom0);
    let mut bytes = message(Type::Read as u32, 1, 0, b"");
    bytes[12..16].copy_from_slice(&5000_u32.to_ne_bytes());
    assert!(world.store.receive(guest, &bytes).is_err());
    world.store.disconnect(guest);
    assert_eq!(world.events(dom0), Vec::<String>::new(), "it still runs");
    assert_eq!(world.ask(dom0, Type::IsDomainIntroduced, 0, b"5\0"), Ok(b"T\0".to_vec()));
    world.store.stopped(DomId(5));
    assert_eq!(world.events(dom0), ["@releaseDomain r"], "now it has stopped");
    world.store.release(DomId(5));
    assert_eq!(world.events(dom0), ["@releaseDomain r"], "and is gone");
}

/// Whether a permission was still valid was told by comparing ages, and a domain not seen before passed:
/// with the first request of a new domain came the rights of the old one.
#[test]
fn xsa_417_rights_end_although_the_domain_was_never_introduced() {
    let mut world = World::new();
    let friend = world.guest(6);
    world.write(friend, 0, "data/x", "").unwrap();
    // Domain 5 is being built: it is named, but it never gets as far as to be introduced.
    world.set_perms(friend, 0, "data/x", "n6 b5").unwrap();
    world.store.release(DomId(5));
    let new = world.guest(5);
    assert_eq!(world.read(new, 0, "/local/domain/6/data/x"), error("EACCES"));
}

/// Nodes of dead domains were given to dom0, who has no quota: guests that helped each other, or one
/// that was started again and again, could fill the memory with nodes outside of their own home.
#[test]
fn xsa_419_what_a_domain_made_elsewhere_goes_with_it() {
    let mut world = World::new();
    let host = world.guest(6);
    world.set_perms(host, 0, "data", "b6").unwrap();
    let before = (world.store.node_count(), world.store.nodes_owned_by(DomId::DOM0));
    for round in 0..20 {
        let guest = world.guest(5);
        for n in 0..50 {
            let path = format!("/local/domain/6/data/{round}/{n}");
            assert_eq!(world.write(guest, 0, &path, "left behind"), ok());
        }
        gone(&mut world, guest, 5);
        world.store.commit(&[xenstore::Change::remove("/local/domain/5")]).unwrap();
        assert_eq!((world.store.node_count(), world.store.nodes_owned_by(DomId::DOM0)), before);
    }
}

/// RELEASE of a domain, as a kexec of the guest makes the toolstack ask for it, freed its connection
/// while the loop over all connections stood on it: a double free.
#[test]
fn xsa_425_release_of_a_busy_domain_and_its_return() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (before, guest, after) = (world.guest(4), world.guest(5), world.guest(6));
    for _ in 0..3 {
        world.watch(guest, "data", "t").unwrap();
        world.watch(after, "data", "t").ok();
        let tx = world.begin(guest);
        world.write(guest, tx, "data/x", "never").unwrap();
        let half = &message(Type::Write as u32, 1, 0, b"data/y\0v")[..18];
        world.store.receive(guest, half).unwrap();
        world.store.commit(&[xenstore::Change::mkdir("/local/domain/5/data/z")]).unwrap();
        assert!(!world.store.output(guest).is_empty(), "an event waits");

        assert_eq!(world.ask(dom0, Type::Release, 0, b"5\0"), ok());
        assert_eq!(world.store.take_requests(), [DriverRequest::Release { domid: DomId(5) }]);
        world.store.reset(guest);
        world.store.release(DomId(5));
        assert_eq!(world.ask(dom0, Type::Release, 0, b"5\0"), error("ENOENT"), "once");

        assert_eq!(world.ask(dom0, Type::Introduce, 0, b"5\x001\x002\0"), ok());
        assert_eq!(world.store.take_requests().len(), 1);
        world.store.introduce(DomId(5));
        world
            .store
            .commit(&[xenstore::Change::mkdir("/local/domain/5/data")
                .with_perms(xenstore::Perms::new(DomId(5), xenstore::Access::None))])
            .unwrap();
        assert_eq!(world.commit(guest, tx), error("ENOENT"));
        assert_eq!(world.write(guest, 0, "data/y", "works"), ok());
        for other in [before, after] {
            assert_eq!(world.write(other, 0, "data/x", "works"), ok());
        }
    }
}

/// oxenstored removed a dead domain's nodes and left them on its account: each domain of that number
/// could create fewer, and in the end none.
#[test]
fn xsa_483_a_number_used_again_has_its_whole_quota() {
    let mut world = World::new();
    for _ in 0..5 {
        let guest = world.guest(5);
        for n in 0..999 {
            assert_eq!(world.mkdir(guest, 0, &format!("data/{n}")), ok());
        }
        assert_eq!(world.mkdir(guest, 0, "data/more"), error("ENOSPC"));
        gone(&mut world, guest, 5);
        assert_eq!(world.store.nodes_owned_by(DomId(5)), 0);
        world.store.commit(&[xenstore::Change::remove("/local/domain/5")]).unwrap();
        world.store.advance(std::time::Duration::from_secs(3600));
    }
}
