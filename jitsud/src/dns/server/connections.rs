//! The TCP connections that are open, a bounded number. Who holds many makes room for the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::directory::Moment;
use crate::dns::limits::source;

/// Most connections.
pub const MOST: usize = 64;

/// The connections that are open.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    source: [u8; 17],
    active: Arc<AtomicU64>,
    ended: CancellationToken,
}

/// One connection; it is forgotten when this is dropped.
#[derive(Debug)]
pub struct Connection {
    among: Connections,
    number: u64,
    active: Arc<AtomicU64>,
    /// Cancelled when it has to make room.
    pub ended: CancellationToken,
}

impl Connections {
    /// A new connection. If there are too many, one is ended: of the source that has the most, and of those the one on
    /// which nothing has happened for the longest time. Says whether that was so.
    pub fn add(&self, from: IpAddr, now: Moment) -> (Connection, bool) {
        let (source, active, ended) =
            (source(from), Arc::new(AtomicU64::new(now.0)), CancellationToken::new());
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, Known { source, active: Arc::clone(&active), ended: ended.clone() });
        let crowded = open.by_number.len() > MOST;
        if crowded {
            open.end_one();
        }
        drop(open);
        (Connection { among: self.clone(), number, active, ended }, crowded)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Open {
    fn end_one(&mut self) {
        let mut of_source: HashMap<[u8; 17], usize> = HashMap::new();
        for known in self.by_number.values() {
            *of_source.entry(known.source).or_default() += 1;
        }
        let victim = self.by_number.iter().min_by_key(|(number, known)| {
            let many = std::cmp::Reverse(of_source.get(&known.source).copied());
            (many, known.active.load(Ordering::Relaxed), **number)
        });
        if let Some(number) = victim.map(|(number, _)| *number)
            && let Some(known) = self.by_number.remove(&number)
        {
            known.ended.cancel();
        }
    }
}

impl Connection {
    /// Something has happened on it.
    pub fn active(&self, now: Moment) {
        self.active.store(now.0, Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.among.open().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_most_gives_way() {
        let connections = Connections::default();
        let add = |host: u8, at: u64| connections.add([10, 0, 0, host].into(), Moment(at)).0;
        let other = add(2, 0);
        let greedy: Vec<_> = (1..64).map(|at| add(1, at)).collect();
        assert!(!other.ended.is_cancelled() && greedy.iter().all(|one| !one.ended.is_cancelled()));
        greedy[0].active(Moment(100));
        let third = add(3, 200);
        let ended: Vec<_> = greedy.iter().map(|one| one.ended.is_cancelled()).collect();
        assert!(!ended[0] && ended[1] && !other.ended.is_cancelled() && !third.ended.is_cancelled());
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        // Its own newcomers take the places of its older ones.
        let more: Vec<_> = (0..100).map(|at| add(1, 300 + at)).collect();
        assert!(more[99..].iter().chain([&other, &third]).all(|one| !one.ended.is_cancelled()));
        drop((greedy, more));
        assert_eq!(connections.open().by_number.len(), 2);
    }
}
