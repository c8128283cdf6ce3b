//! Starts against a store in this process, as jitsud's domain builder makes them: one commit for each domain.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use probe::starts::{self, Run, Step};
use xen_sys::DomId;
use xen_sys::io::xs_wire::XsdSockmsgType as Type;
use xenstore::{Access, Change, Limits, Perms, Store};

use crate::now;

/// Starts `count` domains one after the other, and checks that all is there.
pub fn run(count: u16) -> Result<Run> {
    let mut store = Store::new(Limits::default());
    store.introduce(DomId::DOM0);
    store.commit(&starts::shared("").map(Change::mkdir))?;
    let before = store.node_count();
    let batches = (1..=count).map(|domid| batch(&starts::start(domid))).collect::<Result<Vec<_>>>()?;
    let mut kept = Kept::begin(&mut store);
    let store = Mutex::new(store);
    let began = Instant::now();

    let start = now()?;
    for batch in &batches {
        // What jitsud's `SharedStore::with` does around it.
        let mut store = store.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        store.advance(began.elapsed());
        store.commit(batch)?;
        store.connections_with_output();
        store.take_requests();
        store.take_events();
        kept.keep_up(&mut store);
    }
    let took = now()? - start;

    let store = store.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let made = (store.node_count() - before) / usize::from(count);
    if made < batches[0].len() {
        bail!("{made} nodes of each domain are there, of {} that were written", batches[0].len());
    }
    Ok(Run { starts: count.into(), finished: count.into(), ns: nanoseconds(took), retries: 0 })
}

/// The state, put away for the next process as jitsud does it (`jitsud/src/store/kept.rs`), only that the file is
/// memory: what was so at some time, and all that the store has been told since.
struct Kept {
    export: Vec<u8>,
    journal: Vec<u8>,
}

/// Bytes of a journal before it gives way to an export, at least.
const JOURNAL: usize = 512 << 10;

impl Kept {
    fn begin(store: &mut Store) -> Kept {
        store.start_journal();
        let export = store.export();
        let journal = Vec::with_capacity(export.len().max(JOURNAL));
        Kept { export, journal }
    }

    fn keep_up(&mut self, store: &mut Store) {
        store.pass_journal(|calls| self.journal.extend_from_slice(calls));
        if self.journal.len() > self.export.len().max(JOURNAL) {
            *self = Kept::begin(store);
        }
    }
}

/// The nodes that a start leaves, with their last values and permissions, as one batch: in the order in which
/// they are first written.
fn batch(steps: &[Step]) -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = Vec::new();
    let mut index = BTreeMap::new();
    for step in steps {
        let Step::Ask(kind @ (Type::Write | Type::Mkdir | Type::SetPerms), payload) = step else { continue };
        let text = std::str::from_utf8(payload).context("a request that is no text")?;
        let (path, rest) = text.split_once('\0').context("a request without a path")?;
        let at = *index.entry(path.to_owned()).or_insert_with(|| {
            changes.push(Change::write(path, ""));
            changes.len() - 1
        });
        match (&mut changes[at], kind) {
            (Change::Write { value, .. }, Type::Write) => *value = rest.into(),
            (Change::Write { perms, .. }, Type::SetPerms) => *perms = Some(permissions(rest)?),
            _ => {}
        }
    }
    Ok(changes)
}

/// Permissions as they stand on the wire: the owner's entry, and then the others'.
fn permissions(text: &str) -> Result<Perms> {
    let mut entries = text.split_terminator('\0').map(|entry| {
        let domid = DomId(entry.get(1..).unwrap_or_default().parse().context("a permission's domain")?);
        let access = match entry.as_bytes().first() {
            Some(b'n') => Access::None,
            Some(b'r') => Access::Read,
            _ => bail!("permission {entry:?}"),
        };
        Ok((domid, access))
    });
    let (owner, others) = entries.next().context("permissions without an owner")??;
    entries.try_fold(Perms::new(owner, others), |perms, entry| {
        let (domid, access) = entry?;
        Ok(perms.with(domid, access))
    })
}

/// A duration of a measurement, far from 500 years.
pub fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}
