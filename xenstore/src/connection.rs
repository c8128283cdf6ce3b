//! Connections: what has come in, what waits to go out, and what a client holds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg, XsdSockmsgType};

use crate::path::Path;
use crate::quota::Limits;
use crate::table::Table;
use crate::transaction::Transaction;
use crate::watch::Watch;
use crate::wire::Inbox;

/// A client of the store. Never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub(crate) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a client is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnKind {
    /// Through the ring page of a domain.
    Ring,
    /// Through a socket: a tool of the control domain, with its privilege.
    Socket,
}

/// Bytes on their way to a client.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// Where the first byte stands that is not consumed yet.
    start: usize,
    /// Bytes consumed in the connection's life, up to `start`.
    pub consumed: u64,
    /// Where in the stream each reply ends that is not consumed yet.
    replies: VecDeque<u64>,
}

impl Outbox {
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len());
        self.start += n;
        self.consumed += n as u64;
        while self.replies.front().is_some_and(|end| *end <= self.consumed) {
            self.replies.pop_front();
        }
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Appends a message and returns where in the stream it starts. The payload must not be longer
    /// than the protocol allows.
    pub fn push(&mut self, kind: XsdSockmsgType, req_id: u32, tx_id: u32, parts: &[&[u8]]) -> u64 {
        let at = self.consumed + self.len() as u64;
        let len = parts.iter().map(|part| part.len() as u32).sum();
        let header = XsdSockmsg { kind: kind as u32, req_id, tx_id, len };
        self.bytes.extend_from_slice(&header.to_bytes());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        if kind != XsdSockmsgType::WatchEvent {
            self.replies.push_back(self.consumed + self.len() as u64);
        }
        at
    }

    /// Replies of which at least a part waits.
    pub fn outstanding(&self) -> usize {
        self.replies.len()
    }

    /// Where in the stream each reply ends that is not consumed yet.
    pub fn reply_ends(&self) -> impl ExactSizeIterator<Item = u64> {
        self.replies.iter().copied()
    }

    /// As it was, out of what [`pending`](Outbox::pending), `consumed` and
    /// [`reply_ends`](Outbox::reply_ends) have told.
    pub fn restored(bytes: Vec<u8>, consumed: u64, replies: VecDeque<u64>) -> Outbox {
        Outbox { bytes, start: 0, consumed, replies }
    }

    /// Whether the message that starts at `at` is not yet on its way, and has this payload.
    fn still_has(&self, at: u64, parts: &[&[u8]]) -> bool {
        let Some(offset) = at.checked_sub(self.consumed) else {
            return false;
        };
        let mut rest = &self.pending()[(offset as usize).min(self.len())..];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        match rest.first_chunk().map(XsdSockmsg::from_bytes) {
            Some(header) if header.len as usize == len => rest = &rest[XsdSockmsg::SIZE..],
            _ => return false,
        }
        parts.iter().all(|part| match rest.split_at_checked(part.len()) {
            Some((head, tail)) => {
                rest = tail;
                head == *part
            }
            None => false,
        })
    }
}

/// One client.
pub(crate) struct Connection {
    pub domid: DomId,
    pub kind: ConnKind,
    pub inbox: Inbox,
    /// Bytes that have come in, in all.
    pub received: u64,
    pub outbox: Outbox,
    /// Open ones; `None` is one that was given up for its age, which its client does not know yet.
    pub transactions: BTreeMap<u32, Option<Transaction>>,
    pub next_transaction: u32,
    watches: Vec<(Path, Box<[u8]>)>,
    watch_bytes: usize,
    /// How often the watches have changed.
    pub watch_changes: u64,
    /// Some watch is owed an event.
    pub owes_events: bool,
    /// It stands in the list of those that have output.
    pub announced: bool,
    /// It was not listened to, and is again; that has not been told.
    pub resumed: bool,
}

impl Connection {
    pub fn new(domid: DomId, kind: ConnKind) -> Connection {
        Connection {
            domid,
            kind,
            inbox: Inbox::default(),
            received: 0,
            outbox: Outbox::default(),
            transactions: BTreeMap::new(),
            next_transaction: 1,
            watches: Vec::new(),
            watch_bytes: 0,
            watch_changes: 0,
            owes_events: false,
            announced: false,
            resumed: false,
        }
    }

    pub fn add_transaction(&mut self, transaction: Transaction) -> u32 {
        loop {
            let id = self.next_transaction;
            self.next_transaction = id.wrapping_add(1);
            if id != 0 && !self.transactions.contains_key(&id) {
                self.transactions.insert(id, Some(transaction));
                return id;
            }
        }
    }

    /// Path and token of each of its watches.
    pub fn watches(&self) -> &[(Path, Box<[u8]>)] {
        &self.watches
    }

    pub fn add_watch(&mut self, path: Path, token: &[u8]) {
        self.watch_bytes += watch_size(&path, token);
        self.watch_changes += 1;
        self.watches.push((path, token.into()));
    }

    pub fn remove_watch(&mut self, path: &Path, token: &[u8]) {
        let found = |(known, its): &(Path, Box<[u8]>)| known == path && **its == *token;
        if let Some(at) = self.watches.iter().position(found) {
            self.watches.swap_remove(at);
            self.watch_bytes -= watch_size(path, token);
            self.watch_changes += 1;
        }
    }

    pub fn take_watches(&mut self) -> Vec<(Path, Box<[u8]>)> {
        self.watch_bytes = 0;
        self.watch_changes += 1;
        std::mem::take(&mut self.watches)
    }

    /// Bytes held for this client besides the nodes that it owns.
    pub fn held(&self) -> usize {
        let transactions = self.transactions.values().flatten();
        transactions.fold(self.watch_bytes, |sum, transaction| sum.saturating_add(transaction.bytes))
    }
}

/// Bytes that a watch takes, roughly.
pub(crate) fn watch_size(path: &Path, token: &[u8]) -> usize {
    64 + path.len() + 2 * token.len()
}

/// All clients.
#[derive(Default)]
pub(crate) struct Connections {
    pub by_id: Table<Connection>,
    pub last: u64,
    pub announced: Vec<ConnId>,
}

impl Connections {
    pub fn add(&mut self, domid: DomId, kind: ConnKind) -> ConnId {
        self.last += 1;
        self.by_id.insert(self.last, Connection::new(domid, kind));
        ConnId(self.last)
    }

    pub fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.by_id.remove(id.0)
    }

    pub fn get(&self, id: ConnId) -> Option<&Connection> {
        self.by_id.get(id.0)
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.by_id.get_mut(id.0)
    }

    /// Queues a reply.
    pub fn reply(&mut self, id: ConnId, kind: XsdSockmsgType, to: &XsdSockmsg, parts: &[&[u8]]) {
        if let Some(connection) = self.by_id.get_mut(id.0) {
            connection.outbox.push(kind, to.req_id, to.tx_id, parts);
            announce(&mut self.announced, id, connection);
        }
    }

    /// Queues a watch event, unless the very same one is still waiting. A guest or a tool that does not
    /// read gets, from a number of waiting bytes on, one event per watch for all that it missed.
    pub fn event(&mut self, id: ConnId, watch: &mut Watch, path: &str, limits: &Limits) {
        let Some(connection) = self.by_id.get_mut(id.0) else {
            return;
        };
        let limit = match connection.kind {
            ConnKind::Socket => limits.socket_output,
            // The control domain's kernel always reads, and learns of devices by the events' paths.
            ConnKind::Ring if connection.domid == DomId::DOM0 => usize::MAX,
            ConnKind::Ring => limits.output,
        };
        if connection.outbox.len() >= limit {
            watch.owed = true;
            connection.owes_events = true;
            return;
        }
        let mut shown = watch.shown(path);
        if shown.len() + watch.token.len() + 2 > XENSTORE_PAYLOAD_MAX {
            // The watched path itself fits, as the request has, and is as true.
            shown = watch.shown(watch.path.as_str());
        }
        let parts: [&[u8]; 4] = [shown.as_bytes(), b"\0", &watch.token, b"\0"];
        // Special events are told one by one: each may be about another domain.
        let repeated = |at| !watch.path.is_special() && connection.outbox.still_has(at, &parts);
        if watch.last.is_some_and(repeated) {
            return;
        }
        watch.last = Some(connection.outbox.push(XsdSockmsgType::WatchEvent, 0, 0, &parts));
        announce(&mut self.announced, id, connection);
    }

    /// A client that was not listened to is again.
    pub fn resume(&mut self, id: ConnId) {
        if let Some(connection) = self.by_id.get_mut(id.0) {
            connection.resumed = true;
            announce(&mut self.announced, id, connection);
        }
    }

    /// The clients that have got output since the last call, or are listened to again.
    pub fn take_announced(&mut self) -> Vec<ConnId> {
        let mut announced = std::mem::take(&mut self.announced);
        announced.retain(|id| match self.by_id.get_mut(id.0) {
            Some(connection) => {
                connection.announced = false;
                std::mem::take(&mut connection.resumed) || connection.outbox.len() > 0
            }
            None => false,
        });
        announced
    }
}

fn announce(announced: &mut Vec<ConnId>, id: ConnId, connection: &mut Connection) {
    if !connection.announced {
        connection.announced = true;
        announced.push(id);
    }
}
