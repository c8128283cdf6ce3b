//! What the toolstack wants of the guest, below `control` in XenStore. One watch serves for all of it.

use alloc::format;
use alloc::vec::Vec;

use handover::{NotARecord, Record, further, unpack};
use xen_sys::sched::ShutdownReason;

use crate::println;
use crate::xen::shutdown;
use crate::xen::store::{Request, RequestId, XenStore};

/// The directory that is watched, and the watch's token.
const CONTROL: &str = "control";
/// Where the toolstack asks the guest to end.
const SHUTDOWN: &str = "control/shutdown";

/// What is looked at when it has changed.
#[derive(Debug)]
struct Key {
    path: &'static str,
    changed: bool,
    reading: Option<RequestId>,
}

impl Key {
    fn new(path: &'static str) -> Self {
        Key { path, changed: false, reading: None }
    }

    /// Goes one step on, without waiting. Returns the value when it has been read.
    fn step(&mut self, store: &mut XenStore) -> Option<Vec<u8>> {
        let reply = self.reading.and_then(|id| store.take_reply(id));
        if reply.is_some() {
            self.reading = None;
        }
        if self.changed && self.reading.is_none() {
            self.changed = false;
            self.reading = Some(store.request(Request::Read(self.path)));
            store.poll();
        }
        reply?.ok()
    }
}

/// The toolstack's wishes.
#[derive(Debug)]
pub(crate) struct Control {
    shutdown: Key,
    /// `None` once connections have been taken over: that is done once.
    records: Option<Key>,
}

impl Control {
    /// Queues the watch. What has been there before is noticed, too.
    pub(crate) fn watch(store: &mut XenStore) -> Self {
        store.post(Request::Watch(CONTROL, CONTROL));
        Control { shutdown: Key::new(SHUTDOWN), records: Some(Key::new(handover::RECORDS)) }
    }

    /// Looks at what has changed, without waiting. Returns connections that are to be taken over, once they are there;
    /// does not return when the guest is to end.
    pub(crate) fn check(&mut self, store: &mut XenStore) -> Option<Vec<Record>> {
        while let Some(event) = store.take_event() {
            let whole = event.path == CONTROL;
            self.shutdown.changed |= whole || event.path == SHUTDOWN;
            if let Some(records) = &mut self.records {
                records.changed |= whole || event.path == handover::RECORDS;
            }
        }
        if let Some(reason) = self.shutdown.step(store).and_then(|value| reason(&value)) {
            // An empty value tells the toolstack that the guest obeys.
            let acknowledge = store.request(Request::Write(SHUTDOWN, b""));
            let acknowledged = store.wait(acknowledge).is_ok();
            println!("{reason} was asked for; acknowledged: {acknowledged}");
            shutdown(reason);
        }
        let first = self.records.as_mut()?.step(store)?;
        self.records = None;
        match read(store, &first) {
            Ok(records) => Some(records),
            Err(NotARecord) => {
                println!("{}: {NotARecord}", handover::RECORDS);
                // That none of them was taken.
                Some(Vec::new())
            }
        }
    }
}

fn reason(value: &[u8]) -> Option<ShutdownReason> {
    match value {
        b"poweroff" | b"halt" => Some(ShutdownReason::POWEROFF),
        b"reboot" => Some(ShutdownReason::REBOOT),
        _ => None,
    }
}

/// The records whose first value is this; waits for the others, if there are any.
fn read(store: &mut XenStore, first: &[u8]) -> Result<Vec<Record>, NotARecord> {
    let (count, first) = further(first)?;
    let path = |number| format!("{}/{number}", handover::RECORDS);
    let others: Vec<_> = (1..=count).map(|number| store.request(Request::Read(&path(number)))).collect();
    let mut bytes = Vec::from(first);
    for id in others {
        bytes.extend(store.wait(id).map_err(|_| NotARecord)?);
    }
    unpack(&bytes)
}
