//! XenStore, connected: the store that everything in the daemon shares, the rings of dom0's kernel and of
//! every guest, and the socket for tools.
//!
//! The store itself (crate `xenstore`) is synchronous and does no I/O. It stands behind one lock that is
//! never held across an await or a hypercall. After each change, the connections that got something to
//! send are woken.

mod kernel_watches;
mod ring;
pub mod socket;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_ERROR_PROTO, XENSTORE_ERROR_RINGIDX, XENSTORE_RING_SIZE};
use xenstore::{Change, ConnId, DriverRequest, Error, Limits, Store, Subscription};

use crate::xen::{Port, SharedPages};
pub use kernel_watches::KernelWatches;
use ring::Ring;

/// The store, shared.
#[derive(Clone)]
pub struct SharedStore(Arc<Mutex<State>>);

struct State {
    store: Store,
    /// What the store's time counts from.
    started: Instant,
    connections: HashMap<ConnId, Arc<Notify>>,
    keys: HashMap<Subscription, Arc<Notify>>,
}

/// A connection of this process to the store; dropping it disconnects.
#[derive(Debug)]
struct Connection {
    id: ConnId,
    output: Arc<Notify>,
    store: SharedStore,
}

impl SharedStore {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            store: Store::new(limits),
            started: Instant::now(),
            connections: HashMap::new(),
            keys: HashMap::new(),
        };
        SharedStore(Arc::new(Mutex::new(state)))
    }

    /// Makes changes with the control domain's privilege, all or none; watches fire once, after them.
    pub fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.with(|store| store.commit(changes))
    }

    /// Does something with the store, then wakes whoever got something to send.
    pub fn with<R>(&self, act: impl FnOnce(&mut Store) -> R) -> R {
        let mut state = self.state();
        let now = state.started.elapsed();
        state.store.advance(now);
        let result = act(&mut state.store);
        for id in state.store.connections_with_output() {
            if let Some(waker) = state.connections.get(&id) {
                waker.notify_one();
            }
        }
        for request in state.store.take_requests() {
            match request {
                DriverRequest::Print { text } => tracing::info!(text, "XenStore"),
                // Domains come from the builder alone; a tool in dom0 that brings its own is told so here.
                _ => tracing::warn!(?request, "XenStore: a domain made by somebody else is not served"),
            }
        }
        for event in state.store.take_events() {
            if let Some(waker) = state.keys.get(&event.subscription) {
                waker.notify_one();
            }
        }
        result
    }

    /// Watches a key, for this process.
    ///
    /// # Errors
    /// The path is malformed.
    pub fn watch(&self, path: String) -> Result<KeyWatch, Error> {
        let changed = Arc::new(Notify::new());
        let mut state = self.state();
        let subscription = state.store.watch(&path)?;
        state.keys.insert(subscription, changed.clone());
        Ok(KeyWatch { path, subscription, changed, store: self.clone() })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.state().connections.len()
    }

    /// How long from now a connection that is not listened to has to be looked at again.
    fn resumes(&self, id: ConnId) -> Option<Duration> {
        let state = self.state();
        let deadline = state.store.deadline().filter(|_| !state.store.wants_input(id))?;
        Some(deadline.saturating_sub(state.started.elapsed()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn connect(&self, domid: DomId) -> Connection {
        self.connected(|store| store.connect(domid))
    }

    fn connect_socket(&self) -> Connection {
        self.connected(Store::connect_socket)
    }

    fn connected(&self, connect: impl FnOnce(&mut Store) -> ConnId) -> Connection {
        let mut state = self.state();
        let id = connect(&mut state.store);
        let output = Arc::new(Notify::new());
        state.connections.insert(id, output.clone());
        Connection { id, output, store: self.clone() }
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A store has too much in it to print.
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.store.state().connections.remove(&self.id);
        self.store.with(|store| store.disconnect(self.id));
    }
}

/// A watched key; dropping it ends the watch.
#[derive(Debug)]
pub struct KeyWatch {
    path: String,
    subscription: Subscription,
    changed: Arc<Notify>,
    store: SharedStore,
}

impl KeyWatch {
    /// Waits until the key is there.
    pub async fn exists(&self) {
        while self.store.with(|store| store.read(&self.path).is_none()) {
            self.changed.notified().await;
        }
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.keys.remove(&self.subscription);
        state.store.unwatch(self.subscription);
    }
}

/// Why a ring is no longer served.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The peer's indices make no sense.
    #[error(transparent)]
    Indices(#[from] ring::BadIndices),
    /// The peer's messages make no sense.
    #[error(transparent)]
    Protocol(#[from] xenstore::Broken),
}

impl RingError {
    /// The number that tells the peer.
    fn number(&self) -> u32 {
        match self {
            RingError::Indices(_) => XENSTORE_ERROR_RINGIDX,
            RingError::Protocol(_) => XENSTORE_ERROR_PROTO,
        }
    }
}

/// Serves one ring until its peer breaks the protocol; dropping the future disconnects it.
pub async fn serve_ring(
    store: SharedStore,
    domid: DomId,
    page: SharedPages,
    port: Port,
    mut kernel_watches: Option<KernelWatches>,
) -> RingError {
    let ring = Ring::new(page, store.with(|store| store.features(domid)));
    let connection = store.connect(domid);
    if let Some(watches) = &kernel_watches {
        watches.restore(&store, connection.id);
    }
    loop {
        let moved = match pump(&store, connection.id, &ring) {
            Ok(moved) => moved,
            Err(error) => {
                ring.refuse(error.number());
                port.notify();
                return error;
            }
        };
        if moved {
            port.notify();
            if let Some(watches) = &mut kernel_watches {
                watches.save(&store, connection.id);
            }
            // A guest that never stops asking gets its turn among the others, no more.
            tokio::task::yield_now().await;
        } else {
            // A guest that has gone too fast is listened to again in a while, of which nobody else tells.
            let resumes = store.resumes(connection.id);
            tokio::select! {
                () = port.wait() => {}
                () = connection.output.notified() => {}
                () = tokio::time::sleep(resumes.unwrap_or_default()), if resumes.is_some() => {}
            }
        }
    }
}

/// Moves what can be moved, both ways; whether anything was.
fn pump(store: &SharedStore, id: ConnId, ring: &Ring) -> Result<bool, RingError> {
    let mut buffer = [0; XENSTORE_RING_SIZE];
    store.with(|store| {
        if ring.wants_reconnection() {
            store.reset(id);
            ring.reconnect();
            return Ok(true);
        }
        let mut moved = flush(store, id, ring)?;
        // A guest that does not read its replies is not listened to.
        if store.wants_input(id) {
            // All of it, whole messages or not: Linux tells only of what it adds to an empty ring.
            let requests = ring.requests(&mut buffer)?;
            if !requests.is_empty() {
                store.receive(id, requests)?;
                // Replies go out before the request is taken away: a daemon that is killed in between
                // finds the request again when it is back, and answers it twice, rather than never.
                flush(store, id, ring)?;
                ring.consume(requests.len());
                moved = true;
            }
        }
        Ok(moved)
    })
}

fn flush(store: &mut Store, id: ConnId, ring: &Ring) -> Result<bool, RingError> {
    let mut moved = false;
    loop {
        let sent = ring.respond(store.output(id))?;
        if sent == 0 {
            return Ok(moved);
        }
        store.consume_output(id, sent);
        moved = true;
    }
}
