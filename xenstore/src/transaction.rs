//! Transactions: a snapshot, the client's view of it, and what the client has seen and changed.
//!
//! At commit, the nodes that the transaction read or wrote must still be as they were at its start;
//! whatever else happened meanwhile does not matter. Reading a value, listing children and merely
//! relying on a node's existence are told apart, so that two domains that are being started side by
//! side (each creates children of `/local/domain` and of `/local/domain/0/backend/vif`) do not get in
//! each other's way. Then the view's state of the written nodes is carried over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use xen_sys::DomId;

use crate::event::Effect;
use crate::path::Path;
use crate::tree::{Found, Node, Stamp, Tree, author};

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

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Touch {
    pub same_parent: bool,
    pub content: bool,
    pub children: bool,
    pub subtree: bool,
}

/// An open transaction.
pub(crate) struct Transaction {
    pub base: Tree,
    pub view: Tree,
    pub touched: BTreeMap<Path, Touch>,
    pub changes: BTreeMap<Path, Kind>,
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
        Transaction {
            base,
            view,
            touched: BTreeMap::new(),
            changes: BTreeMap::new(),
            order: Vec::new(),
            bytes: pinned,
            started,
        }
    }

    /// Whether `path` is touched already, or there is room for one more among `limit`.
    pub fn may_touch(&self, path: &Path, limit: usize) -> bool {
        self.touched.len() < limit || self.touched.contains_key(path)
    }

    /// Whether there was nothing at `path` at the start.
    pub fn made(&self, path: &Path) -> bool {
        self.base.get(path.as_str()).is_none()
    }

    /// Remembers what the client relies on.
    pub fn note(&mut self, path: &Path, needs: Needs) {
        let touch = match self.touched.get_mut(path) {
            Some(touch) => touch,
            None => {
                self.bytes = self.bytes.saturating_add(path.len() + TOUCH);
                self.touched.entry(path.clone()).or_default()
            }
        };
        match needs {
            Needs::Existence => {}
            Needs::SameParent => touch.same_parent = true,
            Needs::Content => touch.content = true,
            Needs::Children => touch.children = true,
            Needs::Subtree => touch.subtree = true,
        }
    }

    /// Remembers that the client has changed the view at `path`; `bytes` is the size of what it wrote.
    pub fn changed(&mut self, path: &Path, kind: Kind, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let known = self.changes.get(path).copied();
        self.changes.insert(path.clone(), known.map_or(kind, |known| known.max(kind)));
        if kind > Kind::Parent && known.is_none_or(|known| known == Kind::Parent) {
            self.order.push(path.clone());
        }
    }

    /// What the live tree becomes by committing this; or, if there is a conflict, who has made the
    /// change that conflicts.
    pub fn merged_into(&self, live: &Tree, stamp: Stamp) -> Result<Tree, DomId> {
        if live.is(&self.base) {
            return Ok(self.view.clone());
        }
        if let Some(change) =
            self.touched.iter().find_map(|(path, touch)| self.conflict(live, path.as_str(), touch))
        {
            return Err(author(change));
        }
        let mut merged = live.clone();
        // Whole subtrees first: what was written inside of one later on is in it already.
        let of_kind = |wanted| self.changes.iter().filter(move |(_, kind)| **kind == wanted);
        for (path, _) in of_kind(Kind::Subtree) {
            merged.graft(&self.view, path.as_str(), stamp);
        }
        for (path, _) in of_kind(Kind::Parent) {
            if merged.get(path.as_str()).is_none() {
                merged.copy(&self.view, path.as_str(), stamp);
            }
        }
        for (path, _) in of_kind(Kind::Content) {
            match self.view.get(path.as_str()) {
                Some(_) => merged.copy(&self.view, path.as_str(), stamp),
                None => drop(merged.remove(path.as_str(), stamp)),
            }
        }
        Ok(merged)
    }

    /// What was changed, in order.
    pub fn effects(&self) -> impl Iterator<Item = Effect> {
        self.order.iter().map(|path| {
            let before = self.base.get(path.as_str());
            let removed = match self.changes.get(path) {
                Some(Kind::Subtree) => before.cloned(),
                _ => None,
            };
            let before = before.map(|node| node.perms.clone());
            Effect { path: path.clone(), before, removed }
        })
    }

    /// The stamp of a change that conflicts with what was touched.
    fn conflict(&self, live: &Tree, path: &str, touch: &Touch) -> Option<Stamp> {
        match (self.base.get(path), live.get(path)) {
            (None, None) => None,
            (None, Some(now)) => {
                let ours = || self.view.get(path).map(|node| &node.perms);
                let other_parent = touch.same_parent && ours().is_some_and(|ours| *ours != now.perms);
                let relied = touch.content || touch.children || touch.subtree || other_parent;
                relied.then_some(now.changed)
            }
            // Its parent, or the nearest that is left above, was the last to lose a child.
            (Some(_), None) => Some(match live.find(path) {
                Found::Missing { nearest: node, .. } | Found::Node(node) => node.listed,
            }),
            (Some(then), Some(now)) => {
                let content = (touch.content && then.changed != now.changed).then_some(now.changed);
                let children = (touch.children && then.listed != now.listed).then_some(now.listed);
                let subtree = || touch.subtree.then(|| newest_change(then, now)).flatten();
                content.or(children).or_else(subtree)
            }
        }
    }
}

/// The newest change of what was `then` and is `now`; `None` if they are the same.
fn newest_change(then: &Arc<Node>, now: &Arc<Node>) -> Option<Stamp> {
    let mut newest = None;
    let mut pending = vec![(Some(then), now)];
    while let Some((then, now)) = pending.pop() {
        if then.is_some_and(|then| Arc::ptr_eq(then, now)) {
            continue;
        }
        newest = newest.max(Some(now.changed.max(now.listed)));
        for child in now.children() {
            pending.push((then.and_then(|then| then.child(child.name())), child));
        }
    }
    newest
}
