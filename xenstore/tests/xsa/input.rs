//! Requests and paths that daemons fell over.

use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Broken, Change};

use crate::client::{World, error, message, ok};

/// Replies were sent at whatever length they had; the client's library, and the rings, had room for
/// 4096 bytes.
#[test]
fn xsa_72_no_reply_is_longer_than_a_message() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let names: Vec<_> = (0..400).map(|n| Change::mkdir(format!("/d/a-name-that-is-long-{n}"))).collect();
    world.store.commit(&names).unwrap();
    world.store.commit(&[Change::write("/v", vec![b'x'; 5000])]).unwrap();
    assert_eq!(world.directory(dom0, 0, "/d"), error("E2BIG"));
    assert_eq!(world.read(dom0, 0, "/v"), error("E2BIG"));
    let part = world.ask(dom0, Type::DirectoryPart, 0, b"/d\x000\0").unwrap();
    assert!((4000..=4096).contains(&part.len()));
}

/// The length of a relative path was checked before it was made absolute: a guest could create nodes
/// whose paths nobody, not even dom0, could name or remove.
#[test]
fn xsa_323_a_node_that_can_be_made_can_be_named() {
    let mut world = World::new();
    let guest = world.guest(32_000);
    let dom0 = world.dom0();
    let home = "/local/domain/32000/";
    let data = format!("{home}data");
    let mut longest = 0;
    for length in (1..4090).rev() {
        let relative = format!("data/{}", "x".repeat(length));
        if world.write(guest, 0, &relative, "v").is_ok() {
            longest = relative.len();
            break;
        }
    }
    assert_eq!(longest, 2048, "the limit is on what comes after the home");
    let name = world.directory(dom0, 0, &data).unwrap();
    let absolute = format!("{data}/{name}");
    assert_eq!(world.read(dom0, 0, &absolute), Ok(b"v".to_vec()));
    assert_eq!(world.read(guest, 0, &absolute), Ok(b"v".to_vec()), "the same by either name");
    assert_eq!(world.write(guest, 0, &format!("{absolute}x"), "v"), error("EINVAL"));
    assert_eq!(world.rm(dom0, 0, &absolute), ok());
}

/// A watch with a long token, and a change at a long path, made an event longer than a message; the
/// attempt to report that as the error of a request that was not there crashed xenstored.
#[test]
fn xsa_324_an_event_fits_into_a_message() {
    let mut world = World::new();
    let guest = world.guest(5);
    let token = "t".repeat(4000);
    assert_eq!(world.watch(guest, "data", &token), ok());
    world.drain(guest);
    let child = format!("/local/domain/5/data/{}", "x".repeat(1000));
    world.store.commit(&[Change::mkdir(&child)]).unwrap();
    let events = world.drain(guest);
    assert_eq!(events.len(), 1, "it is told nevertheless");
    assert!(events.iter().all(|event| event.payload.len() <= 4096));
    assert!(events[0].payload.starts_with(b"data\0tttt"));
    assert_eq!(world.read(guest, 0, &child), Ok(Vec::new()), "and the server lives");
}

/// A message of 1 to 2 GiB was a negative length to a 32-bit oxenstored: an exception, again and again,
/// for all other domains too.
#[test]
fn xsa_420_a_length_is_never_negative() {
    for length in [4097, 1 << 30, i32::MAX as u32, 1 << 31, u32::MAX - 15, u32::MAX] {
        let mut world = World::new();
        let (guest, other) = (world.guest(5), world.guest(6));
        let mut bytes = message(Type::Read as u32, 1, 0, b"");
        bytes[12..16].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(world.store.receive(guest, &bytes), Err(Broken::PayloadTooLong(length)));
        world.store.disconnect(guest);
        assert_eq!(world.write(other, 0, "data/x", "v"), ok(), "the others do not notice");
    }
}

/// `/local/domain/`, where a number is missing, was an invalid path without an error number: an
/// assertion failed, and xenstored with it.
#[test]
fn xsa_481_a_malformed_path_is_an_error_like_any_other() {
    let mut world = World::new();
    let guest = world.guest(5);
    let paths = [
        "/local/domain/",
        "/local/domain//",
        "/local/domain/5/",
        "/local/domain/5//data",
        "local/domain/",
        "",
        "/",
        "//",
        "@",
        "@releaseDomain/",
        "/local/domain/99999999999999999999/x",
        "/local/domain/-1/x",
    ];
    let kinds =
        [Type::Read, Type::Directory, Type::GetPerms, Type::Write, Type::Mkdir, Type::Rm, Type::Watch];
    for kind in kinds {
        for path in paths {
            let payload = [path.as_bytes(), b"\0t\0"].concat();
            let payload = if kind == Type::Watch { &payload } else { &payload[..=path.len()] };
            let answer = world.ask(guest, kind, 0, payload);
            let refused = matches!(answer.as_ref().map_err(String::as_str), Err("EINVAL" | "EACCES"));
            let special = kind == Type::Watch && matches!(path, "/" | "@" | "/local/domain/-1/x");
            let far = kind == Type::Watch && path.contains("9999");
            assert!(refused || special || far, "{kind:?} {path}: {answer:?}");
        }
    }
    assert_eq!(world.store.nodes_owned_by(xen_sys::DomId(5)), 1);
}
