//! Transactions: isolation, conflicts, merging.

use crate::client::{World, error, ok};
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::Change;

#[test]
fn changes_are_seen_inside_at_once_and_outside_at_commit() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    world.write(a, 0, "/x", "old").unwrap();
    let tx = world.begin(a);
    world.write(a, tx, "/x", "new").unwrap();
    world.write(a, tx, "/y/z", "1").unwrap();
    assert_eq!(world.read(a, tx, "/x"), Ok(b"new".to_vec()));
    assert_eq!(world.read(a, 0, "/x"), Ok(b"old".to_vec()));
    assert_eq!(world.read(b, 0, "/y"), error("ENOENT"));
    assert_eq!(world.commit(a, tx), ok());
    assert_eq!(world.read(b, 0, "/x"), Ok(b"new".to_vec()));
    assert_eq!(world.read(b, 0, "/y/z"), Ok(b"1".to_vec()));
    assert_eq!(world.commit(a, tx), error("ENOENT"), "the transaction is over");
    assert_eq!(world.store.node_count(), 4);
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let tx = world.begin(dom0);
    world.write(dom0, tx, "/x", "1").unwrap();
    assert_eq!(world.abort(dom0, tx), ok());
    assert_eq!(world.read(dom0, 0, "/x"), error("ENOENT"));
    assert_eq!(world.store.node_count(), 1);
}

#[test]
fn a_snapshot_does_not_move() {
    let mut world = World::new();
    let dom0 = world.dom0();
    world.write(dom0, 0, "/x", "old").unwrap();
    let tx = world.begin(dom0);
    world.write(dom0, 0, "/x", "new").unwrap();
    world.rm(dom0, 0, "/x").unwrap();
    assert_eq!(world.read(dom0, tx, "/x"), Ok(b"old".to_vec()));
    assert_eq!(world.commit(dom0, tx), error("EAGAIN"));
}

/// A step inside or outside of the transaction: `read PATH`, `ls PATH`, `write PATH`, `mkdir PATH`,
/// `rm PATH`, `perms PATH`.
fn step(world: &mut World, conn: xenstore::ConnId, tx: u32, step: &str) {
    let (verb, path) = step.split_once(' ').unwrap();
    let _: Result<Vec<u8>, String> = match verb {
        "read" => world.read(conn, tx, path),
        "ls" => world.directory(conn, tx, path).map(String::into_bytes),
        "write" => world.write(conn, tx, path, &format!("{tx}")),
        "mkdir" => world.mkdir(conn, tx, path),
        "rm" => world.rm(conn, tx, path),
        "perms" => world.set_perms(conn, tx, path, "n0 r9"),
        _ => panic!("{step}"),
    };
}

#[test]
fn only_true_conflicts_are_conflicts() {
    // The tree: /a/b/c, /a/d, /e. Inside the transaction; outside, meanwhile; whether that conflicts.
    let table: &[(&[&str], &[&str], bool)] = &[
        // Not the same nodes.
        (&["write /e"], &["write /a/d"], false),
        (&["read /a/b", "write /e"], &["write /a/b/c"], false),
        (&["read /a/b/c"], &["write /a/b"], false),
        (&["write /a/new"], &["write /a/other"], false),
        (&["write /n/one"], &["write /n/two"], false),
        (&["write /n/o/one"], &["write /n/o/two/three"], false),
        (&["rm /a/b"], &["write /a/d"], false),
        (&["rm /a/b"], &["rm /a/d"], false),
        (&["ls /a"], &["write /a/b", "write /a/b/new"], false),
        (&["mkdir /a"], &["write /a"], false),
        (&[], &["write /a", "rm /e"], false),
        // Read, and changed.
        (&["read /a/b/c"], &["write /a/b/c"], true),
        (&["read /a/b/c"], &["rm /a"], true),
        (&["read /a/b/c"], &["perms /a/b/c"], true),
        (&["read /a/b/c"], &["rm /a/b/c", "write /a/b/c"], true),
        (&["read /gone"], &["write /gone"], true),
        (&["read /gone/x"], &["write /gone/x"], true),
        (&["ls /a"], &["write /a/new"], true),
        (&["ls /a"], &["rm /a/d"], true),
        (&["ls /gone"], &["mkdir /gone"], true),
        (&["mkdir /a"], &["rm /a"], true),
        // Written, and changed.
        (&["write /e"], &["write /e"], true),
        (&["write /e"], &["rm /e"], true),
        (&["write /new"], &["write /new"], true),
        (&["perms /e"], &["write /e"], true),
        (&["perms /gone"], &["write /gone"], true),
        // Removed, and changed or added to.
        (&["rm /a"], &["write /a/b/c"], true),
        (&["rm /a"], &["write /a/b/new"], true),
        (&["rm /a"], &["rm /a/b/c"], true),
        (&["rm /a"], &["rm /a"], true),
        (&["rm /gone"], &["write /gone"], true),
        (&["rm /gone/x"], &["write /gone/x"], true),
        // What is created relies on what is above.
        (&["write /a/b/new"], &["rm /a"], true),
        (&["write /a/new"], &["perms /a"], true),
        (&["write /n/one"], &["mkdir /n", "perms /n"], true),
        // Everything that is seen of own changes, too.
        (&["write /n/one", "ls /n"], &["write /n/two"], true),
        (&["rm /a", "write /a/b/c"], &["write /a/d"], true),
    ];
    for (inside, outside, conflict) in table {
        let mut world = World::new();
        let (us, them) = (world.dom0(), world.dom0());
        let tree = ["/a/b/c", "/a/d", "/e"].map(|path| Change::write(path, "0"));
        world.store.commit(&tree).unwrap();
        let tx = world.begin(us);
        inside.iter().for_each(|text| step(&mut world, us, tx, text));
        outside.iter().for_each(|text| step(&mut world, them, 0, text));
        let expected = if *conflict { error("EAGAIN") } else { ok() };
        assert_eq!(world.commit(us, tx), expected, "{inside:?} against {outside:?}");
    }
}

#[test]
fn of_two_transactions_the_second_to_commit_loses() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    let (first, second) = (world.begin(a), world.begin(b));
    world.write(b, second, "/x", "second").unwrap();
    world.write(a, first, "/x", "first").unwrap();
    assert_eq!(world.commit(b, second), ok());
    assert_eq!(world.commit(a, first), error("EAGAIN"));
    assert_eq!(world.read(a, 0, "/x"), Ok(b"second".to_vec()));
    let again = world.begin(a);
    world.write(a, again, "/x", "first").unwrap();
    assert_eq!(world.commit(a, again), ok());
}

#[test]
fn domains_start_side_by_side() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    let start = |world: &mut World, conn, tx, domid: u16| {
        for key in ["name", "memory/target", "device/vif/0/state", "data"] {
            world.write(conn, tx, &format!("/local/domain/{domid}/{key}"), "x").unwrap();
        }
        let home = format!("/local/domain/{domid}");
        world.set_perms(conn, tx, &home, &format!("n0 r{domid}")).unwrap();
        let vif = format!("/local/domain/0/backend/vif/{domid}/0/state");
        world.write(conn, tx, &vif, "1").unwrap();
        world.set_perms(conn, tx, &vif, &format!("n0 r{domid}")).unwrap();
    };
    let (first, second) = (world.begin(a), world.begin(b));
    start(&mut world, a, first, 5);
    start(&mut world, b, second, 6);
    assert_eq!(world.commit(b, second), ok());
    assert_eq!(world.commit(a, first), ok());
    assert_eq!(world.directory(a, 0, "/local/domain"), Ok("0 5 6".to_owned()));
    assert_eq!(world.directory(a, 0, "/local/domain/0/backend/vif"), Ok("5 6".to_owned()));
    assert_eq!(world.get_perms(a, 0, "/local/domain/5"), Ok("n0 r5".to_owned()));
    assert_eq!(world.get_perms(a, 0, "/local/domain/5/name"), Ok("n0".to_owned()));
    assert_eq!(world.read(a, 0, "/local/domain/6/device/vif/0/state"), Ok(b"x".to_vec()));
}

#[test]
fn removal_and_new_content_merge() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    let tree = ["/r/old/deep", "/r/keep", "/s"].map(|path| Change::write(path, "0"));
    world.store.commit(&tree).unwrap();
    let tx = world.begin(a);
    world.rm(a, tx, "/r/old").unwrap();
    world.write(a, tx, "/r/old/new/x", "1").unwrap();
    world.write(a, tx, "/gone/again", "1").unwrap();
    world.rm(a, tx, "/gone").unwrap();
    world.write(b, 0, "/r/keep", "2").unwrap();
    world.write(b, 0, "/s/t", "2").unwrap();
    assert_eq!(world.commit(a, tx), ok());
    assert_eq!(world.directory(a, 0, "/"), Ok("r s".to_owned()));
    assert_eq!(world.directory(a, 0, "/r/old"), Ok("new".to_owned()));
    assert_eq!(world.read(a, 0, "/r/old/new/x"), Ok(b"1".to_vec()));
    assert_eq!(world.read(a, 0, "/r/keep"), Ok(b"2".to_vec()));
    assert_eq!(world.store.node_count(), 8);
}

#[test]
fn guests_do_not_end_up_below_others_nodes() {
    let mut world = World::new();
    let dom0 = world.dom0();
    let (five, six) = (world.guest(5), world.guest(6));
    world.mkdir(dom0, 0, "/open").unwrap();
    world.set_perms(dom0, 0, "/open", "b0").unwrap();
    let tx = world.begin(five);
    world.write(five, tx, "/open/x/mine", "5").unwrap();
    world.mkdir(six, 0, "/open/x").unwrap();
    world.set_perms(six, 0, "/open/x", "n6").unwrap();
    assert_eq!(world.commit(five, tx), error("EAGAIN"));
    assert_eq!(world.directory(dom0, 0, "/open/x"), Ok(String::new()));
}

#[test]
fn transactions_belong_to_their_connection() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    let tx = world.begin(a);
    let never = tx + 77;
    assert_eq!(world.read(b, tx, "/"), error("ENOENT"));
    assert_eq!(world.read(a, never, "/"), error("ENOENT"));
    assert_eq!(world.commit(a, never), error("ENOENT"));
    assert_eq!(world.commit(a, 0), error("ENOENT"));
    assert_eq!(world.ask(a, Type::TransactionStart, tx, b"\0"), error("EBUSY"));
    assert_eq!(world.ask(a, Type::TransactionStart, never, b"\0"), error("ENOENT"));
    assert_eq!(world.ask(a, Type::TransactionEnd, tx, b"x\0"), error("EINVAL"));
    assert_eq!(world.commit(a, tx), ok(), "a malformed END has not ended it");
}

#[test]
fn events_come_once_and_only_at_commit() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    world.write(a, 0, "/w/removed/deep", "0").unwrap();
    world.watch(b, "/w", "top").unwrap();
    world.watch(b, "/w/removed/deep", "deep").unwrap();
    world.drain(b);
    let tx = world.begin(a);
    world.write(a, tx, "/w/x", "1").unwrap();
    world.write(a, tx, "/w/x", "2").unwrap();
    world.write(a, tx, "/w/brief", "1").unwrap();
    world.rm(a, tx, "/w/brief").unwrap();
    world.rm(a, tx, "/w/removed").unwrap();
    assert_eq!(world.events(b), Vec::<String>::new());
    world.commit(a, tx).unwrap();
    assert_eq!(world.events(b), ["/w/x top", "/w/removed top", "/w/removed/deep deep"]);

    let tx = world.begin(a);
    world.write(a, tx, "/w/x", "3").unwrap();
    world.abort(a, tx).unwrap();
    assert_eq!(world.events(b), Vec::<String>::new());
}

#[test]
fn a_merge_tells_the_same_events() {
    let mut world = World::new();
    let (a, b) = (world.dom0(), world.dom0());
    world.watch(b, "/w", "t").unwrap();
    world.drain(b);
    let tx = world.begin(a);
    world.write(a, tx, "/w/one", "1").unwrap();
    world.mkdir(a, tx, "/w/two/deep").unwrap();
    world.write(a, 0, "/elsewhere", "1").unwrap();
    world.commit(a, tx).unwrap();
    assert_eq!(world.events(b), ["/w/one t", "/w/two/deep t"]);
}
