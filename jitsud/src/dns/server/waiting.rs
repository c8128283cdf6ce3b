//! Places for datagrams whose answer has to be waited for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::dns::limits::source;

/// Most that wait. More than what may wait for one service ([`crate::directory::MAX_WAITING`]), so that one slow service
/// leaves room for the others.
pub const MOST: usize = 1024;

/// Most of one source, so that one client leaves room for the others.
pub const MOST_OF_A_SOURCE: usize = 512;

/// The places that are taken.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<[u8; 17], usize>,
}

/// A place; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    taken: Waiting,
    source: [u8; 17],
}

impl Waiting {
    /// A place for a question from there, if there is one.
    pub fn place(&self, from: IpAddr) -> Option<Place> {
        let source = source(from);
        let mut taken = self.taken();
        let of_source = taken.by_source.get(&source).copied().unwrap_or(0);
        if taken.all >= MOST || of_source >= MOST_OF_A_SOURCE {
            return None;
        }
        taken.all += 1;
        taken.by_source.insert(source, of_source + 1);
        drop(taken);
        Some(Place { taken: self.clone(), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.taken();
        taken.all -= 1;
        let left = taken.by_source.get(&self.source).map_or(0, |count| count - 1);
        match left {
            0 => _ = taken.by_source.remove(&self.source),
            _ => _ = taken.by_source.insert(self.source, left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() {
        let waiting = Waiting::default();
        let fill = |source: [u8; 4], most: usize| -> Vec<Place> {
            (0..most).map_while(|_| waiting.place(source.into())).collect()
        };
        let greedy = fill([10, 0, 0, 1], 2000);
        assert_eq!(greedy.len(), MOST_OF_A_SOURCE);
        let other = fill([10, 0, 0, 2], 2000);
        assert_eq!(greedy.len() + other.len(), MOST);
        assert!(waiting.place([10, 0, 0, 3].into()).is_none());
        drop(greedy);
        assert!(waiting.place([10, 0, 0, 3].into()).is_some());
        drop(other);
        let taken = waiting.taken();
        assert!(taken.all == 0 && taken.by_source.is_empty(), "{taken:?}");
    }
}
