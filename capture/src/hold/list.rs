//! Lists through the entries of held frames: an entry is in several, and leaves each without a search.

use super::Entry;
use super::cells::NONE;

/// Neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    pub const NONE: Link = Link { before: NONE, after: NONE };
}

/// Which of an entry's links a list runs through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Through {
    /// In order of arrival.
    Arrival = 0,
    /// In the order in which frames are let go.
    Eviction = 1,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    through: Through,
    first: u32,
    last: u32,
}

impl List {
    pub fn new(through: Through) -> Self {
        List { through, first: NONE, last: NONE }
    }

    /// The oldest.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Adds one that is not in it.
    pub fn push(&mut self, entries: &mut [Entry], at: u32) {
        let through = self.through as usize;
        entries[at as usize].links[through] = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = at,
            last => entries[last as usize].links[through].after = at,
        }
        self.last = at;
    }

    /// Removes one that is in it.
    pub fn remove(&mut self, entries: &mut [Entry], at: u32) {
        let through = self.through as usize;
        let Link { before, after } = std::mem::replace(&mut entries[at as usize].links[through], Link::NONE);
        match before {
            NONE => self.first = after,
            before => entries[before as usize].links[through].after = after,
        }
        match after {
            NONE => self.last = before,
            after => entries[after as usize].links[through].before = before,
        }
    }
}
