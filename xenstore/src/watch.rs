//! The watches, found by the paths that they watch.
//!
//! A change of `/a/b/c` concerns the watches on `/a/b/c`, `/a/b`, `/a` and `/`; a removal also those
//! below. They are kept in one map sorted by path, so that both are a few look-ups, whatever the
//! number of watches that have nothing to do with it; and most of those look-ups are spared by a table
//! that knows which hashes are watched at all.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::connection::ConnId;
use crate::path::{Names, Path, below};

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
        let levels = below(path, self.path.as_str()).map_or(0, |rest| Names(rest).count());
        levels <= depth as usize
    }
}

/// All watches of the store.
pub(crate) struct Watches {
    by_path: BTreeMap<Path, Vec<Watch>>,
    /// How many watches there are on paths of each hash. Most prefixes of a changed path have none,
    /// and need not be looked up.
    by_hash: Box<[u32; SLOTS]>,
    count: usize,
}

impl Default for Watches {
    fn default() -> Watches {
        Watches { by_path: BTreeMap::new(), by_hash: Box::new([0; SLOTS]), count: 0 }
    }
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

    /// All watches, by path, and those on one path in the order in which they fire.
    pub fn all(&self) -> impl Iterator<Item = &Watch> {
        self.by_path.values().flatten()
    }

    pub fn add(&mut self, watch: Watch) {
        self.count += 1;
        self.by_hash[Hash::of(watch.path.as_str()).slot()] += 1;
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
        self.by_hash[Hash::of(path.as_str()).slot()] -= 1;
        Some(watch)
    }

    /// Calls `hit` for each watch on `path` and on the paths above it, from the root down.
    pub fn at_or_above(&mut self, path: &str, mut hit: impl FnMut(&mut Watch)) {
        self.hit(path, "/", Hash::of("/"), &mut hit);
        let mut hash = Hash::NONE;
        for (at, byte) in path.bytes().enumerate() {
            if byte == b'/' && at > 0 {
                self.hit(path, &path[..at], hash, &mut hit);
            }
            hash.add(byte);
        }
        if path != "/" {
            self.hit(path, path, hash, &mut hit);
        }
    }

    fn hit(&mut self, path: &str, top: &str, hash: Hash, hit: &mut impl FnMut(&mut Watch)) {
        if self.by_hash[hash.slot()] > 0
            && let Some(watches) = self.by_path.get_mut(top)
        {
            watches.iter_mut().filter(|watch| watch.reaches(path)).for_each(hit);
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

/// Slots of [`Watches::by_hash`]: many more than watched paths on a small host.
const SLOTS: usize = 2048;

/// A hash that is built up byte by byte (32-bit FNV-1a). A guest that finds collisions gains nothing
/// but some look-ups that were not needed.
#[derive(Clone, Copy)]
struct Hash(u32);

impl Hash {
    const NONE: Hash = Hash(0x811C_9DC5);

    fn of(path: &str) -> Hash {
        let mut hash = Hash::NONE;
        path.bytes().for_each(|byte| hash.add(byte));
        hash
    }

    fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }

    fn slot(self) -> usize {
        (self.0 ^ (self.0 >> 16)) as usize % SLOTS
    }
}
