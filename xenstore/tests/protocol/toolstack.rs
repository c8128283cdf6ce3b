//! The toolstack's own door, and the driver's queues.

use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xen_sys::{DomId, EvtchnPort};
use xenstore::{Access, Change, DriverRequest, Error, Event, Perms, Store};

use crate::client::{World, error, message, ok};

fn paths(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.path.as_str()).collect()
}

#[test]
fn a_batch_is_one_change() {
    let mut world = World::new();
    let dom0 = world.dom0();
    world.watch(dom0, "/b", "t").unwrap();
    world.drain(dom0);
    let perms = Perms::new(DomId(5), Access::None).with(DomId(6), Access::Read);
    let batch = [
        Change::mkdir("/b/dir").with_perms(perms.clone()),
        Change::write("/b/dir/x", "1"),
        Change::write("/b/dir/x", "2").with_perms(Perms::new(DomId::DOM0, Access::Read)),
        Change::write("/b/brief", "1"),
        Change::remove("/b/brief"),
        Change::remove("/b/never"),
        Change::mkdir("/b/dir"),
    ];
    world.store.commit(&batch).unwrap();
    assert_eq!(world.events(dom0), ["/b/dir t", "/b/dir/x t"], "each path once");
    assert_eq!(world.store.read("/b/dir/x"), Some(&b"2"[..]));
    assert_eq!(world.store.perms("/b/dir"), Some(&perms));
    assert_eq!(world.store.list("/b"), Some(vec!["dir"]));
    assert_eq!(world.store.list("/gone"), None);
    assert_eq!(world.store.read("no path"), None);
    assert_eq!(world.get_perms(dom0, 0, "/b/dir/x"), Ok("r0".to_owned()));
}

#[test]
fn a_batch_with_a_mistake_changes_nothing() {
    let mut store = Store::new(xenstore::Limits::default());
    for bad in [Change::mkdir("/a//b"), Change::remove("/"), Change::write("rel", "")] {
        let refused = store.commit(&[Change::write("/good", "1"), bad.clone()]);
        assert!(refused.is_err(), "{bad:?}");
        assert_eq!(store.node_count(), 1);
    }
    let error = store.commit(&[Change::mkdir("/a//b")]).unwrap_err();
    assert!(matches!(error, Error::Path { .. }));
    assert_eq!(error.to_string(), "path \"/a//b\": has an empty name in it (//)");
}

#[test]
fn in_process_watches_fire_into_a_queue() {
    let mut world = World::new();
    let guest = world.guest(5);
    let ready = world.store.watch("/local/domain/5/data").unwrap();
    let gone = world.store.watch("@releaseDomain").unwrap();
    let first = world.store.take_events();
    assert_eq!(paths(&first), ["/local/domain/5/data", "@releaseDomain"]);
    assert_eq!((first[0].subscription, first[1].subscription), (ready, gone));
    world.write(guest, 0, "data/ready", "123").unwrap();
    assert_eq!(paths(&world.store.take_events()), ["/local/domain/5/data/ready"]);
    assert!(world.store.take_events().is_empty());
    world.store.stopped(DomId(5));
    assert_eq!(paths(&world.store.take_events()), ["@releaseDomain"]);
    world.store.commit(&[Change::remove("/local/domain/5")]).unwrap();
    assert_eq!(paths(&world.store.take_events()), ["/local/domain/5/data"]);
    world.write(guest, 0, "data/ready", "123").unwrap_err();
    world.store.unwatch(ready);
    world.store.unwatch(ready);
    world.store.commit(&[Change::write("/local/domain/5/data/x", "")]).unwrap();
    assert!(world.store.take_events().is_empty());
    assert_eq!(world.store.watch_count(), 1);
    assert!(world.store.watch("relative").is_err());
}

#[test]
fn requests_for_the_toolstack_are_passed_on() {
    let mut world = World::new();
    let dom0 = world.dom0();
    assert_eq!(world.ask(dom0, Type::Introduce, 0, b"5\0-7\x003\0"), ok());
    assert_eq!(world.ask(dom0, Type::IsDomainIntroduced, 0, b"5\0"), Ok(b"F\0".to_vec()));
    assert_eq!(world.ask(dom0, Type::Release, 0, b"5\0"), error("ENOENT"));
    let introduce = DriverRequest::Introduce { domid: DomId(5), gfn: -7, port: EvtchnPort(3) };
    assert_eq!(world.store.take_requests(), [introduce]);
    world.store.introduce(DomId(5));
    assert!(world.store.is_introduced(DomId(5)));
    for known in ["5\0", "0\0", "32752\0"] {
        let answer = world.ask(dom0, Type::IsDomainIntroduced, 0, known.as_bytes());
        assert_eq!(answer, Ok(b"T\0".to_vec()), "{known:?}");
    }
    assert_eq!(world.ask(dom0, Type::Release, 0, b"5\0"), ok());
    assert_eq!(world.store.take_requests(), [DriverRequest::Release { domid: DomId(5) }]);
    world.store.release(DomId(5));
    assert_eq!(world.ask(dom0, Type::IsDomainIntroduced, 0, b"5\0"), Ok(b"F\0".to_vec()));
    world.store.release(DomId::DOM0);
    assert!(world.store.is_introduced(DomId::DOM0), "dom0 stays");
}

#[test]
fn connections_are_announced_once_for_their_output() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    assert_eq!(world.store.connections_with_output(), []);
    world.store.receive(a, &message(Type::Read as u32, 1, 0, b"/\0")).unwrap();
    world.store.receive(a, &message(Type::Read as u32, 2, 0, b"/\0")).unwrap();
    world.store.receive(b, &message(Type::Watch as u32, 3, 0, b"/\0t\0")).unwrap();
    assert_eq!(world.store.connections_with_output(), [a, b]);
    assert_eq!(world.store.connections_with_output(), []);
    world.drain(a);
    world.drain(b);
    world.store.receive(a, &message(Type::Write as u32, 4, 0, b"/x\0")).unwrap();
    assert_eq!(world.store.connections_with_output(), [b, a], "the watcher, too");
    world.store.disconnect(b);
    world.store.receive(a, &message(Type::Write as u32, 4, 0, b"/x\0")).unwrap();
    assert_eq!(world.store.connections_with_output(), [a]);
}

#[test]
fn summoning_and_destroying_leaves_nothing_behind() {
    let mut world = World::new();
    world.store.commit(&[Change::mkdir("/local/domain/0/backend/vif")]).unwrap();
    let before = (world.store.node_count(), world.store.watch_count());
    for domid in 1..=50 {
        let guest = world.guest(domid);
        let reads = Perms::new(DomId::DOM0, Access::None).with(DomId(domid), Access::Read);
        let backend = format!("/local/domain/0/backend/vif/{domid}");
        let state = Change::write(format!("{backend}/0/state"), "1").with_perms(reads);
        world.store.commit(&[state]).unwrap();
        world.watch(guest, "data", "t").unwrap();
        world.watch(guest, &format!("{backend}/0/state"), "t").unwrap();
        world.write(guest, 0, "data/ready", "1").unwrap();
        world.begin(guest);
        let home = format!("/local/domain/{domid}");
        world.store.commit(&[Change::remove(home), Change::remove(backend)]).unwrap();
        world.store.disconnect(guest);
        world.store.release(DomId(domid));
        assert_eq!((world.store.node_count(), world.store.watch_count()), before);
        assert_eq!(world.store.nodes_owned_by(DomId(domid)), 0);
    }
}
