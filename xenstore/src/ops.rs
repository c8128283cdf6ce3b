//! What requests do to the tree: permissions, quotas, and what a transaction remembers.
//!
//! The same code serves the live tree and a transaction's view. Nothing is changed by a request that
//! is refused.

use std::sync::Arc;

use xen_sys::DomId;

use crate::error::{Error, Quota};
use crate::event::{Effect, Past};
use crate::path::{Path, ancestor};
use crate::perms::{Access, Caller, Perms};
use crate::quota::Limits;
use crate::transaction::{Kind, Needs, TOUCH, Transaction};
use crate::tree::{Found, Node, Stamp, Tree};

/// Bytes that each node of a path that is to be created takes, roughly.
const NEW_NODE: usize = 96;

/// Which tree a request is about.
pub(crate) enum Scope<'s> {
    Live(&'s mut Tree),
    In(&'s mut Transaction),
}

/// One request, about to be carried out.
pub(crate) struct Op<'s> {
    pub scope: Scope<'s>,
    pub caller: Caller,
    pub limits: &'s Limits,
    pub stamp: Stamp,
    /// Bytes held for the caller so far, its open transactions included.
    pub used: usize,
}

impl Op<'_> {
    /// The node at `path`, for a caller that relies on what `needs` says and may read it.
    pub fn read(&mut self, path: &Path, needs: Needs) -> Result<&Arc<Node>, Error> {
        self.note_access(path)?;
        self.note(path, needs)?;
        match self.tree().find(path.as_str()) {
            Found::Node(node) if self.access(node).reads() => Ok(node),
            Found::Missing { nearest, .. } if self.access(nearest).reads() => Err(Error::NotFound),
            _ => Err(Error::Denied),
        }
    }

    /// Sets a value, or with `None` only makes sure that there is a node.
    pub fn write(&mut self, path: &Path, value: Option<&[u8]>) -> Result<Option<Effect>, Error> {
        let size = value.map_or(0, <[u8]>::len);
        if !self.caller.privileged() && size > self.limits.node_size {
            return Err(Error::Quota(Quota::NodeSize));
        }
        self.note_access(path)?;
        let (found, trail) = self.tree().trail(path.as_str());
        let before = match found {
            Found::Node(node) => {
                if !self.access(node).writes() {
                    return Err(Error::Denied);
                }
                let (perms, old_size) = (node.perms.clone(), node.value.len());
                if value.is_none() {
                    self.note(path, Needs::Existence)?;
                    return Ok(None);
                }
                let replaced = if self.live() { old_size } else { 0 };
                self.demand(size.saturating_sub(replaced))?;
                self.note_change(path, Needs::Content, Kind::Content, size + NEW_NODE)?;
                Some(perms)
            }
            Found::Missing { nearest, levels } => {
                if !self.access(nearest).writes() {
                    return Err(Error::Denied);
                }
                self.demand_nodes(levels)?;
                self.demand(size + path.len() + levels * NEW_NODE)?;
                self.note_parents(path, levels)?;
                // The new node's name is held besides the path that the transaction remembers.
                let bytes = size + path.len() + NEW_NODE;
                self.note_change(path, Needs::Content, Kind::Content, bytes)?;
                None
            }
        };
        let (creator, stamp) = (self.caller.creator(), self.stamp);
        let value = value.unwrap_or_default().into();
        self.tree_mut().set(path.as_str(), &trail, Some(value), None, creator, stamp);
        Ok(self.done(path, before, None))
    }

    /// Removes a node with all below it. That there is none is no error if its parent is there.
    pub fn remove(&mut self, path: &Path) -> Result<Option<Effect>, Error> {
        self.note_access(path)?;
        let before = match self.tree().find(path.as_str()) {
            Found::Node(node) if !self.access(node).writes() => return Err(Error::Denied),
            Found::Node(_) if path.as_str() == "/" => {
                return Err(Error::Malformed("RM: the root cannot be removed"));
            }
            Found::Node(node) => node.perms.clone(),
            Found::Missing { nearest, .. } if !self.access(nearest).writes() => {
                return Err(Error::Denied);
            }
            Found::Missing { levels, .. } => {
                let parent = Path::trusted(ancestor(path.as_str(), 1));
                if levels > 1 {
                    self.note(&parent, Needs::Content)?;
                    return Err(Error::NotFound);
                }
                self.note(&parent, Needs::Existence)?;
                self.note(path, Needs::Content)?;
                return Ok(None);
            }
        };
        self.note_change(path, Needs::Subtree, Kind::Subtree, 0)?;
        let stamp = self.stamp;
        let removed = self.tree_mut().remove(path.as_str(), stamp);
        Ok(self.done(path, Some(before), removed))
    }

    /// Sets permissions, which only the owner may.
    pub fn set_perms(&mut self, path: &Path, perms: Perms) -> Result<Option<Effect>, Error> {
        self.note_access(path)?;
        let (found, trail) = self.tree().trail(path.as_str());
        let before = match found {
            Found::Node(node) if !self.caller.owns(&node.perms) => return Err(Error::Denied),
            Found::Node(node) => node.perms.clone(),
            Found::Missing { nearest, .. } if !self.access(nearest).writes() => {
                return Err(Error::Denied);
            }
            Found::Missing { .. } => {
                self.note(path, Needs::Content)?;
                return Err(Error::NotFound);
            }
        };
        if !self.caller.privileged() {
            if perms.owner() != before.owner() {
                return Err(Error::OwnerChange);
            }
            if perms.entries().len() > self.limits.permissions {
                return Err(Error::Quota(Quota::Permissions));
            }
        }
        let size = size_of_val(perms.entries());
        self.demand(size)?;
        self.note_change(path, Needs::Content, Kind::Content, size)?;
        let stamp = self.stamp;
        self.tree_mut().set(path.as_str(), &trail, None, Some(perms), None, stamp);
        Ok(self.done(path, Some(before), None))
    }

    /// What watchers are to hear, now that the live tree is changed. Of a change in a transaction they
    /// hear at its commit.
    fn done(&self, path: &Path, before: Option<Perms>, removed: Option<Arc<Node>>) -> Option<Effect> {
        self.live().then(|| Effect { path: path.clone(), past: Past { before, removed } })
    }

    /// Has the transaction, if it is one, remember what the caller relies on.
    fn note(&mut self, path: &Path, needs: Needs) -> Result<(), Error> {
        if let Some(transaction) = self.remembering(path)? {
            transaction.note(path, needs);
        }
        Ok(())
    }

    /// The same of what is about to be changed: nothing that may fail comes after this. `bytes` is the
    /// size of what is written.
    fn note_change(&mut self, path: &Path, needs: Needs, kind: Kind, bytes: usize) -> Result<(), Error> {
        if let Some(transaction) = self.remembering(path)? {
            transaction.note_change(path, needs, kind, bytes);
        }
        Ok(())
    }

    /// The transaction, if it is one, with room for one more path.
    fn remembering(&mut self, path: &Path) -> Result<Option<&mut Transaction>, Error> {
        let Scope::In(transaction) = &mut self.scope else {
            return Ok(None);
        };
        if !self.caller.privileged() {
            if !transaction.may_touch(path, self.limits.transaction_nodes) {
                return Err(Error::Quota(Quota::TransactionNodes));
            }
            if self.used.saturating_add(path.len() + TOUCH) > self.limits.memory {
                return Err(Error::Quota(Quota::Memory));
            }
        }
        Ok(Some(transaction))
    }

    /// What a guest is answered relies on the permissions of the node or, if there is none, of the
    /// nearest above. What the transaction itself has made is accounted for already.
    fn note_access(&mut self, path: &Path) -> Result<(), Error> {
        if self.caller.privileged() || self.live() {
            return Ok(());
        }
        let levels = match self.tree().find(path.as_str()) {
            Found::Node(_) => 0,
            Found::Missing { levels, .. } => levels,
        };
        let decides = Path::trusted(ancestor(path.as_str(), levels));
        if matches!(&self.scope, Scope::In(transaction) if !transaction.made(&decides)) {
            self.note(&decides, Needs::Content)?;
        }
        if levels > 0 {
            let missing = Path::trusted(ancestor(path.as_str(), levels - 1));
            self.note(&missing, Needs::Content)?;
        }
        Ok(())
    }

    /// Creating a node relies on what it inherits from. Parents that are missing may be created by others
    /// meanwhile, if they come out the same.
    fn note_parents(&mut self, path: &Path, levels: usize) -> Result<(), Error> {
        let nearest = ancestor(path.as_str(), levels);
        match &self.scope {
            Scope::Live(_) => return Ok(()),
            Scope::In(transaction) if transaction.accounts_for(nearest) => {}
            Scope::In(_) => self.note(&Path::trusted(nearest), Needs::Content)?,
        }
        for level in 1..levels {
            let parent = Path::trusted(ancestor(path.as_str(), level));
            self.note_change(&parent, Needs::SameParent, Kind::Parent, NEW_NODE)?;
        }
        Ok(())
    }

    /// Refuses if the caller would own too many nodes.
    fn demand_nodes(&self, more: usize) -> Result<(), Error> {
        let owned = |domid: DomId| self.tree().account(domid).nodes;
        match self.caller.creator() {
            Some(domid) if owned(domid) + more > self.limits.nodes => Err(Error::Quota(Quota::Nodes)),
            _ => Ok(()),
        }
    }

    /// Refuses if too many bytes would be held for the caller.
    fn demand(&self, more: usize) -> Result<(), Error> {
        if !self.caller.privileged() && more > 0 && self.used.saturating_add(more) > self.limits.memory {
            return Err(Error::Quota(Quota::Memory));
        }
        Ok(())
    }

    fn access(&self, node: &Node) -> Access {
        self.caller.access(&node.perms)
    }

    fn live(&self) -> bool {
        matches!(self.scope, Scope::Live(_))
    }

    fn tree(&self) -> &Tree {
        match &self.scope {
            Scope::Live(tree) => tree,
            Scope::In(transaction) => &transaction.view,
        }
    }

    fn tree_mut(&mut self) -> &mut Tree {
        match &mut self.scope {
            Scope::Live(tree) => tree,
            Scope::In(transaction) => &mut transaction.view,
        }
    }
}
