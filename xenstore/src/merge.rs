//! Carrying a transaction's changes over to a live tree that others have changed meanwhile.
//!
//! Where nobody else has changed anything, snapshot and live tree have the very same node, or both have
//! none (`tree.rs`). Everything that the transaction touched is looked at from the root down, and only
//! until that point: from there on nothing can conflict, and the view's node is taken as a whole, with
//! all below it. So a commit costs what is changed by both sides, and not what the transaction has read
//! and written, what else has happened, or how large the tree is. Of two domains' starts these are the
//! few directories that all domains have in common.
//!
//! What is taken as a whole keeps the stamps of the requests that made it. They are newer than the
//! snapshot, and no other change has the same; that is all that is asked of stamps.

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

/// What a commit takes over.
pub(crate) struct Merge<'t> {
    transaction: &'t Transaction,
    /// Where nobody else has changed anything, at or below: all that the view has there, or that it has
    /// nothing. Whether it is another thing now than before, although there was and is one.
    whole: Vec<(&'t str, bool)>,
    /// Where others have changed what is below: value and permissions.
    contents: Vec<&'t str>,
    /// Parents that others have created, too.
    twice: Vec<&'t Arc<Node>>,
}

impl Merge<'_> {
    /// How many nodes a domain will own, which owns so many now.
    pub fn nodes(&self, domid: DomId, now: usize) -> usize {
        let Transaction { base, view, .. } = self.transaction;
        let twice = self.twice.iter().filter(|node| node.perms.owner() == domid).count();
        now + view.account(domid).nodes - base.account(domid).nodes - twice
    }

    /// Does it to the live tree.
    pub fn apply(self, live: &mut Tree, stamp: Stamp) {
        let Transaction { base, view, .. } = self.transaction;
        if live.is(base) {
            *live = view.clone();
            return;
        }
        for (path, anew) in self.whole {
            live.adopt(view, path, anew, stamp);
        }
        for path in self.contents {
            live.adopt_content(view, path, stamp);
        }
        live.book(base, view, self.twice.into_iter());
    }
}

impl Transaction {
    /// What committing this changes in the live tree; or, if there is a conflict, who has made the change
    /// that conflicts.
    pub fn merge(&self, live: &Tree) -> Result<Merge<'_>, DomId> {
        let mut merge =
            Merge { transaction: self, whole: Vec::new(), contents: Vec::new(), twice: Vec::new() };
        if live.is(&self.base) {
            return Ok(merge);
        }
        let mut same: Option<(&str, bool)> = None;
        for (path, mark) in self.marks() {
            let path = path.as_str();
            if let Some((top, taken)) = &mut same
                && below(path, top).is_some()
            {
                if mark.change.is_some() && !std::mem::replace(taken, true) {
                    merge.whole.push((top, false));
                }
                continue;
            }
            match self.since(live, path) {
                Since::Same(top) => {
                    same = Some((top, mark.change.is_some()));
                    if let Some(kind) = mark.change {
                        merge.whole.push((top, kind == Kind::Subtree && top == path));
                    }
                }
                Since::Different(then, now) => {
                    if let Some(change) = self.conflict(live, path, mark, then, now) {
                        return Err(author(change));
                    }
                    match mark.change {
                        None => {}
                        Some(Kind::Parent) => merge.twice.extend(self.view.get(path)),
                        // Of a removal, any change below it is a conflict.
                        Some(Kind::Content | Kind::Subtree) => merge.contents.push(path),
                    }
                }
            }
        }
        Ok(merge)
    }

    /// The stamp of a change that conflicts with what was touched at `path`.
    fn conflict(
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
