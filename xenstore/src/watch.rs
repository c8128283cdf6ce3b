//! The watches, found by the paths that they watch.
//!
//! A change of `/a/b/c` concerns the watches on `/a/b/c`, `/a/b`, `/a` and `/`; a removal also those
//! below. They are kept in one map sorted by path, so that both are a few look-ups, whatever the
//! number of watches that have nothing to do with it.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::connection::ConnId;
use crate::path::{Path, ancestor, below};

/// An in-process watch ([`Store::watch`](crate::Store::watch)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscription(pub(crate) u64);

/// Who is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Conn(ConnId),
    Local(Subscription),
}

/// One watch.
pub(crate) struct Watch {
    pub owner: Owner,
    pub path: Path,
    pub token: Box<[u8]>,
    /// Bytes to cut off reported paths, because the client named its path relative to its home.
    pub home: usize,
    /// Levels below the path that are of interest; `None` for all.
    pub depth: Option<u32>,
    /// Where in the connection's output stream the last event starts.
    pub last: Option<u64>,
    /// An event could not be sent for lack of room, and is still owed.
    pub owed: bool,
}

impl Watch {
    pub fn new(owner: Owner, path: Path, token: &[u8], home: usize, depth: Option<u32>) -> Watch {
        Watch { owner, path, token: token.into(), home, depth, last: None, owed: false }
    }

    /// A path at or below the watched one, as the client wants to hear it.
    pub fn shown<'p>(&self, path: &'p str) -> &'p str {
        path.get(self.home..).unwrap_or(path)
    }

    /// Whether a change at `path`, which is the watched path or below it, is of interest.
    fn reaches(&self, path: &str) -> bool {
        let Some(depth) = self.depth else { return true };
        let levels = below(path, self.path.as_str()).map_or(0, |rest| rest.split_terminator('/').count());
        levels <= depth as usize
    }
}

/// All watches of the store.
#[derive(Default)]
pub(crate) struct Watches {
    by_path: BTreeMap<Path, Vec<Watch>>,
    count: usize,
}

impl Watches {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn find(&mut self, path: &Path, owner: Owner, token: &[u8]) -> Option<&mut Watch> {
        let watches = self.by_path.get_mut(path)?;
        watches.iter_mut().find(|watch| watch.owner == owner && *watch.token == *token)
    }

    pub fn get(&self, path: &Path, owner: Owner, token: &[u8]) -> Option<&Watch> {
        let watches = self.by_path.get(path)?;
        watches.iter().find(|watch| watch.owner == owner && *watch.token == *token)
    }

    pub fn add(&mut self, watch: Watch) {
        self.count += 1;
        self.by_path.entry(watch.path.clone()).or_default().push(watch);
    }

    pub fn remove(&mut self, path: &Path, owner: Owner, token: &[u8]) -> Option<Watch> {
        let watches = self.by_path.get_mut(path)?;
        let found = |watch: &Watch| watch.owner == owner && *watch.token == *token;
        let at = watches.iter().position(found)?;
        let watch = watches.remove(at);
        if watches.is_empty() {
            self.by_path.remove(path);
        }
        self.count -= 1;
        Some(watch)
    }

    /// Calls `hit` for each watch on `path` and on the paths above it.
    pub fn at_or_above(&mut self, path: &str, mut hit: impl FnMut(&mut Watch)) {
        // The greatest key up to `path` is either above it, or it parts from `path` at some point;
        // then no key that is above `path` reaches further than that point.
        let mut limit = path;
        loop {
            let upto = (Bound::Unbounded, Bound::Included(limit));
            let Some((key, watches)) = self.by_path.range_mut::<str, _>(upto).next_back() else {
                return;
            };
            let key = key.as_str();
            if below(path, key).is_some() {
                watches.iter_mut().filter(|watch| watch.reaches(path)).for_each(&mut hit);
                if key == "/" {
                    return;
                }
                limit = ancestor(&path[..key.len()], 1);
            } else {
                limit = common_ancestor(limit, key);
            }
        }
    }

    /// Calls `hit` for each watch on a path truly below `path`, which is not the root.
    pub fn below(&mut self, path: &str, mut hit: impl FnMut(&mut Watch)) {
        let top = format!("{path}/");
        let after = (Bound::Excluded(top.as_str()), Bound::Unbounded);
        for (key, watches) in self.by_path.range_mut::<str, _>(after) {
            if !key.as_str().starts_with(&top) {
                return;
            }
            watches.iter_mut().for_each(&mut hit);
        }
    }

    /// Calls `hit` for each watch on exactly `path`.
    pub fn at(&mut self, path: &str, hit: impl FnMut(&mut Watch)) {
        self.by_path.get_mut(path).into_iter().flatten().for_each(hit);
    }
}

/// The longest path that both are at or below, shorter than `path`, which is not above `key`.
fn common_ancestor<'p>(path: &'p str, key: &str) -> &'p str {
    let same = path.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
    let end =
        if path.as_bytes().get(same) == Some(&b'/') { same } else { path[..same].rfind('/').unwrap_or(0) };
    if end == 0 { "/" } else { &path[..end] }
}
