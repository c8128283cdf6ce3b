//! The store as its driver sees it: connections, bytes in, bytes out.

use std::collections::BTreeMap;
use std::time::Duration;

use xen_sys::DomId;

use crate::connection::{ConnId, ConnKind, Connection, Connections};
use crate::domain::{Domains, DriverRequest};
use crate::error::{Broken, Error};
use crate::event::Event;
use crate::pace::Paces;
use crate::path::Path;
use crate::quota::{Limits, Named};
use crate::state::Call;
use crate::tree::{Stamp, Tree, stamp};
use crate::watch::{Owner, Subscription, Watches};

/// Bytes of unhandled requests that a connection may pile up, if it is fed although it does not want
/// input: many times what a ring holds.
const OVERRUN: usize = 64 << 10;

/// A XenStore server. All of its state is in here; nothing happens but in calls.
///
/// After any call that may change something, a driver looks at
/// [`connections_with_output`](Store::connections_with_output), [`take_events`](Store::take_events) and
/// [`take_requests`](Store::take_requests).
pub struct Store {
    pub(crate) limits: Limits,
    pub(crate) tree: Tree,
    /// Changes made so far; no two have the same number.
    pub(crate) changes: u64,
    pub(crate) connections: Connections,
    pub(crate) watches: Watches,
    pub(crate) domains: Domains,
    pub(crate) paces: Paces,
    /// No transaction is older than this; `None` if there is none.
    pub(crate) oldest_transaction: Option<Duration>,
    pub(crate) subscriptions: BTreeMap<Subscription, Path>,
    pub(crate) last_subscription: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) requests: Vec<DriverRequest>,
    /// Calls since the last [`take_journal`](Store::take_journal), if they are written down.
    pub(crate) journal: Option<Vec<u8>>,
}

/// How far a client's two byte streams have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of requests that the store has taken.
    pub received: u64,
    /// Bytes of replies and events that were [consumed](Store::consume_output).
    pub sent: u64,
}

/// A client's watch, as it asked for it; what a driver keeps in order to restore it after a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchSpec {
    /// The watched path, relative if the client said it so.
    pub path: String,
    /// The client's own mark for it.
    pub token: Vec<u8>,
    /// Levels below the path that are of interest; `None` for all.
    pub depth: Option<u32>,
}

impl Store {
    /// An empty store: a root that only the control domain may touch.
    pub fn new(limits: Limits) -> Store {
        Store {
            limits,
            tree: Tree::new(),
            changes: 0,
            connections: Connections::default(),
            watches: Watches::default(),
            domains: Domains::new(),
            paces: Paces::default(),
            oldest_transaction: None,
            subscriptions: BTreeMap::new(),
            last_subscription: 0,
            events: Vec::new(),
            requests: Vec::new(),
            journal: None,
        }
    }

    /// A new client, through the ring of `domid` and with its rights.
    pub fn connect(&mut self, domid: DomId) -> ConnId {
        self.note(&Call::Connect(domid));
        self.connections.add(domid, ConnKind::Ring)
    }

    /// As [`connect`](Store::connect), through a ring that was used before: its two byte streams are counted on
    /// from there, so that [`progress`](Store::progress) can be compared with the ring's indices.
    pub fn connect_from(&mut self, domid: DomId, progress: Progress) -> ConnId {
        self.note(&Call::ConnectFrom(domid, progress));
        let conn = self.connections.add(domid, ConnKind::Ring);
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.received = progress.received;
            connection.outbox.consumed = progress.sent;
        }
        conn
    }

    /// A new client that is a tool of the control domain, through a socket: it may do everything, and
    /// what a guest is bounded in does not bound it, but for events that it does not read
    /// ([`Limits::socket_output`]).
    pub fn connect_socket(&mut self) -> ConnId {
        self.note(&Call::ConnectSocket);
        self.connections.add(DomId::DOM0, ConnKind::Socket)
    }

    /// Forgets a client with its watches, transactions, and whatever waits in either direction.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.note(&Call::Disconnect(conn));
        self.forget(conn);
    }

    fn forget(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(conn) {
            for (path, token) in connection.watches() {
                self.watches.remove(path, Owner::Conn(conn), token);
            }
        }
    }

    /// Starts a client anew as a ring's reconnection demands (`docs/misc/xenstore-ring.txt`): no
    /// watches, no transactions, nothing half read or not yet sent.
    pub fn reset(&mut self, conn: ConnId) {
        self.note(&Call::Reset(conn));
        if let Some(connection) = self.connections.get(conn) {
            let mut fresh = Connection::new(connection.domid, connection.kind);
            fresh.announced = connection.announced;
            self.forget(conn);
            self.connections.by_id.insert(conn.0, fresh);
        }
    }

    /// How many bytes a client has sent, and how many of its output were taken, since it was connected or
    /// reset. After a restart, a driver compares this with the ring's indices, and makes good what it
    /// had no time for: what was received is taken out of the ring, what the client has is consumed.
    pub fn progress(&self, conn: ConnId) -> Option<Progress> {
        let connection = self.connections.get(conn)?;
        Some(Progress { received: connection.received, sent: connection.outbox.consumed })
    }

    /// The limits that hold for guests that have none of their own.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Changes these limits. Whoever has more already keeps it, and gets no more.
    pub fn set_limits(&mut self, limits: Limits) {
        self.note(&Call::SetLimits(&limits));
        self.limits = limits;
    }

    /// All clients: who they are, and how they are connected.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, DomId, ConnKind)> {
        let all = self.connections.by_id.iter();
        all.map(|(id, connection)| (ConnId(id), connection.domid, connection.kind))
    }

    /// Changes one of these limits, as `xenstore-control quota set` does. Returns whether there is one of that name
    /// ([`Limits::quota_names`]).
    pub fn change_quota(&mut self, name: &str, value: usize) -> bool {
        let Some(named) = Named::find(name.as_bytes()) else { return false };
        let mut limits = self.limits.clone();
        named.set(&mut limits, value);
        if limits != self.limits {
            self.set_limits(limits);
        }
        true
    }

    /// What a domain's ring page says that the server can do, `XENSTORE_SERVER_FEATURE_…`.
    pub fn features(&self, domid: DomId) -> u32 {
        self.domains.features(domid)
    }

    /// Tells the time, since any moment that stays the same; it does not go back. Guests that had
    /// gone too fast are listened to again ([`connections_with_output`](Store::connections_with_output)
    /// names them), and transactions that are too old are given up. Best called before every
    /// [`receive`](Store::receive), and at [`deadline`](Store::deadline).
    pub fn advance(&mut self, now: Duration) {
        if now > self.paces.now {
            self.note(&Call::Advance(now));
        }
        let resumed = self.paces.advance(now, &self.limits);
        if !resumed.is_empty() {
            let of_them = |(id, domid, _): (ConnId, DomId, _)| resumed.contains(&domid).then_some(id);
            let resumed: Vec<ConnId> = self.connections().filter_map(of_them).collect();
            for conn in resumed {
                self.connections.resume(conn);
                self.work_off(conn);
            }
        }
        let age = self.limits.transaction_age;
        if self.oldest_transaction.is_some_and(|oldest| oldest + age <= self.paces.now) {
            self.give_up_transactions();
        }
    }

    /// When to call [`advance`](Store::advance) next, although nothing else happens; `None` if there is
    /// no need.
    pub fn deadline(&self) -> Option<Duration> {
        let given_up = self.oldest_transaction.map(|oldest| oldest + self.limits.transaction_age);
        self.paces.next(&self.limits).into_iter().chain(given_up).min()
    }

    fn give_up_transactions(&mut self) {
        let (now, age) = (self.paces.now, self.limits.transaction_age);
        let mut oldest: Option<Duration> = None;
        for connection in self.connections.by_id.values_mut() {
            for transaction in connection.transactions.values_mut() {
                match transaction.as_ref().map(|open| open.started) {
                    Some(started) if started + age <= now => *transaction = None,
                    Some(started) => oldest = Some(oldest.map_or(started, |other| other.min(started))),
                    None => {}
                }
            }
        }
        self.oldest_transaction = oldest;
    }

    /// Takes bytes as they came, in whatever pieces, and handles the requests that are now whole, in
    /// order. Requests beyond the output bound wait until output has been consumed.
    ///
    /// # Errors
    /// The stream cannot be followed any longer: [`disconnect`](Store::disconnect) it.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Broken> {
        self.note(&Call::Receive(conn, bytes));
        let connection = self.connections.get_mut(conn).ok_or(Broken::NoConnection)?;
        connection.received += bytes.len() as u64;
        connection.inbox.push(bytes)?;
        self.work_off(conn);
        match self.connections.get(conn) {
            Some(connection) if connection.inbox.len() > OVERRUN => {
                Err(Broken::Overrun(connection.inbox.len()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the connection may be fed. If not, it has to take output first, and until then its
    /// requests are best left where they are.
    pub fn wants_input(&self, conn: ConnId) -> bool {
        let idle = self.connections.get(conn).is_some_and(|connection| !connection.inbox.has_message());
        idle && self.has_room(conn)
    }

    /// All bytes that wait to be carried to the client.
    pub fn output(&self, conn: ConnId) -> &[u8] {
        self.connections.get(conn).map_or(&[], |connection| connection.outbox.pending())
    }

    /// Tells that the first `n` bytes of [`output`](Store::output) have been carried away. This may
    /// make room for what waited, so that there is new output.
    pub fn consume_output(&mut self, conn: ConnId, n: usize) {
        self.note(&Call::ConsumeOutput(conn, n));
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.outbox.consume(n);
            if connection.owes_events {
                self.send_owed(conn);
            }
            self.work_off(conn);
        }
    }

    /// The connections for which output has been queued since the last call, and still waits; and those
    /// that [want input](Store::wants_input) again, after a pause for going too fast.
    pub fn connections_with_output(&mut self) -> Vec<ConnId> {
        self.connections.take_announced()
    }

    /// What clients of the control domain have asked of the toolstack since the last call.
    pub fn take_requests(&mut self) -> Vec<DriverRequest> {
        if !self.requests.is_empty() {
            self.note(&Call::TakeRequests);
        }
        std::mem::take(&mut self.requests)
    }

    /// The watches that a client has set.
    pub fn watches_of(&self, conn: ConnId) -> Vec<WatchSpec> {
        let Some(connection) = self.connections.get(conn) else {
            return Vec::new();
        };
        let found = connection.watches().iter().filter_map(|(path, token)| {
            let watch = self.watches.get(path, Owner::Conn(conn), token)?;
            Some(WatchSpec {
                path: watch.shown(path.as_str()).to_owned(),
                token: token.to_vec(),
                depth: watch.depth,
            })
        });
        found.collect()
    }

    /// A number that is another one whenever [`watches_of`](Store::watches_of) may be. It costs nothing.
    pub fn watch_changes(&self, conn: ConnId) -> u64 {
        self.connections.get(conn).map_or(0, |connection| connection.watch_changes)
    }

    /// Sets a watch for a client that had set it with an earlier process, and does not know that there
    /// is a new one. Fires it once, for what may have changed in between. No quota applies.
    ///
    /// # Errors
    /// The path is malformed, or the watch is set already.
    pub fn restore_watch(&mut self, conn: ConnId, spec: &WatchSpec) -> Result<(), Error> {
        self.note(&Call::RestoreWatch(conn, spec));
        let domid = self.connections.get(conn).ok_or(Error::NoWatch)?.domid;
        let named = Path::to_watch(spec.path.as_bytes(), domid)
            .map_err(|reason| Error::path(spec.path.as_bytes(), reason))?;
        self.set_watch(conn, &named, &spec.token, spec.depth)?;
        self.fire_first(conn, &named.path, &spec.token);
        Ok(())
    }

    /// Nodes in the tree, the root included.
    pub fn node_count(&self) -> usize {
        self.tree.node_count()
    }

    /// Nodes that a domain owns.
    pub fn nodes_owned_by(&self, domid: DomId) -> usize {
        self.tree.account(domid).nodes
    }

    /// Watches of all clients and of the process itself.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// Handles what waits, as far as there is room for replies.
    fn work_off(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let mut inbox = std::mem::take(&mut connection.inbox);
        while self.has_room(conn)
            && let Some((header, payload)) = inbox.take()
        {
            self.handle(conn, header, payload);
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.inbox = inbox;
        }
    }

    /// The stamp of the next change, made by `domid`.
    pub(crate) fn next_stamp(&mut self, domid: DomId) -> Stamp {
        self.changes += 1;
        stamp(self.changes, domid)
    }

    /// Whether a client's requests may be handled now.
    pub(crate) fn has_room(&self, conn: ConnId) -> bool {
        let Some(connection) = self.connections.get(conn) else {
            return false;
        };
        let guest = connection.domid != DomId::DOM0;
        let outstanding = self.domains.limits(connection.domid, &self.limits).outstanding;
        let slow =
            guest && (connection.outbox.outstanding() >= outstanding || self.paces.paused(connection.domid));
        !slow && connection.outbox.len() < self.limits.output
    }
}
