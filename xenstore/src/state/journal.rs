//! What happens between two exports: every call that changes a store, to be done again.
//!
//! A store knows no time and no chance, so that the same calls make the same state. Whoever wants to
//! survive being killed at any moment keeps an export and, after it, the journal of the calls since:
//! a few dozen bytes for a request, where an export is the size of all.
//!
//! An entry is its length, a CRC-32 of the rest, the call's number, and its arguments. A process that is
//! killed while it appends leaves a last entry that is not whole; nothing of it was let out yet.

use std::time::Duration;

use xen_sys::DomId;

use super::format::{Body, Read, Reader};
use super::{read, write};
use crate::connection::ConnId;
use crate::quota::Limits;
use crate::store::{Progress, Store, WatchSpec};
use crate::toolstack::Change;
use crate::watch::Subscription;

/// Bytes before an entry's call.
const HEADER: usize = 8;

/// A call that changes the store.
pub(crate) enum Call<'c> {
    Connect(DomId),
    ConnectSocket,
    Disconnect(ConnId),
    Reset(ConnId),
    Receive(ConnId, &'c [u8]),
    ConsumeOutput(ConnId, usize),
    Advance(Duration),
    SetLimits(&'c Limits),
    RestoreWatch(ConnId, &'c WatchSpec),
    Commit(&'c [Change]),
    Introduce(DomId),
    Stopped(DomId),
    Release(DomId),
    Watch(&'c str),
    Unwatch(Subscription),
    TakeEvents,
    TakeRequests,
    ConnectFrom(DomId, Progress),
}

impl Store {
    /// Keeps a journal from now on. Take an [`export`](Store::export) at the same moment.
    pub fn start_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// What was written into the journal since the last call. It is to be put away before anything of
    /// what these calls have brought about is let out, or taken out of a ring.
    pub fn take_journal(&mut self) -> Vec<u8> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// As [`take_journal`](Store::take_journal), without giving the memory away: `put_away` is shown what was
    /// written, if anything was.
    pub fn pass_journal(&mut self, put_away: impl FnOnce(&[u8])) {
        if let Some(journal) = &mut self.journal
            && !journal.is_empty()
        {
            put_away(journal);
            journal.clear();
        }
    }

    /// Does again what is in a journal, on the state at its start. Stops where an entry is not whole or
    /// is damaged. Returns how many bytes were good: all, or all but a last entry that was never
    /// finished. Nothing is written into a journal meanwhile.
    pub fn replay(&mut self, journal: &[u8]) -> usize {
        let own = self.journal.take();
        let mut used = 0;
        while let Some(length) = self.replay_one(&journal[used..]) {
            used += length;
        }
        self.journal = own;
        used
    }

    fn replay_one(&mut self, journal: &[u8]) -> Option<usize> {
        let (header, rest) = journal.split_first_chunk::<HEADER>()?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let entry = rest.get(..word(0) as usize)?;
        if crc32fast::hash(entry) != word(4) {
            return None;
        }
        self.call_again(&mut Reader::of_entry(entry)).ok()?;
        Some(HEADER + entry.len())
    }

    /// Writes a call down, if a journal is kept.
    pub(crate) fn note(&mut self, call: &Call<'_>) {
        if let Some(journal) = &mut self.journal {
            let start = journal.len();
            journal.extend_from_slice(&[0; HEADER]);
            write_call(&mut Body(journal), call);
            let entry = start + HEADER;
            let length = (journal.len() - entry) as u32;
            let crc = crc32fast::hash(&journal[entry..]);
            journal[start..start + 4].copy_from_slice(&length.to_le_bytes());
            journal[start + 4..entry].copy_from_slice(&crc.to_le_bytes());
        }
    }

    fn call_again(&mut self, body: &mut Reader<'_>) -> Read<()> {
        // What a call returned then, an error too, it returns now.
        match body.u8()? {
            0 => drop(self.connect(read::domid(body)?)),
            1 => drop(self.connect_socket()),
            2 => self.disconnect(ConnId(body.u64()?)),
            3 => self.reset(ConnId(body.u64()?)),
            4 => drop(self.receive(ConnId(body.u64()?), body.bytes()?)),
            5 => self.consume_output(ConnId(body.u64()?), body.size()?),
            6 => self.advance(body.time()?),
            7 => self.set_limits(read::limits(body)?),
            8 => {
                let conn = ConnId(body.u64()?);
                let path = body.text()?.to_owned();
                let spec =
                    WatchSpec { path, token: body.bytes()?.to_vec(), depth: body.option(Reader::u32)? };
                drop(self.restore_watch(conn, &spec));
            }
            9 => drop(self.commit(&body.list(read_change)?)),
            10 => self.introduce(read::domid(body)?),
            11 => self.stopped(read::domid(body)?),
            12 => self.release(read::domid(body)?),
            13 => drop(self.watch(body.text()?)),
            14 => self.unwatch(Subscription(body.u64()?)),
            15 => drop(self.take_events()),
            16 => drop(self.take_requests()),
            17 => {
                let domid = read::domid(body)?;
                let progress = Progress { received: body.u64()?, sent: body.u64()? };
                let _ = self.connect_from(domid, progress);
            }
            _ => return Err(body.wrong("of no known kind")),
        }
        Ok(())
    }
}

fn write_call(body: &mut Body<'_>, call: &Call<'_>) {
    let number = |body: &mut Body<'_>, number| body.u8(number);
    match call {
        Call::Connect(domid) => with_domid(body, 0, *domid),
        Call::ConnectSocket => number(body, 1),
        Call::Disconnect(conn) => with_id(body, 2, conn.0),
        Call::Reset(conn) => with_id(body, 3, conn.0),
        Call::Receive(conn, bytes) => {
            with_id(body, 4, conn.0);
            body.bytes(bytes);
        }
        Call::ConsumeOutput(conn, n) => {
            with_id(body, 5, conn.0);
            body.size(*n);
        }
        Call::Advance(now) => {
            number(body, 6);
            body.time(*now);
        }
        Call::SetLimits(limits) => {
            number(body, 7);
            write::limits(body, limits);
        }
        Call::RestoreWatch(conn, spec) => {
            with_id(body, 8, conn.0);
            body.bytes(spec.path.as_bytes());
            body.bytes(&spec.token);
            body.option(spec.depth, Body::u32);
        }
        Call::Commit(changes) => {
            number(body, 9);
            body.list(changes.iter(), write_change);
        }
        Call::Introduce(domid) => with_domid(body, 10, *domid),
        Call::Stopped(domid) => with_domid(body, 11, *domid),
        Call::Release(domid) => with_domid(body, 12, *domid),
        Call::Watch(path) => {
            number(body, 13);
            body.bytes(path.as_bytes());
        }
        Call::Unwatch(subscription) => with_id(body, 14, subscription.0),
        Call::TakeEvents => number(body, 15),
        Call::TakeRequests => number(body, 16),
        Call::ConnectFrom(domid, progress) => {
            with_domid(body, 17, *domid);
            body.u64(progress.received);
            body.u64(progress.sent);
        }
    }
}

fn with_id(body: &mut Body<'_>, number: u8, id: u64) {
    body.u8(number);
    body.u64(id);
}

fn with_domid(body: &mut Body<'_>, number: u8, domid: DomId) {
    body.u8(number);
    body.u16(domid.0);
}

fn write_change(body: &mut Body<'_>, change: &Change) {
    let (kind, path, value, perms) = match change {
        Change::Write { path, value, perms } => (0, path, &value[..], perms),
        Change::Mkdir { path, perms } => (1, path, &[][..], perms),
        Change::Remove { path } => (2, path, &[][..], &None),
    };
    body.u8(kind);
    body.bytes(path.as_bytes());
    body.bytes(value);
    body.option(perms.as_ref(), write::perms);
}

fn read_change(body: &mut Reader<'_>) -> Read<Change> {
    let kind = body.u8()?;
    let path = body.text()?.to_owned();
    let value = body.bytes()?.to_vec();
    let perms = body.option(|body| read::perms(&mut Default::default(), body))?;
    match kind {
        0 => Ok(Change::Write { path, value, perms }),
        1 => Ok(Change::Mkdir { path, perms }),
        2 => Ok(Change::Remove { path }),
        _ => Err(body.wrong("a change of no known kind")),
    }
}
