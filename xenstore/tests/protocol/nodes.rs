//! Reading, writing, creating, removing and listing nodes.

use crate::client::{World, error, joined, ok};
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::Change;

#[test]
fn nodes_are_written_read_and_removed() {
    let mut world = World::new();
    let dom0 = world.dom0();
    assert_eq!(world.read(dom0, 0, "/a/b"), error("ENOENT"));
    assert_eq!(world.write(dom0, 0, "/a/b", "value"), ok());
    assert_eq!(world.read(dom0, 0, "/a/b"), Ok(b"value".to_vec()));
    assert_eq!(world.read(dom0, 0, "/a"), Ok(Vec::new()), "parents are created empty");
    assert_eq!(world.mkdir(dom0, 0, "/a/b"), ok());
    assert_eq!(world.read(dom0, 0, "/a/b"), Ok(b"value".to_vec()), "MKDIR leaves the value");
    assert_eq!(world.mkdir(dom0, 0, "/a/c/d"), ok());
    assert_eq!(world.directory(dom0, 0, "/a"), Ok("b c".to_owned()));
    assert_eq!(world.directory(dom0, 0, "/a/b"), Ok(String::new()));
    assert_eq!(world.store.node_count(), 5);
    assert_eq!(world.rm(dom0, 0, "/a"), ok());
    assert_eq!(world.read(dom0, 0, "/a/c/d"), error("ENOENT"));
    assert_eq!(world.store.node_count(), 1);
}

#[test]
fn values_are_bytes() {
    let mut world = World::new();
    let dom0 = world.dom0();
    assert_eq!(world.ask(dom0, Type::Write, 0, b"/x\0a\0b\xff\0"), ok());
    assert_eq!(world.read(dom0, 0, "/x"), Ok(b"a\0b\xff\0".to_vec()));
    assert_eq!(world.write(dom0, 0, "/x", ""), ok());
    assert_eq!(world.read(dom0, 0, "/x"), Ok(Vec::new()));
}

#[test]
fn removing_what_is_not_there() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let table = [("/a", ok()), ("/a/b", error("ENOENT")), ("/", error("EINVAL")), ("/a/", error("EINVAL"))];
    for (path, expected) in table {
        assert_eq!(world.rm(dom0, 0, path), expected, "{path}");
    }
}

#[test]
fn relative_paths_are_below_home() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let guest = world.guest(7);
    assert_eq!(world.write(guest, 0, "data/x", "1"), ok());
    assert_eq!(world.read(dom0, 0, "/local/domain/7/data/x"), Ok(b"1".to_vec()));
    assert_eq!(world.write(dom0, 0, "own", "2"), ok());
    assert_eq!(world.store.read("/local/domain/0/own"), Some(&b"2"[..]));
}

#[test]
fn bad_paths_and_payloads_are_refused() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let long = format!("/{}\0", "a".repeat(3072));
    let table: &[(Type, &[u8])] = &[
        (Type::Read, b""),
        (Type::Read, b"\0"),
        (Type::Read, b"/a"),
        (Type::Read, b"/a\0b\0"),
        (Type::Read, b"//a\0"),
        (Type::Read, b"@introduceDomain\0"),
        (Type::Read, long.as_bytes()),
        (Type::Write, b"/a"),
        (Type::Write, b"/a.b\0x"),
        (Type::Mkdir, b"/a\0x"),
        (Type::Rm, b"/a b\0"),
        (Type::Directory, b"\xff\0"),
        (Type::DirectoryPart, b"/\0"),
        (Type::DirectoryPart, b"/\0x\0"),
        (Type::DirectoryPart, b"/\0-1\0"),
        (Type::GetPerms, b"/a"),
        (Type::SetPerms, b"/\0"),
        (Type::SetPerms, b"/\0z0\0"),
        (Type::Watch, b"/a\0"),
        (Type::Watch, b"/a\0t\0x\0"),
        (Type::Watch, b"/a\0t\x001\x002\0"),
        (Type::Watch, b"@introduceDomain\0t\x002\0"),
        (Type::Unwatch, b"/a\0"),
        (Type::TransactionEnd, b"X\0"),
        (Type::TransactionEnd, b"T"),
        (Type::Introduce, b"5\x001\0"),
        (Type::Introduce, b"0\x001\x001\0"),
        (Type::Introduce, b"5\x001\x000\0"),
        (Type::Introduce, b"32752\x001\x001\0"),
        (Type::Release, b"0\0"),
        (Type::GetDomainPath, b"x\0"),
        (Type::Control, b"no-such\0"),
    ];
    for (kind, payload) in table {
        let shown = String::from_utf8_lossy(payload);
        assert_eq!(world.ask(dom0, *kind, 0, payload), error("EINVAL"), "{kind:?} {shown:?}");
    }
    assert_eq!(world.store.node_count(), 1);
}

#[test]
fn long_directories_come_in_parts() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let names: Vec<String> = (0..1000).map(|n| format!("child-{n:05}")).collect();
    let batch: Vec<_> = names.iter().map(|name| Change::mkdir(format!("/d/{name}"))).collect();
    world.store.commit(&batch).unwrap();
    assert_eq!(world.directory(dom0, 0, "/d"), error("E2BIG"));

    let mut list = Vec::new();
    let mut generations = Vec::new();
    loop {
        let payload = format!("/d\0{}\0", list.len());
        let part = world.ask(dom0, Type::DirectoryPart, 0, payload.as_bytes()).unwrap();
        assert!(part.len() <= 4096);
        let nul = part.iter().position(|&byte| byte == 0).unwrap();
        generations.push(part[..nul].to_vec());
        list.extend_from_slice(&part[nul + 1..]);
        if list.ends_with(b"\0\0") || list == b"\0" {
            break;
        }
    }
    assert_eq!(joined(&list), names.join(" "));
    assert!(generations.len() > 1);
    assert!(generations.windows(2).all(|pair| pair[0] == pair[1]));

    world.store.commit(&[Change::remove("/d/child-00000")]).unwrap();
    let part = world.ask(dom0, Type::DirectoryPart, 0, b"/d\x000\0").unwrap();
    assert!(!part.starts_with(&generations[0]), "the directory has changed");
    let past = world.ask(dom0, Type::DirectoryPart, 0, b"/d\x00999999\0").unwrap();
    assert!(past.ends_with(b"\0\0"), "only the end of the list: {past:?}");
}

#[test]
fn requests_that_servers_do_not_handle() {
    let mut world = World::new();
    let dom0 = world.dom0();
    assert_eq!(world.ask(dom0, Type::WatchEvent, 0, b"/a\0t\0"), error("ENOSYS"));
    assert_eq!(world.ask(dom0, Type::Error, 0, b"EIO\0"), error("ENOSYS"));
}
