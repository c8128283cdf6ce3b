//! Watches: what fires, when, and for whom.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Change, Limits, WatchSpec};

use crate::client::{World, error, ok};

#[test]
fn a_watch_fires_once_when_it_is_set() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let set = world.ask_and_hear(dom0, Type::Watch, 0, b"/not/there\0tok en\0");
    assert_eq!(set, (ok(), vec!["/not/there tok en".to_owned()]));
    assert_eq!(world.watch(dom0, "/not/there", "tok en"), error("EEXIST"));
    assert_eq!(world.watch(dom0, "/not/there", "other"), ok());
    assert_eq!(world.store.watch_count(), 2);
}

#[test]
fn a_watch_covers_its_path_and_all_below() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let watcher = world.dom0();
    for path in ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/a-b", "/b"] {
        world.watch(watcher, path, "t").unwrap();
    }
    world.drain(watcher);
    world.write(dom0, 0, "/a/b", "1").unwrap();
    let mut events = world.events(watcher);
    assert_eq!(events.len(), 3, "{events:?}");
    events.dedup();
    assert_eq!(events, ["/a/b t"]);
}

#[test]
fn all_kinds_of_changes_fire() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let watcher = world.dom0();
    world.watch(watcher, "/w", "t").unwrap();
    world.drain(watcher);
    world.write(dom0, 0, "/w/x", "1").unwrap();
    assert_eq!(world.events(watcher), ["/w/x t"], "created");
    world.write(dom0, 0, "/w/x", "1").unwrap();
    assert_eq!(world.events(watcher), ["/w/x t"], "written, even with the same value");
    world.set_perms(dom0, 0, "/w/x", "r0").unwrap();
    assert_eq!(world.events(watcher), ["/w/x t"], "permissions");
    world.mkdir(dom0, 0, "/w/y").unwrap();
    assert_eq!(world.events(watcher), ["/w/y t"], "made");
    world.mkdir(dom0, 0, "/w/y").unwrap();
    assert_eq!(world.events(watcher), Vec::<String>::new(), "was there");
    world.rm(dom0, 0, "/w/x").unwrap();
    assert_eq!(world.events(watcher), ["/w/x t"], "removed");
    world.rm(dom0, 0, "/w/x").unwrap();
    assert_eq!(world.events(watcher), Vec::<String>::new(), "was gone");
    world.read(dom0, 0, "/w/y").unwrap();
    assert_eq!(world.events(watcher), Vec::<String>::new(), "only read");
}

#[test]
fn a_removal_fires_the_watches_below() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let watcher = world.dom0();
    world.write(dom0, 0, "/a/b/c", "1").unwrap();
    world.write(dom0, 0, "/ab", "1").unwrap();
    for path in ["/a/b/c", "/a/b/gone", "/ab", "/a"] {
        world.watch(watcher, path, "t").unwrap();
    }
    world.drain(watcher);
    world.rm(dom0, 0, "/a").unwrap();
    assert_eq!(world.events(watcher), ["/a t", "/a/b/c t"]);
}

#[test]
fn relative_watches_report_relative_paths() {
    let mut world = World::new();
    let guest = world.guest(7);
    let set = world.ask_and_hear(guest, Type::Watch, 0, b"data\0t\0");
    assert_eq!(set, (ok(), vec!["data t".to_owned()]));
    let (_, events) = world.ask_and_hear(guest, Type::Write, 0, b"data/x\x001");
    assert_eq!(events, ["data/x t"]);
    world.watch(guest, "/local/domain/7/data/x", "abs").unwrap();
    let (_, mut events) = world.ask_and_hear(guest, Type::Write, 0, b"data/x\x001");
    events.sort();
    assert_eq!(events, ["/local/domain/7/data/x abs", "data/x t"]);
    // The same node by another name is the same watch.
    assert_eq!(world.watch(guest, "/local/domain/7/data", "t"), error("EEXIST"));
    assert_eq!(world.ask(guest, Type::Unwatch, 0, b"/local/domain/7/data\0t\0"), ok());
}

#[test]
fn depth_limits_what_is_reported() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let watcher = world.dom0();
    for (depth, token) in [(0, "zero"), (1, "one"), (2, "two")] {
        let payload = format!("/w\0{token}\0{depth}\0");
        world.ask(watcher, Type::Watch, 0, payload.as_bytes()).unwrap();
    }
    world.drain(watcher);
    let mut tokens = |path: &str| {
        world.write(dom0, 0, path, "1").unwrap();
        let events = world.events(watcher);
        events.iter().map(|event| event.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tokens("/w"), ["zero", "one", "two"]);
    assert_eq!(tokens("/w/a"), ["one", "two"]);
    assert_eq!(tokens("/w/a/b"), ["two"]);
    assert_eq!(tokens("/w/a/b/c"), [""; 0]);
}

#[test]
fn unwatch_ends_it() {
    let mut world = World::new();
    let dom0 = world.dom0();
    world.watch(dom0, "/a", "t").unwrap();
    assert_eq!(world.ask(dom0, Type::Unwatch, 0, b"/a\0other\0"), error("ENOENT"));
    assert_eq!(world.ask(dom0, Type::Unwatch, 0, b"/a\0t\0"), ok());
    assert_eq!(world.ask(dom0, Type::Unwatch, 0, b"/a\0t\0"), error("ENOENT"));
    let (_, events) = world.ask_and_hear(dom0, Type::Write, 0, b"/a\x001");
    assert_eq!(events, Vec::<String>::new());
    assert_eq!(world.store.watch_count(), 0);
}

#[test]
fn reset_watches_ends_watches_and_transactions() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let other = world.dom0();
    world.watch(dom0, "/a", "t").unwrap();
    world.watch(other, "/a", "t").unwrap();
    let tx = world.begin(dom0);
    assert_eq!(world.ask(dom0, Type::ResetWatches, 0, b"\0"), ok());
    assert_eq!(world.commit(dom0, tx), error("ENOENT"));
    assert_eq!(world.store.watch_count(), 1, "the other's stays");
    assert_eq!(world.watch(dom0, "/a", "t"), ok());
}

#[test]
fn only_readers_are_told() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    world.write(dom0, 0, "/secret/x", "1").unwrap();
    world.mkdir(dom0, 0, "/listed").unwrap();
    world.set_perms(dom0, 0, "/listed", "n0 r5").unwrap();
    world.watch(guest, "/secret", "s").unwrap();
    world.watch(guest, "/listed", "l").unwrap();
    world.watch(guest, "/", "r").unwrap();
    world.drain(guest);
    world.write(dom0, 0, "/secret/x", "2").unwrap();
    world.rm(dom0, 0, "/secret/x").unwrap();
    assert_eq!(world.events(guest), Vec::<String>::new());

    let l_and_r = ["/listed/x r", "/listed/x l"];
    let told = |world: &mut World| {
        let mut events = world.events(guest);
        events.sort_by(|a, b| b.cmp(a));
        events
    };
    world.write(dom0, 0, "/listed/x", "1").unwrap();
    assert_eq!(told(&mut world), l_and_r, "it can list what appears");
    world.set_perms(dom0, 0, "/listed/x", "n0").unwrap();
    assert_eq!(told(&mut world), l_and_r, "it could read until now");
    world.write(dom0, 0, "/listed/x", "2").unwrap();
    assert_eq!(told(&mut world), [""; 0], "the value is none of its business");
    world.rm(dom0, 0, "/listed/x").unwrap();
    assert_eq!(told(&mut world), l_and_r, "it can list what disappears");
}

#[test]
fn a_removal_tells_only_those_who_could_see() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    for (path, perms) in [("/t", "n0"), ("/t/seen", "n0 r5"), ("/t/hidden/x", "n0")] {
        world.mkdir(dom0, 0, path).unwrap();
        world.set_perms(dom0, 0, path, perms).unwrap();
    }
    world.watch(guest, "/t/seen", "t").unwrap();
    world.watch(guest, "/t/hidden/x", "t").unwrap();
    world.drain(guest);
    world.rm(dom0, 0, "/t").unwrap();
    assert_eq!(world.events(guest), ["/t/seen t"]);
}

#[test]
fn special_watches_tell_of_domains() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(5);
    for who in [dom0, guest] {
        world.watch(who, "@introduceDomain", "i").unwrap();
        world.watch(who, "@releaseDomain", "r").unwrap();
        world.drain(who);
    }
    world.ask(dom0, Type::Watch, 0, b"@releaseDomain\0deep\x001\0").unwrap();
    world.watch(dom0, "@releaseDomain/8", "eight").unwrap();
    world.watch(dom0, "@somethingElse", "never").unwrap();
    world.drain(dom0);

    world.store.introduce(DomId(8));
    world.store.introduce(DomId(8));
    assert_eq!(world.events(dom0), ["@introduceDomain i"], "once");
    world.store.stopped(DomId(8));
    world.store.stopped(DomId(8));
    let all = ["@releaseDomain r", "@releaseDomain/8 deep", "@releaseDomain/8 eight"];
    assert_eq!(world.events(dom0), all, "once");
    assert_eq!(world.ask(dom0, Type::Resume, 0, b"8\0"), ok());
    world.store.stopped(DomId(8));
    assert_eq!(world.events(dom0), all, "stopped again");
    world.store.release(DomId(8));
    world.store.release(DomId(8));
    assert_eq!(world.events(dom0), all, "gone");
    assert_eq!(world.events(guest), Vec::<String>::new());

    assert_eq!(world.get_perms(dom0, 0, "@releaseDomain"), Ok("n0".to_owned()));
    assert_eq!(world.set_perms(guest, 0, "@releaseDomain", "n0 r5"), error("EACCES"));
    assert_eq!(world.get_perms(guest, 0, "@releaseDomain"), error("EACCES"));
    assert_eq!(world.set_perms(dom0, 0, "@releaseDomain", "n0 r5"), ok());
    assert_eq!(world.set_perms(dom0, 0, "@other", "n0"), error("EINVAL"));
    world.store.introduce(DomId(8));
    world.store.release(DomId(8));
    assert_eq!(world.events(guest), ["@releaseDomain r"]);
}

#[test]
fn the_same_event_waits_only_once() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let watcher = world.dom0();
    world.watch(watcher, "/w", "t").unwrap();
    world.drain(watcher);
    for _ in 0..3 {
        world.write(dom0, 0, "/w/a", "1").unwrap();
    }
    world.write(dom0, 0, "/w/b", "1").unwrap();
    world.write(dom0, 0, "/w/a", "1").unwrap();
    assert_eq!(world.events(watcher), ["/w/a t", "/w/b t", "/w/a t"]);

    // Once an event is on its way, its reader may look at any time; what comes then is news.
    world.write(dom0, 0, "/w/a", "1").unwrap();
    world.store.consume_output(watcher, 1);
    let rest = world.store.output(watcher).len();
    world.write(dom0, 0, "/w/a", "1").unwrap();
    assert_eq!(world.store.output(watcher).len(), 2 * rest + 1);
}

#[test]
fn an_event_that_is_too_long_names_the_watched_path() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let token = "t".repeat(3000);
    world.watch(dom0, "/w", &token).unwrap();
    let child = format!("/w/{}", "x".repeat(2000));
    let (done, events) = world.ask_and_hear(dom0, Type::Write, 0, format!("{child}\0").as_bytes());
    assert_eq!((done, events), (ok(), vec![format!("/w {token}")]));
}

#[test]
fn a_guest_that_does_not_read_misses_details_but_no_watch() {
    let limits = Limits { output: 200, ..Limits::default() };
    let mut world = World::with(limits);
    let dom0 = world.dom0();
    let guest = world.guest(5);
    world.watch(guest, "data", "t").unwrap();
    world.drain(guest);
    let write = |world: &mut World, n: usize| {
        let path = format!("/local/domain/5/data/{n}");
        world.store.commit(&[Change::write(path, "")]).unwrap();
    };
    (0..100).for_each(|n| write(&mut world, n));
    assert!(world.store.output(guest).len() < 250, "{}", world.store.output(guest).len());
    assert!(!world.store.wants_input(guest));
    let events = world.events(guest);
    assert_eq!(events.first().map(String::as_str), Some("data/0 t"));
    assert_eq!(events.last().map(String::as_str), Some("data t"), "for all that was missed");
    assert!(world.store.wants_input(guest));
    write(&mut world, 1);
    assert_eq!(world.events(guest), ["data/1 t"]);
    assert_eq!(world.read(dom0, 0, "/"), Ok(Vec::new()));
}

#[test]
fn watches_are_handed_over_a_restart() {
    let mut before = World::new();
    let kernel = before.dom0();
    before.watch(kernel, "backend", "C0DE").unwrap();
    before.watch(kernel, "/local/domain/5/device", "F00D").unwrap();
    before.ask(kernel, Type::Watch, 0, b"/x\0deep\x002\0").unwrap();
    let mut specs = before.store.watches_of(kernel);
    specs.sort_by(|a, b| a.path.cmp(&b.path));
    let spec = |path: &str, token: &str, depth| WatchSpec {
        path: path.to_owned(),
        token: token.as_bytes().to_vec(),
        depth,
    };
    let expected = [
        spec("/local/domain/5/device", "F00D", None),
        spec("/x", "deep", Some(2)),
        spec("backend", "C0DE", None),
    ];
    assert_eq!(specs, expected);

    let mut after = World::new();
    let kernel = after.dom0();
    for spec in &specs {
        after.store.restore_watch(kernel, spec).unwrap();
    }
    assert_eq!(after.events(kernel), ["/local/domain/5/device F00D", "/x deep", "backend C0DE"]);
    let (_, events) = after.ask_and_hear(kernel, Type::Write, 0, b"backend/vif\0");
    assert_eq!(events, ["backend/vif C0DE"]);
    assert!(after.store.restore_watch(kernel, &specs[0]).is_err());
}

#[test]
fn disconnecting_drops_everything() {
    let mut world = World::new();
    let guest = world.guest(5);
    world.watch(guest, "data", "t").unwrap();
    world.begin(guest);
    world.store.disconnect(guest);
    assert_eq!(world.store.watch_count(), 0);
    assert_eq!(world.store.output(guest), b"");
    assert!(!world.store.wants_input(guest));
    assert!(world.store.receive(guest, b"x").is_err());
    assert!(world.store.watches_of(guest).is_empty());
    world.store.consume_output(guest, 5);
    world.store.disconnect(guest);
}
