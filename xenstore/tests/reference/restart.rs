//! A store that is exported and imported at any moment behaves as one that never was.

use std::time::Duration;

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Access, Change, ConnId, ImportError, Limits, Perms, Progress, Store};

use crate::Random;

fn message(random: &mut Random) -> Vec<u8> {
    let names = ["a", "b", "data", "data/x"];
    let path = match random.below(8) {
        0 => "/local/domain/5".to_owned(),
        1 => "@releaseDomain".to_owned(),
        2..=4 => names[random.below(4)].to_owned(),
        _ => format!("/local/domain/5/{}", names[random.below(4)]),
    };
    let token = random.below(3);
    let (kind, payload) = match random.below(20) {
        0 => (Type::TransactionStart, "\0".to_owned()),
        1 => (Type::TransactionEnd, ["T\0", "F\0"][random.below(2)].to_owned()),
        2 | 3 => (Type::Watch, format!("{path}\0{token}\0")),
        4 => (Type::Watch, format!("{path}\0{token}\0{}\0", random.below(2))),
        5 => (Type::Unwatch, format!("{path}\0{token}\0")),
        6 if random.below(4) == 0 => (Type::ResetWatches, "\0".to_owned()),
        7 => (Type::SetPerms, format!("{path}\0n5\0r6\0")),
        8 => (Type::SetQuota, format!("5\0watches\0{}\0", 3 + random.below(5))),
        9 => (Type::Control, "print\0x\0".to_owned()),
        10..=12 => (Type::Read, format!("{path}\0")),
        13 => (Type::Rm, format!("{path}\0")),
        14 => (Type::Directory, format!("{path}\0")),
        _ => (Type::Write, format!("{path}\0{}", "v".repeat(random.below(200)))),
    };
    let header = XsdSockmsg {
        kind: kind as u32,
        req_id: random.below(1000) as u32,
        tx_id: random.below(4) as u32,
        len: payload.len() as u32,
    };
    [&header.to_bytes()[..], payload.as_bytes()].concat()
}

/// Two stores that are told the same.
struct Twins {
    steady: Store,
    restarted: Store,
    /// What the steady one was at some moment.
    base: Vec<u8>,
    /// What has happened to it since.
    journal: Vec<u8>,
}

impl Twins {
    fn both<R: PartialEq + std::fmt::Debug>(&mut self, mut act: impl FnMut(&mut Store) -> R) -> R {
        let result = act(&mut self.steady);
        assert_eq!(act(&mut self.restarted), result);
        result
    }

    /// What was kept of the steady one, an export and a journal, makes the same state again.
    fn replay(&mut self) {
        self.steady.pass_journal(|calls| self.journal.extend_from_slice(calls));
        let mut replayed = Store::import(&self.base).unwrap();
        assert_eq!(replayed.replay(&self.journal), self.journal.len());
        // Whom the driver was told to look at is not kept: it looks at all after a restart.
        self.both(Store::connections_with_output);
        replayed.connections_with_output();
        assert!(replayed.export() == self.steady.export(), "a replay makes the same");
        // An entry that is not whole is left out, and nothing else.
        for cut in 1..self.journal.len().min(12) {
            let whole = self.journal.len() - cut;
            let mut torn = Store::import(&self.base).unwrap();
            assert!(torn.replay(&self.journal[..whole]) <= whole);
        }
    }

    fn rebase(&mut self) {
        self.steady.start_journal();
        self.base = self.steady.export();
        self.journal.clear();
    }

    fn restart(&mut self) {
        let image = self.restarted.export();
        self.restarted = Store::import(&image).unwrap();
        assert!(self.restarted.export() == image, "an import exports the same");
    }
}

fn small() -> Store {
    let limits = Limits {
        nodes: 20,
        watches: 6,
        transactions: 3,
        outstanding: 4,
        memory: 8000,
        output: 200,
        socket_output: 250,
        write_burst: 4,
        writes_per_second: 20,
        transaction_age: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut store = Store::new(limits);
    let guest = Perms::new(DomId(5), Access::None).with(DomId(6), Access::Both);
    store.commit(&[Change::mkdir("/local/domain/5").with_perms(guest)]).unwrap();
    store
}

#[test]
fn a_restart_at_any_moment_changes_nothing() {
    let (mut paused, mut halves, mut open) = (0, 0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut twins = Twins { steady: small(), restarted: small(), base: Vec::new(), journal: Vec::new() };
        twins.rebase();
        let watched = ["/local/domain", "@introduceDomain"];
        for path in watched {
            twins.both(|store| store.watch(path)).unwrap();
        }
        let mut clients: Vec<(ConnId, Vec<u8>)> = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..400 {
            if clients.len() < 5 {
                let domid = DomId([0, 5, 6][random.below(3)]);
                twins.both(|store| store.introduce(domid));
                let conn = match domid {
                    DomId::DOM0 if random.below(2) == 0 => twins.both(Store::connect_socket),
                    _ if random.below(4) == 0 => {
                        let progress = Progress { received: u64::from(u32::MAX), sent: 7 };
                        twins.both(|store| store.connect_from(domid, progress))
                    }
                    _ => twins.both(|store| store.connect(domid)),
                };
                clients.push((conn, Vec::new()));
            }
            let at = random.below(clients.len());
            let (conn, unsent) = &mut clients[at];
            let conn = *conn;
            if twins.both(|store| store.wants_input(conn)) {
                unsent.extend(message(&mut random));
                let size = 1 + random.below(unsent.len());
                let piece: Vec<u8> = unsent.drain(..size).collect();
                twins.both(|store| store.receive(conn, &piece)).unwrap();
                halves += usize::from(!unsent.is_empty());
            } else {
                paused += 1;
            }
            match random.below(30) {
                0 => {
                    let (gone, _) = clients.swap_remove(at);
                    twins.both(|store| store.disconnect(gone));
                }
                1 => {
                    twins.both(|store| store.reset(conn));
                    clients[at].1.clear();
                }
                2 => twins.both(|store| store.release(DomId(6))),
                3 => twins.both(|store| store.stopped(DomId(5))),
                4..=8 => {
                    now += Duration::from_millis(random.below(100) as u64);
                    twins.both(|store| store.advance(now));
                }
                9 => {
                    let change = Change::write("/local/domain/5/data", "again");
                    twins.both(|store| store.commit(std::slice::from_ref(&change))).unwrap();
                }
                10 => drop(twins.both(Store::take_events)),
                11 => drop(twins.both(Store::take_requests)),
                12..=20 => {
                    let n = random.below(600);
                    twins.both(|store| store.consume_output(conn, n));
                }
                _ => {}
            }
            for (conn, _) in &clients {
                twins.both(|store| store.output(*conn).to_vec());
            }
            twins.both(|store| store.deadline());
            if random.below(3) == 0 {
                twins.both(Store::connections_with_output);
            }
            if random.below(10) == 0 {
                open += usize::from(twins.steady.deadline().is_some());
                twins.restart();
            }
            match random.below(60) {
                0 => twins.rebase(),
                1 | 2 => twins.replay(),
                _ => {}
            }
        }
        assert!(twins.steady.export() == twins.restarted.export(), "seed {seed}");
    }
    assert!(paused > 100 && halves > 1000 && open > 100, "{paused} {halves} {open}");
}

/// After a restart the driver knows from the ring's indices what it had no time for.
#[test]
fn progress_tells_what_was_taken_and_given() {
    let mut store = small();
    let conn = store.connect(DomId(5));
    let bytes = message(&mut Random(5));
    store.receive(conn, &bytes).unwrap();
    let waiting = store.output(conn).len();
    store.consume_output(conn, waiting - 1);
    let again = Store::import(&store.export()).unwrap();
    let progress = again.progress(conn).unwrap();
    assert_eq!((progress.received, progress.sent), (bytes.len() as u64, waiting as u64 - 1));
    assert_eq!(again.output(conn).len(), 1);
    store.reset(conn);
    let fresh = store.progress(conn).unwrap();
    assert_eq!((fresh.received, fresh.sent), (0, 0));
    store.disconnect(conn);
    assert_eq!(store.progress(conn), None);
}

/// A flipped bit ends a replay there.
#[test]
fn a_damaged_journal_is_replayed_up_to_the_damage() {
    let mut store = small();
    let base = store.export();
    store.start_journal();
    store.commit(&[Change::write("/one", "1")]).unwrap();
    let first = store.take_journal();
    store.commit(&[Change::write("/two", "2")]).unwrap();
    let journal = [&first[..], &store.take_journal()].concat();
    for at in first.len()..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 4;
        let mut again = Store::import(&base).unwrap();
        assert_eq!(again.replay(&damaged), first.len(), "byte {at}");
        assert_eq!((again.read("/one"), again.read("/two")), (Some(&b"1"[..]), None));
    }
}

#[test]
fn what_is_damaged_is_named() {
    let mut store = small();
    let conn = store.connect(DomId(5));
    store.receive(conn, &[1, 2, 3]).unwrap();
    let image = store.export();
    let import = |image: &[u8]| Store::import(image).err();
    assert_eq!(import(&image), None);
    assert_eq!(import(b""), Some(ImportError::NotOurs));
    assert_eq!(import(b"jitsu-xt0123456789012345"), Some(ImportError::NotOurs));
    let mut other = image.clone();
    other[8] = 99;
    assert_eq!(import(&other), Some(ImportError::Version(99)));
    for length in 24..image.len() {
        assert!(matches!(import(&image[..length]), Some(ImportError::Length { .. })), "{length}");
    }
    for at in 24..image.len() {
        let mut flipped = image.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(matches!(import(&flipped), Some(ImportError::Checksum { .. })), "{at}");
    }
    let longer = [&image[..], b"x"].concat();
    assert!(matches!(import(&longer), Some(ImportError::Length { .. })));
}

/// Damage that a checksum does not show, because whoever wrote it made one: still no harm.
#[test]
fn nonsense_with_a_checksum_is_refused_or_harmless() {
    let mut store = small();
    let clients = [store.connect(DomId(5)), store.connect(DomId(6)), store.connect_socket()];
    let mut random = Random(1);
    for _ in 0..300 {
        let conn = clients[random.below(3)];
        store.receive(conn, &message(&mut random)).unwrap();
        store.consume_output(conn, 10_000);
    }
    let image = store.export();
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..5000 {
        let mut nonsense = image.clone();
        for _ in 0..=random.below(3) {
            let at = 24 + random.below(image.len() - 24);
            nonsense[at] = random.below(256) as u8;
        }
        let crc = crc32fast::hash(&nonsense[24..]);
        nonsense[12..16].copy_from_slice(&crc.to_le_bytes());
        match Store::import(&nonsense) {
            Err(ImportError::Record { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(mut store) => {
                taken += 1;
                for _ in 0..20 {
                    let conn = clients[random.below(3)];
                    let _ = store.receive(conn, &message(&mut random));
                    store.consume_output(conn, 10_000);
                }
                store.release(DomId(5));
                store.advance(Duration::from_secs(1));
            }
        }
    }
    assert!(refused > 500 && taken > 500, "{refused} {taken}");
}
