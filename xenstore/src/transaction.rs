//! Transactions: a snapshot, the client's view of it, and what the client has seen and changed.
//!
//! At commit, the nodes that the transaction read or wrote must still be as they were at its start;
//! whatever else happened meanwhile does not matter. Reading a value, listing children and merely
//! relying on a node's existence are told apart, so that two domains that are being started side by
//! side (each creates children of `/local/domain` and of `/local/domain/0/backend/vif`) do not get in
//! each other's way. Then the view's state of the written nodes is carried over (`merge.rs`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::event::Past;
use crate::path::Path;
use crate::tree::Tree;

/// Bytes that a transaction takes for each path that it remembers, besides the path, roughly.
pub(crate) const TOUCH: usize = 64;

/// What the transaction relies on, at one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// That a node is there.
    Existence,
    /// That, if somebody else has created it, its permissions are those that it has in the view.
    SameParent,
    /// Its value and permissions, or that there is none.
    Content,
    /// The names of its children.
    Children,
    /// All of it and all below it.
    Subtree,
}

/// How a path is changed by the transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// It was missing, and something was created below. Nobody is told.
    Parent,
    /// Its value or permissions are set.
    Content,
    /// It was removed; what is there afterwards, if anything, is all new.
    Subtree,
}

/// What a transaction remembers of one path.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub same_parent: bool,
    pub content: bool,
    pub children: bool,
    pub subtree: bool,
    /// How it was changed, if it was.
    pub change: Option<Kind>,
}

impl Mark {
    pub fn needs(&mut self, needs: Needs) {
        match needs {
            Needs::Existence => {}
            Needs::SameParent => self.same_parent = true,
            Needs::Content => self.content = true,
            Needs::Children => self.children = true,
            Needs::Subtree => self.subtree = true,
        }
    }
}

/// An open transaction.
pub(crate) struct Transaction {
    pub base: Tree,
    pub view: Tree,
    marks: BTreeMap<Path, Mark>,
    /// The changed paths in the order in which they were first changed: that of the events.
    pub order: Vec<Path>,
    /// Bytes that this transaction may keep alive beyond the live tree.
    pub bytes: usize,
    /// The store's time at its start.
    pub started: Duration,
}

impl Transaction {
    /// Starts from a snapshot. `pinned`: bytes of it that count as the client's.
    pub fn new(base: Tree, pinned: usize, started: Duration) -> Transaction {
        let view = base.clone();
        Transaction { base, view, marks: BTreeMap::new(), order: Vec::new(), bytes: pinned, started }
    }

    /// As it was, but for what [`new`](Transaction::new) takes.
    pub fn restored(self, view: Tree, marks: BTreeMap<Path, Mark>, order: Vec<Path>) -> Transaction {
        Transaction { view, marks, order, ..self }
    }

    /// Whether `path` is touched already, or there is room for one more among `limit`.
    pub fn may_touch(&self, path: &Path, limit: usize) -> bool {
        self.marks.len() < limit || self.marks.contains_key(path)
    }

    /// Whether there was nothing at `path` at the start.
    pub fn made(&self, path: &Path) -> bool {
        self.base.get(path.as_str()).is_none()
    }

    /// Whether what is at `path` was made, or set, by the transaction itself: its content is accounted
    /// for already.
    pub fn accounts_for(&self, path: &str) -> bool {
        self.marks.get(path).is_some_and(|mark| mark.content || mark.change == Some(Kind::Parent))
    }

    /// Remembers what the client relies on.
    pub fn note(&mut self, path: &Path, needs: Needs) {
        self.mark(path).needs(needs);
    }

    /// Remembers that the client relies on what is at `path`, and is about to change it in the view;
    /// `bytes` is the size of what it writes.
    pub fn note_change(&mut self, path: &Path, needs: Needs, kind: Kind, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let mark = self.mark(path);
        mark.needs(needs);
        let known = mark.change;
        mark.change = known.max(Some(kind));
        if kind > Kind::Parent && known.is_none_or(|known| known == Kind::Parent) {
            self.order.push(path.clone());
        }
    }

    /// All that is remembered, sorted by path.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = (&Path, &Mark)> {
        self.marks.iter()
    }

    /// What was changed and how, sorted by path.
    pub fn changes(&self) -> impl Iterator<Item = (&Path, Kind)> {
        self.marks.iter().filter_map(|(path, mark)| Some((path, mark.change?)))
    }

    /// Whether something was removed at a path.
    pub fn removes(&self, path: &Path) -> bool {
        self.marks.get(path).is_some_and(|mark| mark.change == Some(Kind::Subtree))
    }

    /// What there was at a changed path.
    pub fn past(&self, path: &Path) -> Past {
        let before = self.base.get(path.as_str());
        let removed = before.filter(|_| self.removes(path)).cloned();
        Past { before: before.map(|node| node.perms.clone()), removed }
    }

    fn mark(&mut self, path: &Path) -> &mut Mark {
        match self.marks.entry(path.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.bytes = self.bytes.saturating_add(path.len() + TOUCH);
                new.insert(Mark::default())
            }
        }
    }
}
