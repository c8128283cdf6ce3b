//! What a change means to those who watch.

use std::sync::Arc;

use crate::path::{Names, Path, ancestor};
use crate::perms::{Caller, Perms};
use crate::tree::{Node, Tree};
use crate::watch::Subscription;

/// Something happened at or below a path that [`Store::watch`](crate::Store::watch) watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Whose watch.
    pub subscription: Subscription,
    /// Where; in the moment of registration, the watched path itself.
    pub path: String,
}

/// A change of the live tree.
pub(crate) struct Effect {
    pub path: Path,
    pub past: Past,
}

/// What there was before a change.
pub(crate) struct Past {
    /// The node's permissions until then, if there was one.
    pub before: Option<Perms>,
    /// What was removed, with all below it.
    pub removed: Option<Arc<Node>>,
}

/// What decides who may hear of a change.
pub(crate) struct Sight<'e> {
    before: Option<&'e Perms>,
    after: Option<&'e Perms>,
    /// The parent's, if the node came or went: whoever may list the parent's children may know.
    parent: Option<&'e Perms>,
}

impl Past {
    /// Who may hear of the change at `path`, now that the tree has become this.
    pub fn sight<'e>(&'e self, path: &str, now: &'e Tree) -> Sight<'e> {
        let perms = |path: &str| now.get(path).map(|node| &node.perms);
        let before = self.before.as_ref();
        let after = perms(path);
        let parent = if before.is_some() == after.is_some() { None } else { perms(ancestor(path, 1)) };
        Sight { before, after, parent }
    }

    /// The topmost node that was removed, if it was there before and not just made.
    pub fn loss(&self) -> Option<&Arc<Node>> {
        self.before.as_ref().and(self.removed.as_ref())
    }

    /// Whether the node at `rest`, below the one that was removed, was there, and the caller may know:
    /// it could read the node, or list it.
    pub fn took_away(&self, rest: &str, caller: &Caller) -> bool {
        let Some(top) = self.loss() else { return false };
        let (mut parent, mut node) = (top, top);
        for name in Names(rest) {
            match node.child(name) {
                Some(child) => (parent, node) = (node, child),
                None => return false,
            }
        }
        [parent, node].into_iter().any(|node| caller.access(&node.perms).reads())
    }
}

impl Sight<'_> {
    /// For a node that came and went in one go this is nobody.
    pub fn includes(&self, caller: &Caller) -> bool {
        let happened = self.before.is_some() || self.after.is_some();
        let all = [self.before, self.after, self.parent];
        happened && all.into_iter().flatten().any(|perms| caller.access(perms).reads())
    }
}
