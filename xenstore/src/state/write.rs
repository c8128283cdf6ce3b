//! A store's state, written.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::format::{Body, Kind, Writer};
use crate::connection::{ConnKind, Connection};
use crate::domain::DriverRequest;
use crate::path::Path;
use crate::perms::Perms;
use crate::quota::Limits;
use crate::store::Store;
use crate::transaction::{Kind as ChangeKind, Transaction};
use crate::tree::{Node, Tree};
use crate::watch::{Owner, Watch};

impl Store {
    /// The whole state, for [`import`](Store::import). The same state always gives the same bytes.
    pub fn export(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.record(Kind::Globals, |body| self.write_globals(body));
        for (domid, domain) in &self.domains.known {
            out.record(Kind::Domain, |body| {
                body.u16(domid.0);
                body.flag(domain.introduced);
                body.flag(domain.stopped);
                body.option(domain.target, |body, target| body.u16(target.0));
                body.u32(domain.features);
                body.option(domain.limits.as_deref(), limits);
            });
        }
        out.record(Kind::Pace, |body| self.write_paces(body));
        let mut pool = Pool { out: &mut out, numbers: HashMap::default() };
        let root = pool.tree(&self.tree);
        let mut roots = Vec::new();
        for transaction in self.connections.by_id.values().flat_map(|c| c.transactions.values()).flatten() {
            roots.push((pool.tree(&transaction.base), pool.tree(&transaction.view)));
        }
        out.record(Kind::Tree, |body| body.u32(root));
        for (id, connection) in self.connections.by_id.iter() {
            out.record(Kind::Connection, |body| {
                body.u64(id);
                write_connection(body, connection);
            });
        }
        let mut roots = roots.into_iter();
        for (conn, connection) in self.connections.by_id.iter() {
            for (id, transaction) in &connection.transactions {
                out.record(Kind::Transaction, |body| {
                    body.u64(conn);
                    body.u32(*id);
                    body.option(transaction.as_ref().zip(roots.next_if_some(transaction)), write_transaction);
                });
            }
        }
        for watch in self.watches.all() {
            out.record(Kind::Watch, |body| write_watch(body, watch));
        }
        for (subscription, watched) in &self.subscriptions {
            out.record(Kind::Subscription, |body| {
                body.u64(subscription.0);
                path(body, watched);
            });
        }
        for event in &self.events {
            out.record(Kind::Event, |body| {
                body.u64(event.subscription.0);
                body.bytes(event.path.as_bytes());
            });
        }
        for request in &self.requests {
            out.record(Kind::Request, |body| write_request(body, request));
        }
        out.finish()
    }

    fn write_globals(&self, body: &mut Body<'_>) {
        limits(body, &self.limits);
        body.u64(self.changes);
        body.u64(self.connections.last);
        body.u64(self.last_subscription);
        perms(body, &self.domains.introduce_perms);
        perms(body, &self.domains.release_perms);
        body.option(self.oldest_transaction, Body::time);
        body.list(self.connections.announced.iter(), |body, id| body.u64(id.0));
    }

    fn write_paces(&self, body: &mut Body<'_>) {
        body.time(self.paces.now);
        body.list(self.paces.guests.iter(), |body, (domid, pace)| {
            body.u16(domid.0);
            body.time(pace.even);
            body.flag(pace.resting);
            body.u32(pace.debt);
        });
        body.list(self.paces.paused.iter(), |body, domid| body.u16(domid.0));
        body.list(self.paces.indebted.iter(), |body, domid| body.u16(domid.0));
        body.option(self.paces.next_point, Body::time);
    }
}

/// Trees' roots, taken in step with the transactions that are still open.
trait NextIfSome<T> {
    fn next_if_some<U>(&mut self, of: &Option<U>) -> Option<T>;
}

impl<T, I: Iterator<Item = T>> NextIfSome<T> for I {
    fn next_if_some<U>(&mut self, of: &Option<U>) -> Option<T> {
        of.as_ref().and_then(|_| self.next())
    }
}

/// The nodes of all trees, each written once, children first.
struct Pool<'w> {
    out: &'w mut Writer,
    numbers: HashMap<*const Node, u32, BuildHasherDefault<AddressHasher>>,
}

/// Hashes an address, which nobody outside chooses: a multiplication will do (Fibonacci hashing).
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write_usize(&mut self, address: usize) {
        let product = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(self.0 as usize ^ usize::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Pool<'_> {
    /// Writes what is not written yet; returns the root's number.
    fn tree(&mut self, tree: &Tree) -> u32 {
        // In a loop, with a node twice on the stack: a path can have 1500 names.
        let mut pending = vec![(tree.root(), false)];
        while let Some((node, children_done)) = pending.pop() {
            if self.numbers.contains_key(&Arc::as_ptr(node)) {
                continue;
            }
            if children_done {
                self.node(node);
            } else {
                pending.push((node, true));
                pending.extend(node.children.iter().map(|child| (child, false)));
            }
        }
        self.numbers[&Arc::as_ptr(tree.root())]
    }

    fn node(&mut self, node: &Arc<Node>) {
        let numbers = &self.numbers;
        self.out.record(Kind::Node, |body| {
            body.bytes(node.name().as_bytes());
            body.bytes(&node.value);
            perms(body, &node.perms);
            body.u64(node.changed);
            body.u64(node.listed);
            body.u32(node.children.len() as u32);
            node.children.iter().for_each(|child| body.u32(numbers[&Arc::as_ptr(child)]));
        });
        self.numbers.insert(Arc::as_ptr(node), self.numbers.len() as u32);
    }
}

fn write_connection(body: &mut Body<'_>, connection: &Connection) {
    body.u16(connection.domid.0);
    body.flag(connection.kind == ConnKind::Socket);
    body.u64(connection.received);
    body.bytes(connection.inbox.pending());
    body.bytes(connection.outbox.pending());
    body.u64(connection.outbox.consumed);
    body.list(connection.outbox.reply_ends(), Body::u64);
    body.u32(connection.next_transaction);
    body.flag(connection.owes_events);
    body.flag(connection.announced);
    body.flag(connection.resumed);
    body.list(connection.watches().iter(), |body, (watched, token)| {
        path(body, watched);
        body.bytes(token);
    });
}

fn write_transaction(body: &mut Body<'_>, (transaction, (base, view)): (&Transaction, (u32, u32))) {
    body.u32(base);
    body.u32(view);
    body.time(transaction.started);
    body.size(transaction.bytes);
    body.list(transaction.marks(), |body, (marked, mark)| {
        path(body, marked);
        [mark.same_parent, mark.content, mark.children, mark.subtree]
            .into_iter()
            .for_each(|relied| body.flag(relied));
    });
    let changes: Vec<_> = transaction.changes().collect();
    body.list(changes.into_iter(), |body, (changed, kind)| {
        path(body, changed);
        body.u8(match kind {
            ChangeKind::Parent => 0,
            ChangeKind::Content => 1,
            ChangeKind::Subtree => 2,
        });
    });
    body.list(transaction.order.iter(), path);
}

fn write_watch(body: &mut Body<'_>, watch: &Watch) {
    match watch.owner {
        Owner::Conn(conn) => {
            body.flag(false);
            body.u64(conn.0);
        }
        Owner::Local(subscription) => {
            body.flag(true);
            body.u64(subscription.0);
        }
    }
    path(body, &watch.path);
    body.bytes(&watch.token);
    body.size(watch.home);
    body.option(watch.depth, Body::u32);
    body.option(watch.last, Body::u64);
    body.flag(watch.owed);
}

fn write_request(body: &mut Body<'_>, request: &DriverRequest) {
    match request {
        DriverRequest::Introduce { domid, gfn, port } => {
            body.u8(0);
            body.u16(domid.0);
            body.u64(gfn.cast_unsigned());
            body.u32(port.0);
        }
        DriverRequest::Release { domid } => {
            body.u8(1);
            body.u16(domid.0);
        }
        DriverRequest::Log { on } => {
            body.u8(2);
            body.flag(*on);
        }
        DriverRequest::Print { text } => {
            body.u8(3);
            body.bytes(text.as_bytes());
        }
    }
}

fn path(body: &mut Body<'_>, path: &Path) {
    body.bytes(path.as_str().as_bytes());
}

pub(super) fn perms(body: &mut Body<'_>, perms: &Perms) {
    body.list(perms.entries().iter(), |body, perm| {
        body.u8(perm.access.letter() as u8);
        body.u16(perm.domid.0);
    });
}

pub(super) fn limits(body: &mut Body<'_>, limits: &Limits) {
    // Taken apart, so that a new field cannot be forgotten.
    let Limits {
        nodes,
        node_size,
        permissions,
        path,
        watches,
        transactions,
        transaction_nodes,
        outstanding,
        memory,
        output,
        socket_output,
        writes_per_second,
        write_burst,
        conflict_burst,
        conflict_interval,
        transaction_age,
    } = limits;
    let sizes = [
        nodes,
        node_size,
        permissions,
        path,
        watches,
        transactions,
        transaction_nodes,
        outstanding,
        memory,
        output,
        socket_output,
    ];
    sizes.into_iter().for_each(|size| body.size(*size));
    [writes_per_second, write_burst, conflict_burst].into_iter().for_each(|value| body.u32(*value));
    body.time(*conflict_interval);
    body.time(*transaction_age);
}
