//! Guests' open TCP connections, as their interfaces' packet sockets see them begin and end.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capture::{Direction, FlowBounds, Flows, Moment, ServiceId};
use handover::{Record, State};
use tokio::sync::Notify;
use xen_sys::DomId;

use super::port::Port;
use super::probe::Probe;
use crate::config::Mac;

/// The connections of all guests. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    flows: Flows,
    /// Guests that have had their last connection. Each is in it once.
    closed: Vec<ServiceId>,
    /// Of each guest that is up: its domain, and whether it is noted as having connections.
    guests: HashMap<ServiceId, (DomId, bool)>,
    /// For the next daemon: a byte for each domain, 1 for one with connections. `None` if it cannot be kept.
    in_use: Option<File>,
    /// Guests that are asked whether they listen. Each is in it once.
    asked: Vec<(ServiceId, Probe, Arc<Port>)>,
    /// Those that do.
    listening: Vec<ServiceId>,
}

impl Connections {
    /// None so far. `in_use` is the file in which the next daemon finds which guests have any.
    pub fn new(in_use: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(in_use);
        let in_use = file.inspect_err(|error| {
            tracing::error!(%error, "{}: the next daemon will not know of connections", in_use.display());
        });
        let table = Table {
            flows: Flows::new(FlowBounds::default()),
            closed: Vec::new(),
            guests: HashMap::new(),
            in_use: in_use.ok(),
            asked: Vec::new(),
            listening: Vec::new(),
        };
        Connections(Arc::new(Shared { table: Mutex::new(table), changed: Notify::new() }))
    }

    /// A service's guest is this domain.
    pub fn begin(&self, service: ServiceId, domid: DomId) {
        self.table().guests.insert(service, (domid, false));
    }

    /// Looks at what a guest's port sees, for as long as the port works. `mac` is the guest's.
    pub async fn watch(self, port: Arc<Port>, service: ServiceId, mac: Mac) {
        while port.readable().await.is_ok() {
            self.look(&port, service, mac);
        }
    }

    /// Takes in what a guest's port has seen. Returns how many segments that were.
    pub fn look(&self, port: &Port, service: ServiceId, mac: Mac) -> usize {
        let (mut table, now) = (self.table(), super::at(crate::directory::Moment::now()));
        let mut count = 0;
        port.seen(|frame| {
            count += 1;
            let to_guest = frame.get(..6).is_some_and(|destination| destination == mac.0);
            let direction = if to_guest { Direction::ToGuest } else { Direction::FromGuest };
            if !to_guest && self.has_answered(&mut table, service, frame) {
                return;
            }
            let closed = table.flows.segment(now, service, direction, frame);
            self.note(&mut table, service, closed);
        });
        count
    }

    /// Asks a guest whether it listens, until it does.
    pub fn ask(&self, service: ServiceId, probe: Probe, port: Arc<Port>) {
        let mut table = self.table();
        table.asked.retain(|(asked, ..)| *asked != service);
        table.asked.push((service, probe, port));
        self.0.changed.notify_one();
    }

    /// Asks those that are to be asked now. Returns those that have been found to listen since the last call.
    pub fn listening(&self, now: Moment) -> Vec<ServiceId> {
        let table = &mut *self.table();
        for (service, probe, port) in &mut table.asked {
            for frame in probe.ask(now).into_iter().flatten() {
                if let Err(error) = port.send(&frame) {
                    tracing::debug!(service = service.0, %error, "it cannot be asked whether it listens");
                }
            }
        }
        std::mem::take(&mut table.listening)
    }

    /// Whether a guest's frame is the answer to the question whether it listens.
    fn has_answered(&self, table: &mut Table, service: ServiceId, frame: &[u8]) -> bool {
        let Some(at) = table.asked.iter().position(|(asked, ..)| *asked == service) else { return false };
        let (_, probe, port) = &table.asked[at];
        let Some(end) = probe.answer(frame) else { return false };
        if let Err(error) = port.send(&end) {
            tracing::debug!(service = service.0, %error, "the connection to it that only asked cannot be ended");
        }
        table.asked.remove(at);
        table.listening.push(service);
        self.0.changed.notify_one();
        true
    }

    /// A frame that has been held goes to its guest, which its port does not see.
    pub fn delivered(&self, now: Moment, service: ServiceId, frame: &[u8]) {
        let mut table = self.table();
        let closed = table.flows.segment(now, service, Direction::ToGuest, frame);
        self.note(&mut table, service, closed);
    }

    /// A guest is handed connections.
    pub fn handed_over(&self, now: Moment, service: ServiceId, records: &[Record]) {
        let mut table = self.table();
        for record in records {
            let ended = record.state == State::CloseWait;
            let closed = table.flows.handed_over(now, service, record.local, record.remote, ended);
            self.note(&mut table, service, closed);
        }
    }

    /// A guest goes on that an earlier daemon has left, and that may have had connections when that ended: which, that
    /// daemon alone has known. What was opened since keeps the guest up by its traffic only.
    pub fn suspect(&self, now: Moment, service: ServiceId) {
        let table = &mut *self.table();
        let Some((domid, _)) = table.guests.get(&service).copied() else { return };
        let mut noted = [0];
        let read = table.in_use.as_ref().map(|file| file.read_at(&mut noted, u64::from(domid.0)));
        // Better one too many than one that is cut.
        if noted != [0] || !matches!(read, Some(Ok(_))) {
            table.flows.suspect(now, service);
            table.mark(service);
        }
    }

    /// How many of a guest's are open.
    pub fn open(&self, service: ServiceId) -> usize {
        self.table().flows.open(service)
    }

    /// The guest is gone.
    pub fn forget(&self, service: ServiceId) {
        let table = &mut *self.table();
        table.flows.forget(service);
        table.mark(service);
        table.guests.remove(&service);
        table.asked.retain(|(asked, ..)| *asked != service);
        table.listening.retain(|listening| *listening != service);
    }

    /// When [`Self::closed`] or [`Self::listening`] has something to do for the passing of time.
    pub fn next(&self) -> Option<Moment> {
        let table = self.table();
        table.asked.iter().map(|(_, probe, _)| probe.due()).chain(table.flows.next()).min()
    }

    /// Waits until [`Self::closed`] or [`Self::listening`] has something to tell. Cancelling it loses nothing.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The guests that have had their last connection since the last call, and have none now.
    pub fn closed(&self, now: Moment) -> Vec<ServiceId> {
        let table = &mut *self.table();
        if table.flows.next().is_some_and(|next| next <= now) {
            table.closed.extend(table.flows.advance(now));
        }
        let mut closed = std::mem::take(&mut table.closed);
        closed.iter().for_each(|service| table.mark(*service));
        closed.retain(|service| table.flows.open(*service) == 0);
        closed
    }

    /// Something has changed for `service`, and `closed` has had its last connection.
    fn note(&self, table: &mut Table, service: ServiceId, closed: Option<ServiceId>) {
        table.mark(service);
        if let Some(closed) = closed
            && !table.closed.contains(&closed)
        {
            table.closed.push(closed);
            self.0.changed.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // What panicked was at work on one guest's connections; the others' are whole.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Puts away whether a guest has connections, when that has changed.
    fn mark(&mut self, service: ServiceId) {
        let open = self.flows.open(service) > 0;
        let Some((domid, noted)) = self.guests.get_mut(&service).filter(|(_, noted)| *noted != open) else {
            return;
        };
        *noted = open;
        let put = self.in_use.as_ref().map(|file| file.write_at(&[u8::from(open)], u64::from(domid.0)));
        if let Some(Err(error)) = put {
            tracing::error!(%domid, %error, "the next daemon will not know of its connections");
        }
    }
}
