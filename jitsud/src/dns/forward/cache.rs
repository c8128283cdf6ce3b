//! Answers that still hold, in a bounded amount of memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::question::Key;
use crate::directory::Moment;

/// Most bytes of answers and questions, with what their places in the tables take.
pub const MAX_BYTES: usize = 512 * 1024;
/// Longest answer that is kept. Real ones have some hundred bytes; one cannot drive out all others.
const MAX_ANSWER: usize = 8 * 1024;
/// What an entry takes beside its key and its answer: two places in tables, and what the allocator adds. Estimated.
const OVERHEAD: usize = 160;

/// The answers. When there is no room, those go first that were not asked for longest.
#[derive(Default, Debug)]
pub struct Cache {
    entries: HashMap<Arc<Key>, Entry>,
    /// By when they were used last.
    order: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    since: Moment,
    until: Moment,
    used: u64,
}

impl Cache {
    /// The answer, and for how long it has been kept.
    pub fn get(&mut self, key: &Key, now: Moment) -> Option<(Arc<Answer>, Duration)> {
        let entry = self.entries.get_mut(key)?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        if let Some(key) = self.order.remove(&entry.used) {
            self.uses += 1;
            entry.used = self.uses;
            self.order.insert(self.uses, key);
        }
        Some((Arc::clone(&entry.answer), now.since(entry.since)))
    }

    /// Keeps an answer, if it may be kept, instead of the one that there was.
    pub fn put(&mut self, key: &Key, answer: &Arc<Answer>, now: Moment) {
        self.remove(key);
        let Some(ttl) = answer.ttl else { return };
        if answer.size() > MAX_ANSWER {
            return;
        }
        self.bytes += cost(key, answer);
        self.uses += 1;
        let key = Arc::new(key.clone());
        let until = now.after(Duration::from_secs(ttl.into()));
        self.order.insert(self.uses, Arc::clone(&key));
        self.entries.insert(key, Entry { answer: Arc::clone(answer), since: now, until, used: self.uses });
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.first_key_value().map(|(_, key)| Arc::clone(key)) else { return };
            self.remove(&oldest);
        }
    }

    /// Bytes that are in use, [`MAX_BYTES`] at most.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many answers there are, with those that do not hold any more and that nobody has asked for since.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= cost(key, &entry.answer);
        }
    }
}

fn cost(key: &Key, answer: &Answer) -> usize {
    OVERHEAD + key.size() + answer.size()
}
