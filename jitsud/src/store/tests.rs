//! A daemon that is gone at any point between two steps, and the one that takes its store over.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::FutureExt;
use tempfile::TempDir;
use xen_sys::PAGE_SIZE;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Access, Perms};

use super::*;

const GUEST: DomId = DomId(5);

/// A ring page that outlives the daemons, and the guest that uses it.
struct Guest {
    directory: TempDir,
    /// Bytes of the page after each step, by whoever made it.
    page: PathBuf,
}

impl Guest {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let page = directory.path().join("ring");
        std::fs::write(&page, [0; PAGE_SIZE]).expect("a page");
        Guest { directory, page }
    }

    fn pages(&self) -> SharedPages {
        let file = std::fs::File::options().read(true).write(true).open(&self.page).expect("the page");
        SharedPages::file(&file, 1).expect("a mapping")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// A daemon that takes over whatever there is.
    fn daemon(&self) -> Daemon {
        let (store, _) = SharedStore::open(&self.state(), Limits::default());
        let own = Perms::new(GUEST, Access::None);
        store.with(|store| {
            store.introduce(GUEST);
            let home = Change::mkdir("/local/domain/5").with_perms(own);
            store.commit(&[home]).expect("a commit");
        });
        let ring = Ring::new(self.pages(), 0);
        let connection = store.connect_ring(GUEST, &ring).expect("a ring that can be taken over").0;
        Daemon { store, ring, connection: std::mem::ManuallyDrop::new(connection) }
    }

    fn ask(&self, req_id: u32, kind: Type, payload: &str) {
        let header = XsdSockmsg { kind: kind as u32, req_id, tx_id: 0, len: payload.len() as u32 };
        Ring::ask(&self.pages(), &[&header.to_bytes()[..], payload.as_bytes()].concat());
    }

    /// The replies' numbers and payloads, in order.
    fn replies(&self) -> Vec<(u32, String)> {
        let bytes = Ring::answers(&self.pages());
        let mut rest = &bytes[..];
        let mut replies = Vec::new();
        while let Some(header) = rest.first_chunk().map(XsdSockmsg::from_bytes) {
            let (message, more) = rest[XsdSockmsg::SIZE..].split_at(header.len as usize);
            replies.push((header.req_id, String::from_utf8_lossy(message).into_owned()));
            rest = more;
        }
        replies
    }
}

/// Its connection is not ended with it: it is killed.
struct Daemon {
    store: SharedStore,
    ring: Ring,
    connection: std::mem::ManuallyDrop<Connection>,
}

impl Daemon {
    fn pump(&self) {
        self.store.with_state(|state| state.pump(self.connection.id, &self.ring)).expect("good messages");
    }
}

#[test]
fn the_next_daemon_answers_what_was_asked_meanwhile() {
    let guest = Guest::new();
    guest.daemon().pump();
    guest.ask(1, Type::Write, "a\0one");
    let daemon = guest.daemon();
    daemon.pump();
    assert_eq!(guest.replies(), [(1, "OK\0".to_owned())]);
    guest.ask(2, Type::Read, "a\0");
    guest.daemon().pump();
    assert_eq!(guest.replies(), [(2, "one".to_owned())]);
}

/// Killed before the request was taken out of the ring: it is not done twice.
#[test]
fn a_request_that_was_put_away_is_taken_out_of_the_ring() {
    let guest = Guest::new();
    let daemon = guest.daemon();
    guest.ask(1, Type::TransactionStart, "\0");
    let mut buffer = [0; XENSTORE_RING_SIZE];
    let requests = daemon.ring.requests(&mut buffer).expect("requests");
    daemon.store.with(|store| store.receive(daemon.connection.id, requests)).expect("good messages");
    guest.daemon().pump();
    assert_eq!(guest.replies(), [(1, "1\0".to_owned())]);
    guest.ask(2, Type::TransactionStart, "\0");
    guest.daemon().pump();
    assert_eq!(guest.replies(), [(2, "2\0".to_owned())]);
}

/// Killed before the store knew what had been put into the ring: it is not sent twice.
#[test]
fn an_answer_that_is_in_the_ring_is_not_sent_again() {
    for sent in 0..=19 {
        let guest = Guest::new();
        let daemon = guest.daemon();
        guest.ask(1, Type::Write, "a\0one");
        let mut buffer = [0; XENSTORE_RING_SIZE];
        let requests = daemon.ring.requests(&mut buffer).expect("requests");
        daemon.store.with(|store| store.receive(daemon.connection.id, requests)).expect("good messages");
        daemon.ring.consume(requests.len());
        let answer = daemon.store.with(|store| store.output(daemon.connection.id).to_vec());
        daemon.ring.respond(&answer[..sent]).expect("room");
        guest.daemon().pump();
        assert_eq!(guest.replies(), [(1, "OK\0".to_owned())], "{sent} bytes were in the ring");
    }
}

#[test]
fn watches_fire_for_what_the_next_daemon_does() {
    let guest = Guest::new();
    let daemon = guest.daemon();
    guest.ask(1, Type::Watch, "a\0token\0");
    daemon.pump();
    let _ = guest.replies();
    let daemon = guest.daemon();
    daemon.pump();
    assert_eq!(guest.replies(), [], "a watch that goes on does not fire anew");
    daemon.store.commit(&[Change::write("/local/domain/5/a", "x")]).expect("a commit");
    daemon.pump();
    assert_eq!(guest.replies(), [(0, "a\0token\0".to_owned())]);
}

/// Indices that a guest has written over are its own misfortune.
#[test]
fn indices_that_fit_nothing_are_refused() {
    for (received, sent) in [(3, 0), (0, 9)] {
        let guest = Guest::new();
        let daemon = guest.daemon();
        guest.ask(1, Type::Write, "a\0one");
        daemon.pump();
        let ring = Ring::new(guest.pages(), 0);
        ring.pretend(received, sent);
        let (store, _) = SharedStore::open(&guest.state(), Limits::default());
        assert!(store.connect_ring(GUEST, &ring).is_err());
        assert_eq!(store.connections(), 0);
    }
}

#[test]
fn a_damaged_state_is_set_aside_and_the_store_begins_anew() {
    let guest = Guest::new();
    let daemon = guest.daemon();
    daemon.store.commit(&[Change::write("/x", "1")]).expect("a commit");
    let mut bytes = std::fs::read(guest.state()).expect("the state");
    bytes[100] ^= 1;
    std::fs::write(guest.state(), &bytes).expect("writing");
    let (store, restored) = SharedStore::open(&guest.state(), Limits::default());
    assert!(!restored);
    assert!(store.with(|store| store.read("/x").is_none()));
    assert_eq!(std::fs::read(guest.state().with_extension("damaged")).expect("what was set aside"), bytes);
    let (_, restored) = SharedStore::open(&guest.state(), Limits::default());
    assert!(restored);
}

#[test]
fn a_daemon_that_leaves_orderly_leaves_its_connections_to_the_next() {
    let guest = Guest::new();
    let daemon = guest.daemon();
    daemon.store.leave();
    drop(std::mem::ManuallyDrop::into_inner(daemon.connection));
    let (store, _) = SharedStore::open(&guest.state(), Limits::default());
    let ring = Ring::new(guest.pages(), 0);
    let (_connection, new) = store.connect_ring(GUEST, &ring).expect("a ring");
    assert!(!new);
    store.end_rings(|_| true);
}

#[tokio::test]
async fn a_watched_key_comes_true_when_it_has_the_wanted_value() {
    let store = SharedStore::new(Limits::default());
    let any = store.watch("/a".into(), None).expect("a watch");
    let four = store.watch("/a".into(), Some("4".into())).expect("a watch");
    let (mut any, mut four) = (pin!(any.comes_true()), pin!(four.comes_true()));
    assert!(any.as_mut().now_or_never().is_none());
    store.commit(&[Change::write("/a", "1")]).expect("a commit");
    any.await;
    assert!(four.as_mut().now_or_never().is_none());
    store.commit(&[Change::write("/a", "4")]).expect("a commit");
    four.await;
}
