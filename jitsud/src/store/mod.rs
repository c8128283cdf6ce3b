//! XenStore, connected: the store that everything in the daemon shares, the rings of dom0's kernel and of
//! every guest, and the socket for tools.
//!
//! The store itself (crate `xenstore`) is synchronous and does no I/O. It stands behind one lock that is
//! never held across an await or a hypercall. After each change, the state is put away where the next daemon
//! finds it ([`kept`]), and then the connections that got something to send are woken.

mod kept;
mod kernel_watches;
mod ring;
mod settled;
pub mod socket;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_ERROR_PROTO, XENSTORE_ERROR_RINGIDX, XENSTORE_RING_SIZE};
use xenstore::{Change, ConnId, ConnKind, DriverRequest, Error, Limits, Store, Subscription};

use crate::directory::Moment;
use crate::text::chain;
use crate::xen::{Port, SharedPages};
use kept::Kept;
pub use kernel_watches::KernelWatches;
pub use ring::{BadIndices, Ring};

/// What tools may ask of the toolstack before it has got round to any of it; more is not done, audibly.
const REQUESTS: usize = 256;

/// How often in a row a ring is looked at before others get their turn: a ring's worth of requests each time.
const TURNS: u32 = 4;

/// The store, shared.
#[derive(Clone)]
pub struct SharedStore(Arc<Mutex<State>>);

struct State {
    store: Store,
    /// Where the state is put away; `None` when it is not.
    kept: Option<Kept>,
    connections: HashMap<ConnId, Arc<Notify>>,
    keys: HashMap<Subscription, Arc<Notify>>,
    /// Where to tell what tools ask of the toolstack, once somebody listens.
    requests: Option<mpsc::Sender<DriverRequest>>,
}

/// A connection of this process to the store; dropping it disconnects.
#[derive(Debug)]
pub struct Connection {
    id: ConnId,
    output: Arc<Notify>,
    store: SharedStore,
}

impl SharedStore {
    /// An empty store, which nobody takes over.
    pub fn new(limits: Limits) -> Self {
        Self::of(Store::new(limits), None)
    }

    /// The store as an earlier daemon has left it in the file at `path`, or an empty one with these limits. Its state is kept there from
    /// now on. A state that cannot be used is set aside, and the log says why. Returns also whether a state was
    /// taken over.
    pub fn open(path: &Path, limits: Limits) -> (Self, bool) {
        let found = Kept::load(path).unwrap_or_else(|error| {
            let aside = match kept::set_aside(path) {
                Ok(aside) => format!("it is now {}", aside.display()),
                Err(error) => format!("it cannot be renamed: {error}"),
            };
            tracing::error!(
                "the state of XenStore in {} cannot be taken over: {}; {aside}, and the node begins anew",
                path.display(),
                chain(&error)
            );
            None
        });
        let taken_over = found.is_some();
        let (mut store, takeovers) =
            found.map_or_else(|| (Store::new(limits), 0), |(store, n)| (store, n + 1));
        forget_process(&mut store);
        let kept = Kept::begin(path, &mut store, takeovers);
        let kept =
            kept.inspect_err(|error| tracing::error!("{error}; if the daemon ends, so do all services"));
        (Self::of(store, kept.ok()), taken_over)
    }

    fn of(store: Store, kept: Option<Kept>) -> Self {
        let state = State { store, kept, connections: HashMap::new(), keys: HashMap::new(), requests: None };
        SharedStore(Arc::new(Mutex::new(state)))
    }

    /// Makes changes with the control domain's privilege, all or none; watches fire once, after them.
    pub fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.with(|store| store.commit(changes))
    }

    /// Does something with the store, puts its state away, then wakes whoever got something to send.
    pub fn with<R>(&self, act: impl FnOnce(&mut Store) -> R) -> R {
        self.with_state(|state| act(&mut state.store))
    }

    /// Looks at the store, and nothing else: nobody has to be woken for that, and nothing put away.
    pub fn look<R>(&self, look: impl FnOnce(&Store) -> R) -> R {
        look(&self.state().store)
    }

    fn with_state<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        state.store.advance(now());
        let result = act(&mut state);
        let announced = state.store.connections_with_output();
        let requests = state.store.take_requests();
        let events = state.store.take_events();
        state.put_away();
        for id in announced {
            if let Some(waker) = state.connections.get(&id) {
                waker.notify_one();
            }
        }
        for request in requests {
            let told = state.requests.as_ref().map(|requests| requests.try_send(request));
            if !matches!(told, Some(Ok(()))) {
                tracing::error!(?told, "XenStore: what a tool has asked for is not done");
            }
        }
        for event in events {
            if let Some(waker) = state.keys.get(&event.subscription) {
                waker.notify_one();
            }
        }
        result
    }

    /// Watches a key, for this process, until it is there, and has `value` if one is given.
    ///
    /// # Errors
    /// The path is malformed.
    pub fn watch(&self, path: String, value: Option<String>) -> Result<KeyWatch, Error> {
        let changed = Arc::new(Notify::new());
        let mut state = self.state();
        let subscription = state.store.watch(&path)?;
        state.keys.insert(subscription, changed.clone());
        Ok(KeyWatch { path, value, subscription, changed, store: self.clone() })
    }

    /// What tools ask of the toolstack from now on. One listens at a time: the last who has called this.
    pub fn requests(&self) -> mpsc::Receiver<DriverRequest> {
        let (tell, told) = mpsc::channel(REQUESTS);
        self.state().requests = Some(tell);
        told
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.state().connections.len()
    }

    /// Notes that the daemon works with the state that it has taken over.
    pub fn is_sound(&self) {
        if let Some(kept) = &mut self.state().kept {
            kept.is_sound();
        }
    }

    /// Keeps the state as it is now for the next daemon, whatever becomes of this one's connections.
    pub fn leave(&self) {
        self.state().kept = None;
    }

    /// Sees to it that the next daemon begins anew.
    pub fn give_up(&self) {
        if let Some(mut kept) = self.state().kept.take() {
            kept.give_up();
        }
    }

    /// Ends the connections through rings that were taken over, but for those of the domains that `keep` names.
    pub fn end_rings(&self, keep: impl Fn(DomId) -> bool) {
        let ended = |(id, domid, kind): (ConnId, DomId, ConnKind)| {
            (kind == ConnKind::Ring && !keep(domid)).then_some(id)
        };
        self.with(|store| {
            let ended: Vec<ConnId> = store.connections().filter_map(ended).collect();
            ended.into_iter().for_each(|id| store.disconnect(id));
        });
    }

    /// Waits until a connection that is not listened to has to be looked at again; for ever if it is listened to.
    async fn resumes(&self, id: ConnId) {
        let deadline = {
            let state = self.state();
            if state.store.wants_input(id) { None } else { state.store.deadline() }
        };
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline.saturating_sub(now())).await,
            None => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The connection through a ring: the one that an earlier daemon had, brought up to what the ring says, or a
    /// new one. Returns also whether it is new.
    ///
    /// # Errors
    /// The ring says what cannot be after what the earlier daemon has done.
    pub fn connect_ring(&self, domid: DomId, ring: &Ring) -> Result<(Connection, bool), RingError> {
        let connection = self.connected(|state| {
            let of_ring = |(id, other, kind): (ConnId, DomId, ConnKind)| {
                (other == domid && kind == ConnKind::Ring && !state.connections.contains_key(&id))
                    .then_some(id)
            };
            let taken_over = state.store.connections().find_map(of_ring);
            match taken_over {
                Some(id) => (id, false),
                None => (state.store.connect_from(domid, ring.progress()), true),
            }
        });
        let (connection, new) = connection;
        if !new {
            self.with(|store| catch_up(store, connection.id, ring))?;
        }
        Ok((connection, new))
    }

    fn connect_socket(&self) -> Connection {
        self.connected(|state| (state.store.connect_socket(), true)).0
    }

    fn connected(&self, connect: impl FnOnce(&mut State) -> (ConnId, bool)) -> (Connection, bool) {
        let output = Arc::new(Notify::new());
        let (id, new) = self.with_state(|state| {
            let (id, new) = connect(state);
            state.connections.insert(id, output.clone());
            (id, new)
        });
        (Connection { id, output, store: self.clone() }, new)
    }
}

impl State {
    /// Puts away what the store has been told.
    fn put_away(&mut self) {
        if let Some(kept) = &mut self.kept
            && let Err(error) = kept.keep_up(&mut self.store)
        {
            tracing::error!(
                "XenStore's state is not kept any more: {error}; if the daemon ends, so do all services"
            );
            self.kept = None;
        }
    }
}

/// What the store's time is: it goes on in the next daemon.
fn now() -> Duration {
    Duration::from_nanos(Moment::now().0)
}

/// Takes out of a store what belonged to an earlier daemon's process: its tools' connections, and its own watches.
fn forget_process(store: &mut Store) {
    let sockets: Vec<ConnId> =
        store.connections().filter_map(|(id, _, kind)| (kind == ConnKind::Socket).then_some(id)).collect();
    sockets.into_iter().for_each(|id| store.disconnect(id));
    let watches: Vec<Subscription> = store.subscriptions().map(|(subscription, _)| subscription).collect();
    watches.into_iter().for_each(|subscription| store.unwatch(subscription));
    store.take_events();
}

/// Makes good what an earlier daemon had no time for: requests that the store has taken leave the ring, and output
/// that is in the ring leaves the store.
fn catch_up(store: &mut Store, id: ConnId, ring: &Ring) -> Result<(), RingError> {
    // A guest that wants to begin anew gets that anyway.
    let Some(known) = store.progress(id).filter(|_| !ring.wants_reconnection()) else { return Ok(()) };
    let there = ring.progress();
    let behind = |what, ahead: u64, behind: u64, most: usize| {
        // The ring's indices have 32 bits.
        let difference = (ahead as u32).wrapping_sub(behind as u32) as usize;
        if difference <= most {
            Ok(difference)
        } else {
            Err(ring::BadIndices::new(what, ahead as u32, behind as u32))
        }
    };
    ring.consume(behind(
        "request",
        known.received,
        there.received,
        ring.requests(&mut [0; XENSTORE_RING_SIZE])?.len(),
    )?);
    let sent = behind("response", there.sent, known.sent, store.output(id).len())?;
    store.consume_output(id, sent);
    Ok(())
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A store has too much in it to print.
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl Connection {
    /// Moves what can be moved between the connection and its ring, both ways; whether anything was.
    ///
    /// # Errors
    /// The peer has broken the ring's or the store's protocol, and is not to be served any more.
    pub fn pump(&self, ring: &Ring) -> Result<bool, RingError> {
        if self.store.state().has_nothing_for(self.id, ring) {
            return Ok(false);
        }
        self.store.with_state(|state| state.pump(self.id, ring))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.store.with_state(|state| {
            state.connections.remove(&self.id);
            state.store.disconnect(self.id);
        });
    }
}

/// A watched key; dropping it ends the watch.
#[derive(Debug)]
pub struct KeyWatch {
    path: String,
    value: Option<String>,
    subscription: Subscription,
    changed: Arc<Notify>,
    store: SharedStore,
}

impl KeyWatch {
    /// Waits until the key is as it was wanted when the watch was set.
    pub async fn comes_true(&self) {
        let wanted = |is: &[u8]| self.value.as_ref().is_none_or(|value| value.as_bytes() == is);
        self.until(|value| value.is_some_and(wanted)).await;
    }

    /// Waits until the key's value, or its absence, is as wanted.
    pub async fn until(&self, wanted: impl Fn(Option<&[u8]>) -> bool) {
        while !self.store.look(|store| wanted(store.read(&self.path))) {
            self.changed.notified().await;
        }
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.store.with_state(|state| {
            state.keys.remove(&self.subscription);
            state.store.unwatch(self.subscription);
        });
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

/// Serves one ring until its peer breaks the protocol; dropping the future disconnects it. A ring that an earlier
/// daemon has served goes on where that left it.
pub async fn serve_ring(
    store: SharedStore,
    domid: DomId,
    page: SharedPages,
    port: Port,
    mut kernel_watches: Option<KernelWatches>,
) -> RingError {
    let ring = Ring::new(page, store.with(|store| store.features(domid)));
    let refused = |error: RingError| {
        ring.refuse(error.number());
        port.notify();
        error
    };
    let (connection, new) = match store.connect_ring(domid, &ring) {
        Ok(connection) => connection,
        Err(error) => return refused(error),
    };
    if let Some(watches) = &kernel_watches
        && new
    {
        watches.restore(&store, connection.id);
    }
    // The peer may not have been told of what an earlier daemon did last.
    port.notify();
    let mut turns = 0;
    loop {
        let moved = match connection.pump(&ring) {
            Ok(moved) => moved,
            Err(error) => return refused(error),
        };
        if moved {
            port.notify();
            if let Some(watches) = &mut kernel_watches {
                watches.save(&store, connection.id);
            }
            // Whoever waits for its answer has the next question ready when it has been told, if it got the processor
            // for that. A guest that never stops asking gets its turns among the others, no more.
            turns += 1;
            if turns == TURNS {
                turns = 0;
                tokio::task::yield_now().await;
            }
        } else {
            turns = 0;
            tokio::select! {
                () = port.wait() => {}
                () = connection.output.notified() => {}
                // A guest that has gone too fast is listened to again in a while, of which nobody else tells.
                () = store.resumes(connection.id) => {}
            }
        }
    }
}

impl State {
    /// Whether a pump would move nothing and change nothing: after almost every one, that is so.
    fn has_nothing_for(&self, id: ConnId, ring: &Ring) -> bool {
        ring.is_quiet() && self.store.output(id).is_empty() && self.store.wants_input(id)
    }

    /// Moves what can be moved, both ways; whether anything was.
    fn pump(&mut self, id: ConnId, ring: &Ring) -> Result<bool, RingError> {
        if ring.wants_reconnection() {
            self.store.reset(id);
            self.put_away();
            ring.reconnect();
            return Ok(true);
        }
        let mut moved = self.flush(id, ring)?;
        // A guest that does not read its replies is not listened to.
        if self.store.wants_input(id) {
            let mut buffer = [0; XENSTORE_RING_SIZE];
            // All of it, whole messages or not: Linux tells only of what it adds to an empty ring.
            let requests = ring.requests(&mut buffer)?;
            if !requests.is_empty() {
                self.store.receive(id, requests)?;
                // In this order, so that the next daemon can tell from the ring's indices what this one had no
                // time for.
                self.put_away();
                ring.consume(requests.len());
                self.flush(id, ring)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn flush(&mut self, id: ConnId, ring: &Ring) -> Result<bool, RingError> {
        let mut moved = false;
        loop {
            let sent = ring.respond(self.store.output(id))?;
            if sent == 0 {
                return Ok(moved);
            }
            self.store.consume_output(id, sent);
            // This may have made more output, which must not be in the ring before it is known.
            self.put_away();
            moved = true;
        }
    }
}

#[cfg(test)]
mod tests;
