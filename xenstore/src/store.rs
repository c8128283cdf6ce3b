//! The store as its driver sees it: connections, bytes in, bytes out.

use std::collections::BTreeMap;

use xen_sys::DomId;

use crate::connection::{ConnId, Connections};
use crate::domain::{Domains, DriverRequest};
use crate::error::{Broken, Error};
use crate::event::Event;
use crate::path::Path;
use crate::quota::Limits;
use crate::tree::{Stamp, Tree};
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
    pub(crate) stamp: Stamp,
    pub(crate) connections: Connections,
    pub(crate) watches: Watches,
    pub(crate) domains: Domains,
    pub(crate) subscriptions: BTreeMap<Subscription, Path>,
    pub(crate) last_subscription: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) requests: Vec<DriverRequest>,
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
            stamp: 0,
            connections: Connections::default(),
            watches: Watches::default(),
            domains: Domains::new(),
            subscriptions: BTreeMap::new(),
            last_subscription: 0,
            events: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// A new client, a ring or a socket, with the rights of `domid`.
    pub fn connect(&mut self, domid: DomId) -> ConnId {
        self.connections.add(domid)
    }

    /// Forgets a client with its watches, transactions, and whatever waits in either direction.
    pub fn disconnect(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(conn) {
            for (path, token) in connection.watches() {
                self.watches.remove(path, Owner::Conn(conn), token);
            }
        }
    }

    /// Takes bytes as they came, in whatever pieces, and handles the requests that are now whole, in
    /// order. Requests beyond the output bound wait until output has been consumed.
    ///
    /// # Errors
    /// The stream cannot be followed any longer: [`disconnect`](Store::disconnect) it.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Broken> {
        let connection = self.connections.get_mut(conn).ok_or(Broken::NoConnection)?;
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
        self.connections.get(conn).is_some_and(|connection| {
            connection.outbox.len() < self.limits.output && !connection.inbox.has_message()
        })
    }

    /// All bytes that wait to be carried to the client.
    pub fn output(&self, conn: ConnId) -> &[u8] {
        self.connections.get(conn).map_or(&[], |connection| connection.outbox.pending())
    }

    /// Tells that the first `n` bytes of [`output`](Store::output) have been carried away. This may
    /// make room for what waited, so that there is new output.
    pub fn consume_output(&mut self, conn: ConnId, n: usize) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.outbox.consume(n);
            if connection.owes_events {
                self.send_owed(conn);
            }
            self.work_off(conn);
        }
    }

    /// The connections for which output has been queued since the last call, and still waits.
    pub fn connections_with_output(&mut self) -> Vec<ConnId> {
        self.connections.take_announced()
    }

    /// What clients of the control domain have asked of the toolstack since the last call.
    pub fn take_requests(&mut self) -> Vec<DriverRequest> {
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

    /// Sets a watch for a client that had set it with an earlier process, and does not know that there
    /// is a new one. Fires it once, for what may have changed in between. No quota applies.
    ///
    /// # Errors
    /// The path is malformed, or the watch is set already.
    pub fn restore_watch(&mut self, conn: ConnId, spec: &WatchSpec) -> Result<(), Error> {
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

    pub(crate) fn has_room(&self, conn: ConnId) -> bool {
        self.connections.get(conn).is_some_and(|c| c.outbox.len() < self.limits.output)
    }
}
