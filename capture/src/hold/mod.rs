//! The frames that wait for their guests, and who has to go when there is no room.
//!
//! # The rule
//! - A *source* may hold an eighth of the cells that are free, and [`FLOOR`] frames of one cell in any case (dynamic
//!   thresholds: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). So
//!   few sources never fill the memory, however much they send, and many share it evenly. What is beyond a source's
//!   share is not held; the frames that it has sent before stay.
//! - So only sources without number fill the memory: forged ones. When it is full, an oldest frame goes for each new
//!   one. It is one of the *service* that holds most (longest queue drop: Suter and others, "Buffer Management
//!   Schemes for Supporting TCP in Gigabit Routers with Per-flow Queueing", 1999), so that a flood of one service
//!   costs the others nothing.
//! - Within a service, frames that have *come again* go last. A client whose SYN is not answered sends it again
//!   after a second; who forges addresses sends each SYN once, or halves his rate. Frames that came once keep a
//!   quarter of the service's cells even so.
//!
//! # Why so
//! When frames are not told apart, no rule keeps more of them than there is room for: with 20,000 SYNs a second and
//! room for 8,000, each has the same chance, whether the oldest goes or any. Dropping at random only spreads the
//! chance over older SYNs, whose clients have sent newer ones since. A second SYN is the one sign of honesty that
//! there is without answering. `tests/flood` measures what it is worth.
//!
//! A SYN that comes again is held once, in the place of the first and in its newest form, whose timestamp gives the
//! client the better measure of its round trip.

mod cells;
mod list;
mod seen;

use std::collections::HashMap;
use std::time::Duration;

use self::cells::{Cells, cells_of};
use self::list::{Link, List, Through};
use self::seen::Seen;
use crate::config::Limits;
use crate::frame::LONGEST;
use crate::moment::Moment;

/// Frames of one cell that a source may hold however short memory is: a browser's first connections.
const FLOOR: u32 = 4;

/// The part of the free cells that one source may hold.
const SHARE: usize = 8;

/// The same SYN sooner than this is no retransmission but a copy that the network has made; it is no sign of
/// anything. Clients wait for a second (RFC 6298, section 2), those of some systems for 300 ms.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// A frame that is held. Its number is that of its first cell.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    links: [Link; 2],
    last_seen: Moment,
    source: u64,
    /// Of a SYN only.
    flow: Option<u64>,
    length: u16,
    service: u16,
    again: bool,
}

/// What one service has.
#[derive(Debug)]
struct Queue {
    arrival: List,
    once: List,
    again: List,
    frames: u32,
    cells: usize,
    cells_again: usize,
}

/// What one source has.
#[derive(Default, Debug)]
struct Share {
    frames: u32,
    cells: usize,
}

/// What became of a frame that was to be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// It is held.
    Held,
    /// It is a SYN that is held already.
    Already,
    /// Its source has its share.
    Full,
}

#[derive(Debug)]
pub(crate) struct Hold {
    cells: Cells,
    entries: Vec<Entry>,
    queues: Vec<Queue>,
    sources: HashMap<u64, Share>,
    syns: HashMap<u64, u32>,
    seen: Seen,
    frames_per_source: u32,
    frames_per_service: u32,
    /// Frames that had to go for others.
    pub evicted: u64,
}

impl Hold {
    pub fn new(services: usize, limits: &Limits) -> Self {
        let queue = || Queue {
            arrival: List::new(Through::Arrival),
            once: List::new(Through::Eviction),
            again: List::new(Through::Eviction),
            frames: 0,
            cells: 0,
            cells_again: 0,
        };
        let cells = Cells::new(limits.bytes);
        Hold {
            entries: Vec::with_capacity(cells.count()),
            cells,
            queues: (0..services).map(|_| queue()).collect(),
            sources: HashMap::new(),
            syns: HashMap::new(),
            seen: Seen::new(),
            frames_per_source: limits.frames_per_source,
            frames_per_service: limits.frames_per_service.max(1),
            evicted: 0,
        }
    }

    /// Holds a frame for a service. `flow` is given for a SYN.
    pub fn keep(&mut self, now: Moment, service: u16, source: u64, flow: Option<u64>, frame: &[u8]) -> Kept {
        if let Some(at) = flow.and_then(|flow| self.syns.get(&flow).copied()) {
            self.came_again(now, at, frame);
            return Kept::Already;
        }
        let again = flow.is_some_and(|flow| self.seen.contains(flow));
        if !self.may_hold(source, cells_of(frame.len())) {
            return Kept::Full;
        }
        if self.queues[usize::from(service)].frames >= self.frames_per_service {
            self.evict(usize::from(service));
        }
        if self.cells.left() == 0 {
            self.evict(self.hungriest());
        }
        let Some(at) = self.cells.store(frame) else { return Kept::Full };
        let entry = Entry {
            links: [Link::NONE; 2],
            last_seen: now,
            source,
            flow,
            length: frame.len() as u16,
            service,
            again,
        };
        self.insert(at, entry, cells_of(frame.len()));
        Kept::Held
    }

    /// Whether this SYN is held.
    pub fn holds(&self, flow: u64) -> bool {
        self.syns.contains_key(&flow)
    }

    /// Takes a service's oldest frame out. Returns its length; the bytes are in `buffer`.
    pub fn take(&mut self, service: u16, buffer: &mut [u8; LONGEST]) -> Option<usize> {
        let at = self.queues[usize::from(service)].arrival.first()?;
        let length = usize::from(self.entries[at as usize].length);
        self.cells.load(at, &mut buffer[..length]);
        self.remove(at);
        Some(length)
    }

    /// Lets frames go that were last seen at `until` or before. Returns how many.
    pub fn expire(&mut self, until: Moment) -> u64 {
        let mut count = 0;
        for service in 0..self.queues.len() {
            while let Some((at, _)) = self.longest_unseen(service).filter(|(_, seen)| *seen <= until) {
                self.remove(at);
                count += 1;
            }
        }
        count
    }

    /// When the frame that has not been seen for longest was.
    pub fn oldest(&self) -> Option<Moment> {
        (0..self.queues.len()).filter_map(|service| self.longest_unseen(service)).map(|(_, seen)| seen).min()
    }

    /// Frames held for a service.
    pub fn frames(&self, service: u16) -> u32 {
        self.queues[usize::from(service)].frames
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        (self.cells.count() - self.cells.left()) * cells::CELL
    }

    fn may_hold(&self, source: u64, cells: usize) -> bool {
        let (frames, held) = self.sources.get(&source).map_or((0, 0), |share| (share.frames, share.cells));
        let small = cells == 1 && frames < FLOOR;
        frames < self.frames_per_source && (small || held + cells <= self.cells.left() / SHARE)
    }

    fn came_again(&mut self, now: Moment, at: u32, frame: &[u8]) {
        let entry = &mut self.entries[at as usize];
        if now.since(entry.last_seen) < AGAIN_AFTER {
            return;
        }
        entry.last_seen = now;
        let chain = self.cells.chain(at);
        if cells_of(frame.len()) <= chain {
            self.cells.overwrite(at, frame);
            entry.length = frame.len() as u16;
        }
        let queue = &mut self.queues[usize::from(entry.service)];
        if std::mem::replace(&mut entry.again, true) {
            queue.again.remove(&mut self.entries, at);
        } else {
            queue.once.remove(&mut self.entries, at);
            queue.cells_again += chain;
        }
        queue.again.push(&mut self.entries, at);
    }

    fn insert(&mut self, at: u32, entry: Entry, cells: usize) {
        let share = self.sources.entry(entry.source).or_default();
        share.frames += 1;
        share.cells += cells;
        if let Some(flow) = entry.flow {
            self.syns.insert(flow, at);
        }
        let queue = &mut self.queues[usize::from(entry.service)];
        queue.frames += 1;
        queue.cells += cells;
        let again = entry.again;
        // Entries are as many as the cells that have ever been in use.
        if self.entries.len() <= at as usize {
            self.entries.resize(at as usize + 1, entry.clone());
        }
        self.entries[at as usize] = entry;
        queue.arrival.push(&mut self.entries, at);
        if again {
            queue.cells_again += cells;
            queue.again.push(&mut self.entries, at);
        } else {
            queue.once.push(&mut self.entries, at);
        }
    }

    fn remove(&mut self, at: u32) {
        let Entry { source, flow, service, again, .. } = self.entries[at as usize];
        let cells = self.cells.chain(at);
        let queue = &mut self.queues[usize::from(service)];
        queue.frames -= 1;
        queue.cells -= cells;
        queue.arrival.remove(&mut self.entries, at);
        if again {
            queue.cells_again -= cells;
            queue.again.remove(&mut self.entries, at);
        } else {
            queue.once.remove(&mut self.entries, at);
        }
        if let Some(flow) = flow {
            self.syns.remove(&flow);
        }
        if let Some(share) = self.sources.get_mut(&source) {
            share.frames -= 1;
            share.cells -= cells;
            if share.frames == 0 {
                debug_assert_eq!(share.cells, 0);
                self.sources.remove(&source);
            }
        }
        debug_assert!(queue.frames > 0 || (queue.cells, queue.cells_again) == (0, 0));
        self.cells.release(at);
    }

    /// The service that holds most.
    fn hungriest(&self) -> usize {
        (0..self.queues.len()).max_by_key(|service| self.queues[*service].cells).unwrap_or(0)
    }

    /// Lets one frame of a service go.
    fn evict(&mut self, service: usize) {
        let queue = &self.queues[service];
        let much_again = queue.cells_again * 4 > queue.cells * 3;
        let victim = match (queue.once.first(), queue.again.first()) {
            (Some(_), Some(again)) if much_again => Some(again),
            (Some(once), _) => Some(once),
            (None, again) => again,
        };
        if let Some(at) = victim {
            if let Some(flow) = self.entries[at as usize].flow {
                self.seen.insert(flow);
            }
            self.remove(at);
            self.evicted += 1;
        }
    }

    /// A service's frame that was last seen before all its others.
    fn longest_unseen(&self, service: usize) -> Option<(u32, Moment)> {
        let Queue { once, again, .. } = &self.queues[service];
        let candidates = [once.first(), again.first()].into_iter().flatten();
        candidates.map(|at| (at, self.entries[at as usize].last_seen)).min_by_key(|(_, seen)| *seen)
    }
}
