//! Who may do what.

use crate::client::{World, error, ok};
use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;

#[test]
fn permissions_decide_per_domain() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guests = [5, 6, 7, 8].map(|domid| world.guest(domid));
    world.write(dom0, 0, "/n", "v").unwrap();
    // Owner 5; 6 reads; 7 writes; others (8) get the first entry's access.
    let table = [
        ("n5 r6 w7", [(true, true), (true, false), (false, true), (false, false)]),
        ("r5 n6 b7", [(true, true), (false, false), (true, true), (true, false)]),
        ("b0", [(true, true); 4]),
        ("n0", [(false, false); 4]),
    ];
    for (perms, rights) in table {
        world.set_perms(dom0, 0, "/n", perms).unwrap();
        for (&guest, (reads, writes)) in guests.iter().zip(rights) {
            let read = world.read(guest, 0, "/n");
            let expected = if reads { Ok(b"v".to_vec()) } else { error("EACCES") };
            assert_eq!(read, expected, "{perms}");
            assert_eq!(world.get_perms(guest, 0, "/n").is_ok(), reads, "{perms}");
            assert_eq!(world.directory(guest, 0, "/n").is_ok(), reads, "{perms}");
            let write = world.write(guest, 0, "/n", "v");
            assert_eq!(write, if writes { ok() } else { error("EACCES") }, "{perms}");
            let create = world.write(guest, 0, "/n/c", "");
            assert_eq!(create, if writes { ok() } else { error("EACCES") }, "{perms}");
            world.rm(dom0, 0, "/n/c").unwrap();
        }
    }
}

#[test]
fn what_a_guest_creates_is_its_own() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    world.mkdir(dom0, 0, "/open").unwrap();
    world.set_perms(dom0, 0, "/open", "b0 r6").unwrap();
    world.write(guest, 0, "/open/a/b", "x").unwrap();
    assert_eq!(world.get_perms(dom0, 0, "/open/a"), Ok("b5 r6".to_owned()));
    assert_eq!(world.get_perms(dom0, 0, "/open/a/b"), Ok("b5 r6".to_owned()));
    world.write(dom0, 0, "/open/a/c", "x").unwrap();
    assert_eq!(world.get_perms(dom0, 0, "/open/a/c"), Ok("b5 r6".to_owned()), "inherited");
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 4);
}

#[test]
fn only_the_owner_sets_permissions_and_only_dom0_the_owner() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (owner, other) = (world.guest(5), world.guest(6));
    let data = "/local/domain/5/data";
    assert_eq!(world.set_perms(owner, 0, "data", "n5 b6"), ok());
    assert_eq!(world.set_perms(other, 0, data, "b6"), error("EACCES"), "writing is not owning");
    assert_eq!(world.set_perms(owner, 0, "data", "n6"), error("EPERM"));
    assert_eq!(world.get_perms(owner, 0, "data"), Ok("n5 b6".to_owned()));
    assert_eq!(world.set_perms(dom0, 0, data, "n6"), ok());
    assert_eq!(world.read(owner, 0, "data"), error("EACCES"));
    assert_eq!(world.set_perms(owner, 0, "data/x", "n5"), error("EACCES"));
    assert_eq!(world.set_perms(other, 0, &format!("{data}/x"), "n6"), error("ENOENT"));
}

#[test]
fn errors_do_not_tell_what_is_hidden() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    world.write(dom0, 0, "/secret/there", "x").unwrap();
    for path in ["/secret/there", "/secret/gone", "/secret", "/gone"] {
        assert_eq!(world.read(guest, 0, path), error("EACCES"), "{path}");
        assert_eq!(world.write(guest, 0, path, "x"), error("EACCES"), "{path}");
        assert_eq!(world.rm(guest, 0, path), error("EACCES"), "{path}");
    }
    assert_eq!(world.read(guest, 0, "gone"), error("ENOENT"), "it may list its home");
    assert_eq!(world.rm(guest, 0, "data/a/b"), error("ENOENT"));
    assert_eq!(world.rm(guest, 0, "/"), error("EACCES"));
}

#[test]
fn control_requests_are_for_dom0() {
    let mut world = World::new();
    let guest = world.guest(5);
    let table: &[(Type, &[u8])] = &[
        (Type::Control, b"help\0"),
        (Type::Introduce, b"6\x001\x001\0"),
        (Type::Release, b"5\0"),
        (Type::IsDomainIntroduced, b"5\0"),
        (Type::Resume, b"5\0"),
        (Type::SetTarget, b"5\x006\0"),
    ];
    for (kind, payload) in table {
        assert_eq!(world.ask(guest, *kind, 0, payload), error("EACCES"), "{kind:?}");
    }
    assert!(world.store.take_requests().is_empty());
    assert_eq!(world.ask(guest, Type::GetDomainPath, 0, b"6\0"), Ok(b"/local/domain/6\0".to_vec()));
}

#[test]
fn a_target_lends_its_rights() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (target, stub) = (world.guest(5), world.guest(6));
    world.write(target, 0, "data/x", "1").unwrap();
    assert_eq!(world.read(stub, 0, "/local/domain/5/data/x"), error("EACCES"));
    assert_eq!(world.ask(dom0, Type::SetTarget, 0, b"6\x005\0"), ok());
    assert_eq!(world.read(stub, 0, "/local/domain/5/data/x"), Ok(b"1".to_vec()));
    assert_eq!(world.ask(dom0, Type::SetTarget, 0, b"6\x009\0"), error("ENOENT"));
    world.store.release(DomId(5));
    world.guest(5);
    assert_eq!(world.read(stub, 0, "/local/domain/5/data"), error("EACCES"), "a new domain 5");
}

#[test]
fn rights_die_with_the_domain() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (five, six) = (world.guest(5), world.guest(6));
    world.set_perms(six, 0, "data", "n6 r5").unwrap();
    world.write(six, 0, "data/x", "secret").unwrap();
    world.set_perms(six, 0, "data/x", "n6 r5").unwrap();
    world.set_perms(dom0, 0, "@introduceDomain", "n0 r5").unwrap();
    world.write(five, 0, "data/y", "left behind").unwrap();
    assert_eq!(world.read(five, 0, "/local/domain/6/data/x"), Ok(b"secret".to_vec()));

    world.store.disconnect(five);
    world.store.release(DomId(5));
    assert_eq!(world.store.read("/local/domain/5/data"), None, "its nodes are gone");
    assert_eq!(world.store.nodes_owned_by(DomId(5)), 0);
    assert_eq!(world.get_perms(dom0, 0, "/local/domain/6/data/x"), Ok("n6".to_owned()));
    assert_eq!(world.get_perms(dom0, 0, "/local/domain/5"), Ok("n0".to_owned()));
    assert_eq!(world.get_perms(dom0, 0, "@introduceDomain"), Ok("n0".to_owned()));

    let again = world.guest(5);
    assert_eq!(world.read(again, 0, "/local/domain/6/data/x"), error("EACCES"));
}
