//! The ring of a guest that writes whatever it likes anywhere in the page, at any time, and in between behaves,
//! while daemons take over from one another. They write nothing but what is theirs; a guest that behaves hears every
//! reply once and in order; and an honest guest beside it is served.
#![no_main]

use std::collections::VecDeque;
use std::fs::File;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use jitsud::store::{Connection, Ring, RingError, SharedStore};
use jitsud::xen::SharedPages;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use nix::sys::memfd::{MFdFlags, memfd_create};
use xen_sys::io::xs_wire::{
    XENSTORE_CONNECTED, XENSTORE_PAYLOAD_MAX, XENSTORE_RECONNECT, XENSTORE_RING_SIZE,
    XenstoreDomainInterface as Page, XsdSockmsg, XsdSockmsgType,
};
use xen_sys::{DomId, PAGE_SIZE};
use xenstore::{Access, Change, ConnId, ConnKind, Limits, Perms};

const REQ: usize = offset_of!(Page, req);
const RSP: usize = offset_of!(Page, rsp);
const REQ_CONS: usize = offset_of!(Page, req_cons);
const REQ_PROD: usize = offset_of!(Page, req_prod);
const RSP_CONS: usize = offset_of!(Page, rsp_cons);
const RSP_PROD: usize = offset_of!(Page, rsp_prod);
const SERVER_FEATURES: usize = offset_of!(Page, server_features);
const CONNECTION: usize = offset_of!(Page, connection);

const GUEST: DomId = DomId(5);
const OTHER: DomId = DomId(6);
const OUTPUT: usize = 5_000;

/// The page's memory, and the guest's own mapping of it.
fn memory() -> &'static (File, SharedPages) {
    static MEMORY: OnceLock<(File, SharedPages)> = OnceLock::new();
    MEMORY.get_or_init(|| {
        let file = File::from(memfd_create("ring", MFdFlags::MFD_CLOEXEC).expect("memory"));
        file.set_len(PAGE_SIZE as u64).expect("a page");
        let page = SharedPages::device(&file).expect("a mapping");
        (file, page)
    })
}

/// What a guest has said and heard so far, for as long as it has behaved.
#[derive(Default)]
struct Talk {
    said: Vec<u8>,
    heard: Vec<u8>,
    /// Numbers of requests that have no reply yet.
    asked: VecDeque<u32>,
}

/// Cuts the first whole message off.
fn message(stream: &mut Vec<u8>) -> Option<XsdSockmsg> {
    let header = XsdSockmsg::from_bytes(stream.first_chunk()?);
    if header.len as usize > XENSTORE_PAYLOAD_MAX {
        return None;
    }
    let end = XsdSockmsg::SIZE + header.len as usize;
    (stream.len() >= end).then(|| stream.drain(..end))?;
    Some(header)
}

impl Talk {
    fn say(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        while let Some(request) = message(&mut self.said) {
            self.asked.push_back(request.req_id);
        }
    }

    /// Replies come whole, and in the order of their requests; events come in between.
    fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        while let Some(header) = self.heard.first_chunk().map(XsdSockmsg::from_bytes) {
            assert!(header.len as usize <= XENSTORE_PAYLOAD_MAX);
            let Some(reply) = message(&mut self.heard) else { break };
            if reply.kind != XsdSockmsgType::WatchEvent as u32 {
                assert_eq!(Some(reply.req_id), self.asked.pop_front());
            }
        }
    }
}

/// Puts bytes behind the producer's index as far as there is room; returns those.
fn put<'a>(page: &SharedPages, bytes: &'a [u8]) -> &'a [u8] {
    let (consumer, producer) = (page.load(REQ_CONS), page.load(REQ_PROD));
    let room = XENSTORE_RING_SIZE.saturating_sub(producer.wrapping_sub(consumer) as usize);
    let bytes = &bytes[..bytes.len().min(room)];
    for (i, byte) in bytes.iter().enumerate() {
        page.write(REQ + (producer as usize + i) % XENSTORE_RING_SIZE, &[*byte]);
    }
    page.store(REQ_PROD, producer.wrapping_add(bytes.len() as u32));
    bytes
}

/// Takes at most `most` bytes of the responses.
fn take(page: &SharedPages, most: usize) -> Vec<u8> {
    let (consumer, producer) = (page.load(RSP_CONS), page.load(RSP_PROD));
    let length = (producer.wrapping_sub(consumer) as usize).min(XENSTORE_RING_SIZE).min(most);
    let mut bytes = vec![0; length];
    for (i, byte) in bytes.iter_mut().enumerate() {
        let at = RSP + (consumer as usize + i) % XENSTORE_RING_SIZE;
        page.read(at, std::slice::from_mut(byte));
    }
    page.store(RSP_CONS, consumer.wrapping_add(length as u32));
    bytes
}

fn snapshot(page: &SharedPages) -> [u8; PAGE_SIZE] {
    let mut bytes = [0; PAGE_SIZE];
    page.read(0, &mut bytes);
    bytes
}

/// What a daemon may write beside the responses: when it serves, when the guest wants to begin anew, and when it
/// takes over.
const SERVES: &[usize] = &[REQ_CONS, RSP_PROD];
const RECONNECTS: &[usize] = &[REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, CONNECTION];
const TAKES_OVER: &[usize] = &[REQ_CONS, SERVER_FEATURES];

/// What it must leave alone.
fn guests_part(page: &[u8; PAGE_SIZE], own: &[usize]) -> Vec<u8> {
    let mut page = page.to_vec();
    page[RSP..RSP + XENSTORE_RING_SIZE].fill(0);
    own.iter().for_each(|word| page[*word..*word + 4].fill(0));
    page
}

/// The state of the store, in memory where there is such a folder.
fn state() -> &'static Path {
    static STATE: OnceLock<PathBuf> = OnceLock::new();
    STATE.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        folder.join(format!("jitsu-fuzz-ring-{}", std::process::id()))
    })
}

/// A daemon, which serves the guest and another one.
struct Daemon {
    store: SharedStore,
    ring: Ring,
    connection: Connection,
}

impl Daemon {
    /// The first one, or one that takes over.
    fn start(store: SharedStore) -> Result<Self, RingError> {
        store.is_sound();
        let page = SharedPages::device(&memory().0).expect("a mapping");
        let ring = Ring::new(page, store.with(|store| store.features(GUEST)));
        let (connection, _) = store.connect_ring(GUEST, &ring)?;
        Ok(Daemon { store, ring, connection })
    }

    /// Bytes that wait for the guest.
    fn output(&self) -> usize {
        let of_guest = |(id, domid, _): (ConnId, DomId, ConnKind)| (domid == GUEST).then_some(id);
        self.store.with(|store| {
            let id = store.connections().find_map(of_guest);
            id.map_or(0, |id| store.output(id).len())
        })
    }
}

/// What the server did to the page.
fn check_page(
    before: &[u8; PAGE_SIZE],
    after: &[u8; PAGE_SIZE],
    reconnects: bool,
    moved: Result<bool, RingError>,
) {
    let own = if reconnects { RECONNECTS } else { SERVES };
    assert!(guests_part(before, own) == guests_part(after, own));
    let word_of =
        |page: &[u8], at: usize| page[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let word = |at: usize| word_of(after, at);
    let advance = |at: usize| word(at).wrapping_sub(word_of(before, at)) as usize;
    match moved {
        Ok(_) if reconnects => {
            assert_eq!([REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD].map(word), [0; 4]);
            assert_eq!(word(CONNECTION), XENSTORE_CONNECTED);
        }
        Ok(moved) => {
            assert!(word(RSP_PROD).wrapping_sub(word(RSP_CONS)) as usize <= XENSTORE_RING_SIZE);
            assert!(moved || before == after);
            let asked = word_of(before, REQ_PROD).wrapping_sub(word_of(before, REQ_CONS)) as usize;
            assert!([0, asked].contains(&advance(REQ_CONS)));
        }
        // What was said before the guest was found out may have been answered.
        Err(_) => assert!(advance(REQ_CONS) <= XENSTORE_RING_SIZE && advance(RSP_PROD) <= XENSTORE_RING_SIZE),
    }
}

fuzz_target!(|input: &[u8]| {
    let limits = Limits { nodes: 30, memory: 30_000, output: OUTPUT, ..Limits::default() };
    let mut script = Unstructured::new(input);
    // Whether there will be another daemon; without, it goes much faster.
    let kept = script.arbitrary().unwrap_or_default();
    let store =
        if kept { SharedStore::open(state(), limits.clone()).0 } else { SharedStore::new(limits.clone()) };
    let (own, others) = (Perms::new(GUEST, Access::None), Perms::new(OTHER, Access::None));
    store
        .commit(&[
            Change::mkdir("/local/domain/5/data").with_perms(own),
            Change::write("/local/domain/6/data", "its own").with_perms(others),
        ])
        .expect("good paths");
    store.with(|store| {
        store.introduce(GUEST);
        store.introduce(OTHER);
    });
    let page = &memory().1;
    page.write(0, &[0; PAGE_SIZE]);
    let mut daemon = Daemon::start(store.clone()).ok();
    let mut store = store;

    // Of the store's clock, which is ahead of this machine's.
    let mut now = Duration::from_secs(1 << 30);
    let mut talk = Some(Talk::default());
    while let Some(serving) = &daemon
        && let Ok([what, length]) = script.bytes(2).map(|bytes| [bytes[0], bytes[1]])
    {
        let length = usize::from(length);
        match what % 8 {
            // It behaves: speaks, listens, waits.
            0 | 1 => {
                let bytes = script.bytes(length.min(script.len())).expect("there are as many");
                let said = put(page, bytes);
                talk.iter_mut().for_each(|talk| talk.say(said));
            }
            2 => {
                let heard = take(page, length * 8);
                talk.iter_mut().for_each(|talk| talk.hear(&heard));
            }
            3 if kept && length % 2 == 1 => {
                store.leave();
                drop(daemon.take());
                let (next, taken_over) = SharedStore::open(state(), limits.clone());
                assert!(taken_over);
                store = next;
                let before = snapshot(page);
                let taken_over = Daemon::start(store.clone());
                let after = snapshot(page);
                assert!(guests_part(&before, TAKES_OVER) == guests_part(&after, TAKES_OVER));
                // The ring of a guest that behaves is where the daemon before left it.
                assert!(taken_over.is_ok() || talk.is_none());
                daemon = taken_over.ok();
                continue;
            }
            3 => {
                now += Duration::from_millis(length as u64);
                store.with(|store| store.advance(now));
            }
            // It does not: moves an index a little or anywhere, asks for a new start, writes anywhere.
            4 => {
                talk = None;
                let word = [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD][length % 4];
                let step = script.arbitrary::<i8>().unwrap_or_default();
                page.store(word, page.load(word).wrapping_add_signed(i32::from(step) * 16));
            }
            5 => {
                talk = None;
                let word = [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD][length % 4];
                page.store(word, script.arbitrary().unwrap_or_default());
            }
            6 => {
                talk = None;
                page.store(CONNECTION, XENSTORE_RECONNECT);
            }
            _ => {
                talk = None;
                let at = usize::from(script.arbitrary::<u16>().unwrap_or_default()) % PAGE_SIZE;
                let bytes = script.bytes(length.min(script.len()).min(PAGE_SIZE - at));
                page.write(at, bytes.expect("there are as many"));
            }
        }

        let before = snapshot(page);
        let reconnects = page.load(CONNECTION) == XENSTORE_RECONNECT;
        let moved = serving.connection.pump(&serving.ring);
        assert!(serving.output() < OUTPUT + 2 * (XsdSockmsg::SIZE + XENSTORE_PAYLOAD_MAX));
        let good = moved.is_ok();
        check_page(&before, &snapshot(page), reconnects, moved);
        if !good {
            daemon = None;
        }
    }

    store.with(|store| {
        let other = store.connect(OTHER);
        // READ of "data".
        let request = [[2_u32, 1, 0, 5].map(u32::to_ne_bytes).concat(), b"data\0".to_vec()].concat();
        store.receive(other, &request).expect("well-formed");
        assert_eq!(store.output(other)[XsdSockmsg::SIZE..], *b"its own");
        store.disconnect(other);
    });
    drop(daemon);
    // The connection of one that was refused at a takeover is ended as the driver does it.
    store.end_rings(|_| false);
    store.with(|store| store.release(GUEST));
    store.with(|store| assert_eq!((store.nodes_owned_by(GUEST), store.watch_count()), (0, 0)));
    if kept {
        std::fs::remove_file(state()).expect("the state is there");
    }
});
