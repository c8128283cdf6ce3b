//! What the toolstack sets and asks of the server: features, quotas, CONTROL.

use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::DriverRequest;

use crate::client::{Answer, World, error, ok};

fn text(answer: Answer) -> String {
    String::from_utf8(answer.unwrap()).unwrap().trim_end_matches('\0').to_owned()
}

#[test]
fn features_are_told_and_can_be_taken_away_before_introduction() {
    let mut world = World::new();
    let dom0 = world.dom0();
    assert_eq!(world.ask(dom0, Type::GetFeature, 0, b"\0"), Ok(b"15\0".to_vec()));
    assert_eq!(world.ask(dom0, Type::SetFeature, 0, b"5\x003\0"), ok());
    let guest = world.guest(5);
    assert_eq!(world.store.features(DomId(5)), 3);
    assert_eq!(world.ask(guest, Type::GetFeature, 0, b"\0"), Ok(b"3\0".to_vec()));
    assert_eq!(world.ask(dom0, Type::GetFeature, 0, b"5\0"), Ok(b"3\0".to_vec()));
    assert_eq!(world.ask(guest, Type::GetFeature, 0, b"0\0"), error("EACCES"));
    assert_eq!(world.ask(dom0, Type::SetFeature, 0, b"5\x0015\0"), error("EBUSY"));
    assert_eq!(world.ask(dom0, Type::SetFeature, 0, b"6\x0016\0"), error("EINVAL"), "no such feature");

    // Without them, a depth is a reserved string, and any-domain entries are refused.
    assert_eq!(world.ask(guest, Type::Watch, 0, b"data\0t\x000\0"), ok());
    assert_eq!(world.write(guest, 0, "data/deep", ""), ok());
    let specs = world.store.watches_of(guest);
    assert_eq!(specs[0].depth, None);
    assert_eq!(world.set_perms(guest, 0, "data", "n5 r32757"), error("EINVAL"));

    world.store.release(DomId(5));
    assert_eq!(world.store.features(DomId(5)), 15, "settings end with the domain");
}

#[test]
fn an_entry_for_any_domain_is_for_all() {
    let mut world = World::new();
    let (a, b) = (world.guest(5), world.guest(6));
    world.write(a, 0, "data/x", "x").unwrap();
    assert_eq!(world.set_perms(a, 0, "data/x", "n5 n7 r32757"), ok());
    assert_eq!(world.read(b, 0, "/local/domain/5/data/x"), Ok(b"x".to_vec()));
    let c = world.guest(7);
    assert_eq!(world.read(c, 0, "/local/domain/5/data/x"), error("EACCES"));
    assert_eq!(world.write(b, 0, "/local/domain/5/data/x", "y"), error("EACCES"));
}

#[test]
fn quotas_are_set_for_all_or_for_one() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (a, b) = (world.guest(5), world.guest(6));
    let names = text(world.ask(dom0, Type::GetQuota, 0, b""));
    for name in names.split(' ') {
        let value = text(world.ask(dom0, Type::GetQuota, 0, format!("{name}\0").as_bytes()));
        assert!(value.parse::<u32>().is_ok(), "{name}: {value}");
    }
    assert_eq!(world.ask(dom0, Type::SetQuota, 0, b"5\0nodes\x003\0"), ok());
    assert_eq!(world.ask(dom0, Type::SetQuota, 0, b"nodes\x002\0"), ok());
    assert_eq!(text(world.ask(dom0, Type::GetQuota, 0, b"5\0nodes\0")), "3");
    assert_eq!(text(world.ask(dom0, Type::GetQuota, 0, b"6\0nodes\0")), "2");
    for (guest, more) in [(a, 2), (b, 1)] {
        for n in 0..more {
            assert_eq!(world.mkdir(guest, 0, &format!("data/{n}")), ok());
        }
        assert_eq!(world.mkdir(guest, 0, "data/more"), error("ENOSPC"));
    }
    assert_eq!(world.ask(dom0, Type::SetQuota, 0, b"6\0nodes\x000\0"), ok(), "0 is no limit");
    assert_eq!(text(world.ask(dom0, Type::GetQuota, 0, b"6\0nodes\0")), "0");
    assert_eq!(world.mkdir(b, 0, "data/more"), ok());
    for bad in [&b"x\x001\0"[..], b"nodes\0x\0", b"nodes\x00-1\0", b"nodes\0", b"70000\0nodes\x001\0"] {
        assert_eq!(world.ask(dom0, Type::SetQuota, 0, bad), error("EINVAL"), "{bad:?}");
    }
    assert_eq!(world.ask(a, Type::SetQuota, 0, b"nodes\x009\0"), error("EACCES"));
    assert_eq!(world.ask(a, Type::GetQuota, 0, b"nodes\0"), error("EACCES"));
}

#[test]
fn control_answers_what_standard_tools_ask() {
    let mut world = World::new();
    let dom0 = world.store.connect_socket();
    let guest = world.guest(5);
    let help = text(world.ask(dom0, Type::Control, 0, b"help\0"));
    for command in ["check", "log", "print", "quota"] {
        assert!(help.contains(command), "{help}");
    }
    assert_eq!(world.ask(dom0, Type::Control, 0, b"check\0"), ok());
    world.watch(guest, "data", "t").unwrap();
    world.write(guest, 0, "data/x", "").unwrap();
    let usage = text(world.ask(dom0, Type::Control, 0, b"quota\x005\0"));
    let figures: Vec<_> = usage.lines().skip(1).map(|l| l.split_whitespace().last().unwrap()).collect();
    assert_eq!(figures[..3], ["2", "1", "0"], "{usage}");
    assert_eq!(world.ask(dom0, Type::Control, 0, b"quota\x006\0"), error("ENOENT"));
    assert_eq!(world.ask(dom0, Type::Control, 0, b"quota\0set\0watches\x001\0"), ok());
    assert!(text(world.ask(dom0, Type::Control, 0, b"quota\0")).contains("watches          :        1"));
    assert_eq!(world.watch(guest, "data", "u"), error("E2BIG"));
    assert_eq!(world.ask(dom0, Type::Control, 0, b"log\0on\0"), ok());
    assert_eq!(world.ask(dom0, Type::Control, 0, b"print\0hello\0"), ok());
    let requests = [DriverRequest::Log { on: true }, DriverRequest::Print { text: "hello".into() }];
    assert_eq!(world.store.take_requests(), requests);
    for bad in [&b"live-update\0-s\0"[..], b"no-such\0", b"", b"quota\0set\0nodes\0-1\0"] {
        assert_eq!(world.ask(dom0, Type::Control, 0, bad), error("EINVAL"), "{bad:?}");
    }
}
