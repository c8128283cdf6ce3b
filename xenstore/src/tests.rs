//! Long random runs, with the store's own books checked throughout.

use std::collections::BTreeMap;

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};

use crate::connection::ConnId;
use crate::perms::{Access, Perms};
use crate::tree::{Pick, Tree};
use crate::{Change, Limits, Store};

/// Knuth's MMIX generator; a seed tells all.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    /// A path of up to four names, few enough to meet again.
    fn path(&mut self) -> String {
        let names = ["a", "b", "ab", "a-b"];
        (0..=self.below(4)).map(|_| format!("/{}", names[self.below(4)])).collect()
    }
}

/// All that is in a tree: paths, values, permissions.
fn dump(tree: &Tree) -> BTreeMap<String, (Vec<u8>, Perms)> {
    let all = tree.pick(|_| Pick::Node);
    let content = all.into_iter().map(|(path, _)| {
        let node = tree.get(&path).expect("a picked node is there");
        let content = (node.value.to_vec(), node.perms.clone());
        (path, content)
    });
    content.collect()
}

impl Store {
    fn check_books(&self, clients: &[ConnId]) {
        assert!(self.tree.is_consistent(), "accounts");
        let set: usize = clients.iter().map(|conn| self.watches_of(*conn).len()).sum();
        assert_eq!(self.watch_count(), set + self.subscriptions.len(), "watches");
    }

    /// Sends a request and returns its reply, type and payload.
    fn ask(&mut self, conn: ConnId, kind: Type, tx_id: u32, payload: &str) -> (u32, Vec<u8>) {
        let len = payload.len() as u32;
        let header = XsdSockmsg { kind: kind as u32, req_id: 77, tx_id, len };
        self.receive(conn, &[&header.to_bytes()[..], payload.as_bytes()].concat()).unwrap();
        let output = self.output(conn).to_vec();
        self.consume_output(conn, output.len());
        let mut rest = &output[..];
        let mut reply = None;
        while let Some(header) = rest.first_chunk().map(XsdSockmsg::from_bytes) {
            let (payload, tail) = rest[XsdSockmsg::SIZE..].split_at(header.len as usize);
            if header.req_id == 77 {
                reply = Some((header.kind, payload.to_vec()));
            }
            rest = tail;
        }
        reply.expect("a reply")
    }

    fn begin(&mut self, conn: ConnId) -> Option<u32> {
        let (kind, id) = self.ask(conn, Type::TransactionStart, 0, "\0");
        let id = std::str::from_utf8(&id).unwrap().trim_end_matches('\0').parse().ok();
        id.filter(|_| kind == Type::TransactionStart as u32)
    }
}

/// An open transaction: whose, its id, and what was asked and answered in it.
type Open = (usize, u32, Vec<(Type, String, (u32, Vec<u8>))>);

/// A random request about the tree.
fn request(random: &mut Random) -> (Type, String) {
    let path = random.path();
    match random.below(12) {
        0..=2 => (Type::Read, format!("{path}\0")),
        3..=5 => (Type::Write, format!("{path}\0{}", random.below(1000))),
        6 => (Type::Mkdir, format!("{path}\0")),
        7 => (Type::Rm, format!("{path}\0")),
        8 | 9 => (Type::Directory, format!("{path}\0")),
        10 => (Type::GetPerms, format!("{path}\0")),
        _ => (Type::SetPerms, format!("{path}\0n0\0r{}\0", random.below(3) + 5)),
    }
}

/// Open transactions of several clients, step by step in any order. Whatever commits must have seen
/// and done just what it would have seen and done alone, at the moment of its commit.
#[test]
fn committed_transactions_are_as_if_one_after_the_other() {
    let (mut committed, mut refused) = (0, 0);
    for seed in 0..150 {
        let mut random = Random(seed);
        let mut store = Store::new(Limits::default());
        let mut serial = Store::new(Limits::default());
        let clients: Vec<_> = (0..4).map(|_| store.connect(DomId::DOM0)).collect();
        let alone = serial.connect(DomId::DOM0);
        let mut open: Vec<Open> = Vec::new();
        for _ in 0..150 {
            let client = random.below(clients.len());
            let conn = clients[client];
            let Some(at) = open.iter().position(|(owner, ..)| *owner == client) else {
                let tx_id = store.begin(conn).unwrap();
                open.push((client, tx_id, Vec::new()));
                continue;
            };
            if random.below(5) > 0 {
                let (kind, payload) = request(&mut random);
                let reply = store.ask(conn, kind, open[at].1, &payload);
                open[at].2.push((kind, payload, reply));
                continue;
            }
            let (_, tx_id, steps) = open.swap_remove(at);
            if store.ask(conn, Type::TransactionEnd, tx_id, "T\0").0 == Type::Error as u32 {
                refused += 1;
                continue;
            }
            committed += 1;
            for (kind, payload, reply) in steps {
                let expected = serial.ask(alone, kind, 0, &payload);
                assert_eq!(reply, expected, "seed {seed}: {kind:?} {payload:?}");
            }
            assert_eq!(dump(&store.tree), dump(&serial.tree), "seed {seed}");
            store.check_books(&clients);
        }
    }
    assert!(committed > 500 && refused > 500, "{committed} committed, {refused} refused");
}

/// Guests and the control domain do whatever comes to their mind, connect, vanish, do not read.
#[test]
fn the_books_stay_right_whatever_clients_do() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let limits = Limits {
            nodes: 20,
            watches: 5,
            transactions: 3,
            transaction_nodes: 15,
            memory: 8000,
            output: 500,
            ..Limits::default()
        };
        let mut store = Store::new(limits.clone());
        let open = Perms::new(DomId::DOM0, Access::Both);
        store.commit(&[Change::mkdir("/a").with_perms(open.clone())]).unwrap();
        let mut clients = Vec::new();
        for _ in 0..800 {
            if clients.len() < 4 {
                let domid = DomId([0, 5, 6, 7][random.below(4)]);
                store.introduce(domid);
                clients.push(store.connect(domid));
            }
            let conn = clients[random.below(clients.len())];
            let tx_id = random.below(4) as u32;
            let (kind, payload) = match random.below(20) {
                0 => (Type::TransactionStart, "\0".to_owned()),
                1 => (Type::TransactionEnd, ["T\0", "F\0"][random.below(2)].to_owned()),
                2 => (Type::Watch, format!("{}\0{}\0", random.path(), random.below(3))),
                3 => (Type::Unwatch, format!("{}\0{}\0", random.path(), random.below(3))),
                4 if random.below(5) == 0 => (Type::ResetWatches, "\0".to_owned()),
                _ => request(&mut random),
            };
            let header = XsdSockmsg { kind: kind as u32, req_id: 1, tx_id, len: payload.len() as u32 };
            if store.wants_input(conn) {
                let message = [&header.to_bytes()[..], payload.as_bytes()].concat();
                store.receive(conn, &message).unwrap();
            }
            match random.below(40) {
                0 => {
                    let gone = clients.swap_remove(random.below(clients.len()));
                    store.disconnect(gone);
                }
                1 => {
                    let domid = DomId([5, 6, 7][random.below(3)]);
                    store.release(domid);
                    assert_eq!(store.tree.account(domid), crate::account::Account::default());
                }
                2 => store.commit(&[Change::mkdir("/a").with_perms(open.clone())]).unwrap(),
                3..=30 => store.consume_output(conn, random.below(2000)),
                _ => {}
            }
            store.check_books(&clients);
            assert!(store.nodes_owned_by(DomId(5)) <= 2 * limits.nodes, "dom0's gifts excepted");
        }
        for conn in clients {
            store.disconnect(conn);
        }
        store.commit(&["/a", "/b", "/ab", "/a-b"].map(Change::remove)).unwrap();
        assert_eq!((store.node_count(), store.watch_count()), (1, 0), "seed {seed}");
    }
}

/// The look-up of watches finds just those that asking each one would find.
#[test]
fn watches_are_found_by_path() {
    use crate::path::{Path, below};
    use crate::watch::{Owner, Subscription, Watch, Watches};
    let mut random = Random(3);
    for _ in 0..300 {
        let mut watches = Watches::default();
        let mut all = vec!["/".to_owned()];
        all.extend((0..random.below(30)).map(|_| random.path()));
        all.retain(|_| random.below(3) > 0);
        for (number, path) in all.iter().enumerate() {
            let owner = Owner::Local(Subscription(number as u64));
            watches.add(Watch::new(owner, Path::trusted(path), b"", 0, None));
        }
        for _ in 0..30 {
            let path = random.path();
            let expected = |wanted: &dyn Fn(&str) -> bool| {
                let mut found: Vec<_> = all.iter().filter(|known| wanted(known)).cloned().collect();
                found.sort();
                found
            };
            let mut found = Vec::new();
            watches.at_or_above(&path, |watch| found.push(watch.path.as_str().to_owned()));
            found.sort();
            assert_eq!(found, expected(&|known| below(&path, known).is_some()), "{path} in {all:?}");
            found.clear();
            watches.below(&path, |watch| found.push(watch.path.as_str().to_owned()));
            found.sort();
            let truly = |known: &str| below(known, &path).is_some_and(|rest| !rest.is_empty());
            assert_eq!(found, expected(&truly), "below {path} in {all:?}");
        }
    }
}

/// A path of the greatest depth is built, compared, merged and taken apart without deep recursion.
#[test]
fn depth_is_no_danger() {
    let deep = "/x".repeat(1536);
    let child = std::thread::Builder::new().stack_size(96 << 10);
    let run = move || {
        let mut store = Store::new(Limits::default());
        let conn = store.connect(DomId::DOM0);
        let tx_id = store.begin(conn).unwrap();
        assert_eq!(store.ask(conn, Type::Watch, 0, &format!("{deep}\0t\0")).1, b"OK\0");
        assert_eq!(store.ask(conn, Type::Write, tx_id, &format!("{deep}\0v")).1, b"OK\0");
        assert_eq!(store.ask(conn, Type::Write, 0, "/y\0v").1, b"OK\0");
        assert_eq!(store.ask(conn, Type::TransactionEnd, tx_id, "T\0").1, b"OK\0");
        assert_eq!(store.node_count(), 1538);
        assert_eq!(store.ask(conn, Type::Rm, 0, "/x\0").1, b"OK\0");
        assert_eq!(store.node_count(), 2);
    };
    child.spawn(run).unwrap().join().unwrap();
}
