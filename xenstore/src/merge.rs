//! Carrying a transaction's changes over to a live tree that others have changed meanwhile.
//!
//! Where nobody else has changed anything, snapshot and live tree have the very same node, or both have
//! none (`tree.rs`). Everything that the transaction touched is looked at from the root down, and only
//! until that point: from there on nothing can conflict, and the view's node is taken as a whole, with
//! all below it. So a commit costs what is changed by both sides, and not what the transaction has read
//! and written, what else has happened, or how large the tree is. Of two domains' starts these are the
//! few directories that all domains have in common.

use std::sync::Arc;

use xen_sys::DomId;

use crate::path::{below, names};
use crate::transaction::{Kind, Mark, Transaction};
use crate::tree::{Found, Node, Stamp, Tree, author};

/// What has become of a path since the snapshot.
enum Since<'p, 't> {
    /// Nobody has changed anything at or below this part of the path, which may be all of it.
    Same(&'p str),
    /// What was there then, and what is there now.
    Different(Option<&'t Arc<Node>>, Option<&'t Arc<Node>>),
}

impl Transaction {
    /// What the live tree becomes by committing this; or, if there is a conflict, who has made the
    /// change that conflicts.
    pub fn merged_into(&self, live: &Tree, stamp: Stamp) -> Result<Tree, DomId> {
        if live.is(&self.base) {
            return Ok(self.view.clone());
        }
        if let Some(change) = self.conflict(live) {
            return Err(author(change));
        }
        let mut merged = live.clone();
        let mut done = None;
        let mut twice = Vec::new();
        for (path, kind) in self.changes() {
            let path = path.as_str();
            if done.is_some_and(|top| below(path, top).is_some()) {
                continue;
            }
            match (self.since(live, path), kind) {
                (Since::Same(top), _) => {
                    // At the path itself there may have been something else in between.
                    merged.adopt(&self.view, top, kind == Kind::Subtree && top == path, stamp);
                    done = Some(top);
                }
                // Others have created it, too.
                (Since::Different(..), Kind::Parent) => twice.extend(self.view.get(path)),
                // Others have changed what is below it. (Had they done so to what was removed, that
                // would be a conflict.)
                (Since::Different(..), Kind::Content | Kind::Subtree) => {
                    merged.adopt_content(&self.view, path, stamp);
                }
            }
        }
        merged.book(&self.base, &self.view, twice.into_iter());
        Ok(merged)
    }

    /// The stamp of a change that conflicts with what was touched.
    fn conflict(&self, live: &Tree) -> Option<Stamp> {
        let mut same = None;
        for (path, mark) in self.marks() {
            let path = path.as_str();
            if same.is_some_and(|top| below(path, top).is_some()) {
                continue;
            }
            match self.since(live, path) {
                Since::Same(top) => same = Some(top),
                Since::Different(then, now) => {
                    let conflict = self.conflict_at(live, path, mark, then, now);
                    if conflict.is_some() {
                        return conflict;
                    }
                }
            }
        }
        None
    }

    fn conflict_at(
        &self,
        live: &Tree,
        path: &str,
        mark: &Mark,
        then: Option<&Arc<Node>>,
        now: Option<&Arc<Node>>,
    ) -> Option<Stamp> {
        match (then, now) {
            (None, None) => None,
            (None, Some(now)) => {
                let ours = || self.view.get(path).map(|node| &node.perms);
                let other_parent = mark.same_parent && ours().is_some_and(|ours| *ours != now.perms);
                let relied = mark.content || mark.children || mark.subtree || other_parent;
                relied.then_some(now.changed)
            }
            // Its parent, or the nearest that is left above, was the last to lose a child.
            (Some(_), None) => Some(match live.find(path) {
                Found::Missing { nearest: node, .. } | Found::Node(node) => node.listed,
            }),
            (Some(then), Some(now)) => {
                let content = (mark.content && then.changed != now.changed).then_some(now.changed);
                let children = (mark.children && then.listed != now.listed).then_some(now.listed);
                let subtree = || mark.subtree.then(|| newest_change(then, now)).flatten();
                content.or(children).or_else(subtree)
            }
        }
    }

    fn since<'p, 't>(&'t self, live: &'t Tree, path: &'p str) -> Since<'p, 't> {
        let (mut then, mut now) = (Some(self.base.root()), Some(live.root()));
        let mut end = 0;
        let mut rest = names(path);
        loop {
            let same = match (then, now) {
                (Some(then), Some(now)) => Arc::ptr_eq(then, now),
                (None, None) => true,
                _ => false,
            };
            if same {
                return Since::Same(&path[..end]);
            }
            let Some(name) = rest.next() else {
                return Since::Different(then, now);
            };
            then = then.and_then(|node| node.child(name));
            now = now.and_then(|node| node.child(name));
            end += 1 + name.len();
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
        for child in now.children.iter() {
            pending.push((then.and_then(|then| then.child(child.name())), child));
        }
    }
    newest
}
