//! What a change means to those who watch.

use std::sync::Arc;

use crate::path::{Path, ancestor, below};
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

/// A change of the live tree, with what decides who may hear of it.
pub(crate) struct Effect {
    pub path: Path,
    before: Option<Perms>,
    after: Option<Perms>,
    /// The parent's, if the node came or went: whoever may list the parent's children may know.
    parent: Option<Perms>,
    /// What was removed, with all below it.
    pub removed: Option<Arc<Node>>,
}

impl Effect {
    /// The change at `path` that has led to `now`; `before`: the node's permissions until then.
    pub fn of(now: &Tree, path: Path, before: Option<Perms>, removed: Option<Arc<Node>>) -> Effect {
        let after = now.get(path.as_str()).map(|node| node.perms.clone());
        let parent = if before.is_some() == after.is_some() {
            None
        } else {
            now.get(ancestor(path.as_str(), 1)).map(|node| node.perms.clone())
        };
        Effect { path, before, after, parent, removed }
    }

    /// Whether there is, or was, anything at all.
    pub fn happened(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }

    pub fn visible_to(&self, caller: &Caller) -> bool {
        let all = [&self.before, &self.after, &self.parent];
        all.into_iter().flatten().any(|perms| caller.access(perms).reads())
    }

    /// Whether a node at `path`, below this one, was removed together with it, and the caller may
    /// know: it could read the node, or list it.
    pub fn took_away(&self, path: &str, caller: &Caller) -> bool {
        let (Some(top), Some(rest)) = (&self.removed, below(path, self.path.as_str())) else {
            return false;
        };
        let (mut parent, mut node) = (top, top);
        for name in rest.split_terminator('/') {
            match node.child(name) {
                Some(child) => (parent, node) = (node, child),
                None => return false,
            }
        }
        [parent, node].into_iter().any(|node| caller.access(&node.perms).reads())
    }
}
