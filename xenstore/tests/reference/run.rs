//! Random requests to a store and to the model, side by side. Also what the fuzzer runs.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Access, Change, ConnId, Limits, Perms, Store};

use crate::model::{Answer, Request, Tree, parent, within};

/// What happened in a run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub committed: usize,
    /// Committed although something else had changed meanwhile.
    pub merged: usize,
    pub refused: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.committed += other.committed;
        self.merged += other.merged;
        self.refused += other.refused;
    }
}

/// A transaction as the model has it: a copy, and what was done with it.
struct Open {
    view: Tree,
    /// Length of the log of changes at its start.
    since: usize,
    steps: Vec<(Request, Answer)>,
}

struct Client {
    conn: ConnId,
    domid: u16,
    open: BTreeMap<u32, Open>,
}

struct World {
    store: Store,
    tree: Tree,
    clients: Vec<Client>,
    /// Every path that was changed in the live tree.
    changed: Vec<String>,
    tally: Tally,
}

/// Runs `steps` random steps; `below(n)` chooses a number below `n`.
pub fn run(mut below: impl FnMut(usize) -> usize, steps: usize) -> Tally {
    let limits = Limits { writes_per_second: 0, conflict_burst: u32::MAX, ..Limits::default() };
    let mut world = World {
        store: Store::new(limits),
        tree: Tree::default(),
        clients: Vec::new(),
        changed: Vec::new(),
        tally: Tally::default(),
    };
    world.seed();
    for domid in [0, 0, 5, 6] {
        let conn = world.store.connect(DomId(domid));
        world.clients.push(Client { conn, domid, open: BTreeMap::new() });
    }
    for _ in 0..steps {
        world.step(&mut below);
    }
    world.compare();
    world.tally
}

fn path(below: &mut impl FnMut(usize) -> usize) -> String {
    const NAMES: [&str; 4] = ["a", "b", "ab", "a-b"];
    match below(30) {
        0 => "/".to_owned(),
        _ => (0..=below(3)).map(|_| format!("/{}", NAMES[below(4)])).collect(),
    }
}

fn request(below: &mut impl FnMut(usize) -> usize) -> Request {
    let path = path(below);
    match below(14) {
        0..=2 => Request::Read(path),
        3..=5 => Request::Write(path, below(1000).to_string().into_bytes()),
        6 => Request::Mkdir(path),
        7 => Request::Rm(path),
        8 | 9 => Request::Directory(path),
        10 => Request::GetPerms(path),
        _ => {
            let letter = |below: &mut dyn FnMut(usize) -> usize| b"nrwb"[below(4)];
            let mut perms = vec![(letter(below), [0, 5, 6][below(3)])];
            for _ in 0..below(3) {
                perms.push((letter(below), [5, 6, 7][below(3)]));
            }
            Request::SetPerms(path, perms)
        }
    }
}

impl World {
    /// Something that all may write, for a start.
    fn seed(&mut self) {
        let open = Perms::new(DomId::DOM0, Access::Both);
        self.store.commit(&[Change::mkdir("/a").with_perms(open)]).unwrap();
        self.tree.ask(0, &Request::Mkdir("/a".into())).unwrap();
        self.tree.ask(0, &Request::SetPerms("/a".into(), vec![(b'b', 0)])).unwrap();
        self.changed.push("/a".into());
    }

    fn step(&mut self, below: &mut impl FnMut(usize) -> usize) {
        match below(60) {
            0 => self.release([5, 6, 7][below(3)]),
            1 => self.restart(),
            2 => self.seed(),
            3 => self.compare(),
            _ => self.client_step(below),
        }
    }

    fn client_step(&mut self, below: &mut impl FnMut(usize) -> usize) {
        let at = below(self.clients.len());
        let open = self.clients[at].open.keys().copied().collect::<Vec<_>>();
        match below(10) {
            0 if open.len() < 3 => {
                let id = self.ask(at, Type::TransactionStart, 0, b"\0").unwrap();
                let id = String::from_utf8(id).unwrap().trim_end_matches('\0').parse().unwrap();
                let started = Open { view: self.tree.clone(), since: self.changed.len(), steps: Vec::new() };
                assert!(self.clients[at].open.insert(id, started).is_none(), "an id used twice");
            }
            1 if !open.is_empty() => self.end(at, open[below(open.len())], below(4) > 0),
            2..=6 if !open.is_empty() => {
                let id = open[below(open.len())];
                let request = request(below);
                let got = self.send(at, id, &request);
                let client = &mut self.clients[at];
                let open = client.open.get_mut(&id).unwrap();
                let expected = open.view.ask(client.domid, &request);
                assert_eq!(got, expected, "{request:?} of {} in a transaction", client.domid);
                open.steps.push((request, got));
            }
            _ => {
                let request = request(below);
                let got = self.send(at, 0, &request);
                let before = self.tree.clone();
                let expected = self.tree.ask(self.clients[at].domid, &request);
                assert_eq!(got, expected, "{request:?} of {}", self.clients[at].domid);
                self.note_changes(&before, &[request]);
            }
        }
    }

    fn end(&mut self, at: usize, id: u32, commit: bool) {
        let open = self.clients[at].open.remove(&id).unwrap();
        let payload: &[u8] = if commit { b"T\0" } else { b"F\0" };
        let answer = self.ask(at, Type::TransactionEnd, id, payload);
        if !commit {
            assert!(answer.is_ok());
            return;
        }
        let requests: Vec<_> = open.steps.iter().map(|(request, _)| request.clone()).collect();
        let since = self.changed[open.since..].to_vec();
        if answer == Err("EAGAIN") {
            // Only a change that has to do with what was asked may be in the way.
            let related = |one: &str, other: &str| within(one, other) || within(other, one);
            let met = |path: &String| {
                let asked = requests.iter().map(Request::path);
                asked.into_iter().any(|asked| related(asked, path) || related(parent(asked), path))
            };
            assert!(since.iter().any(met), "a conflict out of nothing: {requests:?} {since:?}");
            self.tally.refused += 1;
            return;
        }
        assert_eq!(answer, Ok(b"OK\0".to_vec()));
        self.tally.committed += 1;
        self.tally.merged += usize::from(!since.is_empty());
        // It is as if all of it had happened now.
        let before = self.tree.clone();
        for (request, answer) in &open.steps {
            let now = self.tree.ask(self.clients[at].domid, request);
            assert_eq!(
                now, *answer,
                "{request:?} would now be answered otherwise, of {:?} since {since:?}",
                open.steps
            );
        }
        self.note_changes(&before, &requests);
        self.compare();
    }

    /// Remembers what has changed; a request may also set what was there already.
    fn note_changes(&mut self, before: &Tree, requests: &[Request]) {
        let keys = before.0.keys().chain(self.tree.0.keys());
        let differs = keys.filter(|key| before.0.get(*key) != self.tree.0.get(*key)).cloned();
        self.changed.extend(differs.collect::<Vec<_>>());
        let set = requests.iter().filter(|r| matches!(r, Request::Write(..) | Request::SetPerms(..)));
        self.changed.extend(set.map(|request| request.path().to_owned()));
    }

    fn release(&mut self, domid: u16) {
        self.store.release(DomId(domid));
        let before = self.tree.clone();
        self.tree.release(domid);
        self.note_changes(&before, &[]);
        for client in self.clients.iter_mut().filter(|client| client.domid == domid) {
            self.store.disconnect(client.conn);
            client.conn = self.store.connect(DomId(domid));
            client.open.clear();
        }
    }

    fn restart(&mut self) {
        let image = self.store.export();
        self.store = Store::import(&image).unwrap();
        assert!(self.store.export() == image, "the same state is the same image");
    }

    fn compare(&self) {
        assert_eq!(self.store.node_count(), self.tree.0.len());
        for (path, node) in &self.tree.0 {
            assert_eq!(self.store.read(path), Some(&node.value[..]), "{path}");
            let perms = self.store.perms(path).unwrap().entries();
            let letter = |access| match access {
                Access::None => b'n',
                Access::Read => b'r',
                Access::Write => b'w',
                Access::Both => b'b',
            };
            let perms: Vec<_> = perms.iter().map(|perm| (letter(perm.access), perm.domid.0)).collect();
            assert_eq!(perms, node.perms, "{path}");
        }
    }

    fn send(&mut self, at: usize, tx_id: u32, request: &Request) -> Answer {
        let (kind, payload) = wire(request);
        self.ask(at, kind, tx_id, &payload)
    }

    fn ask(&mut self, at: usize, kind: Type, tx_id: u32, payload: &[u8]) -> Answer {
        let conn = self.clients[at].conn;
        let header = XsdSockmsg { kind: kind as u32, req_id: 77, tx_id, len: payload.len() as u32 };
        let message = [&header.to_bytes()[..], payload].concat();
        // In two pieces, as a ring may deliver it.
        let (one, other) = message.split_at(message.len() / 2);
        self.store.receive(conn, one).unwrap();
        self.store.receive(conn, other).unwrap();
        let output = self.store.output(conn).to_vec();
        self.store.consume_output(conn, output.len());
        let reply = XsdSockmsg::from_bytes(output.first_chunk().expect("a reply"));
        let payload = output[XsdSockmsg::SIZE..].to_vec();
        assert_eq!((reply.req_id, reply.tx_id, reply.len as usize), (77, tx_id, payload.len()));
        if reply.kind == Type::Error as u32 {
            let names = ["ENOENT", "EACCES", "EINVAL", "EPERM", "EAGAIN", "ENOSPC"];
            let name = names.into_iter().find(|name| payload == format!("{name}\0").as_bytes());
            return Err(name.unwrap_or_else(|| panic!("error {:?}", String::from_utf8_lossy(&payload))));
        }
        assert_eq!(reply.kind, kind as u32);
        Ok(payload)
    }
}

fn wire(request: &Request) -> (Type, Vec<u8>) {
    let with = |path: &String, rest: &[u8]| [path.as_bytes(), b"\0", rest].concat();
    match request {
        Request::Read(path) => (Type::Read, with(path, b"")),
        Request::Write(path, value) => (Type::Write, with(path, value)),
        Request::Mkdir(path) => (Type::Mkdir, with(path, b"")),
        Request::Rm(path) => (Type::Rm, with(path, b"")),
        Request::Directory(path) => (Type::Directory, with(path, b"")),
        Request::GetPerms(path) => (Type::GetPerms, with(path, b"")),
        Request::SetPerms(path, perms) => {
            let perms = perms.iter().map(|(letter, domid)| format!("{}{domid}\0", *letter as char));
            (Type::SetPerms, with(path, perms.collect::<String>().as_bytes()))
        }
    }
}
