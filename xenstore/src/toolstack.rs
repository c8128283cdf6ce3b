//! The store as the toolstack sees it: in the same process, with the control domain's rights.

use std::collections::BTreeMap;
use std::sync::Arc;

use xen_sys::DomId;

use crate::domain::{INTRODUCE_DOMAIN, RELEASE_DOMAIN};
use crate::error::Error;
use crate::event::{Effect, Event, Past};
use crate::path::Path;
use crate::perms::Perms;
use crate::state::Call;
use crate::store::Store;
use crate::tree::{Node, Pick, Trail};
use crate::watch::{Owner, Subscription, Watch};

/// One step of a [`Store::commit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sets a value; creates the node and the parents that are missing.
    Write {
        /// Absolute path.
        path: String,
        /// The value; without a nul at the end.
        value: Vec<u8>,
        /// The node's permissions from now on; `None` leaves them, or takes those of the parent.
        perms: Option<Perms>,
    },
    /// Makes sure that a node is there, and leaves its value alone.
    Mkdir {
        /// Absolute path.
        path: String,
        /// The node's permissions from now on; `None` leaves them, or takes those of the parent.
        perms: Option<Perms>,
    },
    /// Removes a node, if it is there, with all below it.
    Remove {
        /// Absolute path, not the root.
        path: String,
    },
}

impl Change {
    /// A [`Change::Write`] with inherited permissions.
    pub fn write(path: impl Into<String>, value: impl Into<Vec<u8>>) -> Change {
        Change::Write { path: path.into(), value: value.into(), perms: None }
    }

    /// A [`Change::Mkdir`] with inherited permissions.
    pub fn mkdir(path: impl Into<String>) -> Change {
        Change::Mkdir { path: path.into(), perms: None }
    }

    /// A [`Change::Remove`].
    pub fn remove(path: impl Into<String>) -> Change {
        Change::Remove { path: path.into() }
    }

    /// The same with these permissions. A removal has none.
    #[must_use]
    pub fn with_perms(mut self, new: Perms) -> Change {
        match &mut self {
            Change::Write { perms, .. } | Change::Mkdir { perms, .. } => *perms = Some(new),
            Change::Remove { .. } => {}
        }
        self
    }

    fn path(&self) -> &str {
        match self {
            Change::Write { path, .. } | Change::Mkdir { path, .. } | Change::Remove { path } => path,
        }
    }
}

impl Store {
    /// Makes all changes at once, in order: either all or, if one is refused, none. Whoever watches is
    /// told afterwards, once for each path. No quota applies.
    ///
    /// # Errors
    /// A path is malformed, or the root is to be removed.
    pub fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        self.note(&Call::Commit(batch));
        let mut paths = Vec::with_capacity(batch.len());
        for change in batch {
            let text = change.path().as_bytes();
            paths.push(Path::absolute(text).map_err(|reason| Error::path(text, reason))?);
            if matches!(change, Change::Remove { .. }) && text == b"/" {
                return Err(Error::Malformed("commit: the root cannot be removed"));
            }
        }
        let stamp = self.next_stamp(DomId::DOM0);
        let mut touched = Touched::default();
        let anywhere = Trail::default();
        for (change, path) in batch.iter().zip(&paths) {
            let text = path.as_str();
            let (before, removed) = match change {
                Change::Mkdir { perms: None, .. } if self.tree.get(text).is_some() => continue,
                Change::Mkdir { perms, .. } => {
                    (self.tree.set(text, &anywhere, None, perms.clone(), None, stamp), None)
                }
                Change::Write { value, perms, .. } => {
                    let value = Some(value.as_slice().into());
                    (self.tree.set(text, &anywhere, value, perms.clone(), None, stamp), None)
                }
                Change::Remove { .. } => match self.tree.remove(text, stamp) {
                    Some(node) => (Some(node.perms.clone()), Some(node)),
                    None => continue,
                },
            };
            touched.add(path, before, removed);
        }
        touched.in_order.into_iter().for_each(|effect| self.fire(effect));
        Ok(())
    }

    /// The value of a node.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.node(path).map(|node| &*node.value)
    }

    /// The names of a node's children, sorted.
    pub fn list(&self, path: &str) -> Option<Vec<&str>> {
        self.node(path).map(|node| node.child_names().collect())
    }

    /// The permissions of a node.
    pub fn perms(&self, path: &str) -> Option<&Perms> {
        self.node(path).map(|node| &node.perms)
    }

    /// Starts to serve a domain: fires `@introduceDomain`, unless it was introduced already.
    pub fn introduce(&mut self, domid: DomId) {
        self.note(&Call::Introduce(domid));
        if self.domains.introduce(domid) {
            self.fire_special(INTRODUCE_DOMAIN, domid);
        }
    }

    /// Tells that a domain has shut down or crashed, and still exists: fires `@releaseDomain`, once
    /// until it is resumed or introduced again.
    pub fn stopped(&mut self, domid: DomId) {
        self.note(&Call::Stopped(domid));
        if self.domains.stop(domid) {
            self.fire_special(RELEASE_DOMAIN, domid);
        }
    }

    /// Ends the service to a domain that is going or gone: removes the nodes that it still owns with
    /// all below them, and every right given to it (its number may be used again), then fires
    /// `@releaseDomain`. Its connections are left to [`disconnect`](Store::disconnect).
    pub fn release(&mut self, domid: DomId) {
        self.note(&Call::Release(domid));
        if domid == DomId::DOM0 {
            return;
        }
        self.expel(domid);
        self.paces.forget(domid);
        if self.domains.release(domid) {
            self.fire_special(RELEASE_DOMAIN, domid);
        }
    }

    /// Whether the domain is introduced, and not released.
    pub fn is_introduced(&self, domid: DomId) -> bool {
        self.domains.is_introduced(domid)
    }

    /// Watches a path, or a special name such as `@releaseDomain`, for the process itself. As every
    /// watch, it fires once at the start, so that one code path serves what is there and what comes.
    ///
    /// # Errors
    /// The path is malformed.
    pub fn watch(&mut self, path: &str) -> Result<Subscription, Error> {
        self.note(&Call::Watch(path));
        let checked = match path.as_bytes() {
            text @ [b'@', ..] => Path::to_watch(text, DomId::DOM0).map(|named| named.path),
            text => Path::absolute(text),
        };
        let checked = checked.map_err(|reason| Error::path(path.as_bytes(), reason))?;
        self.last_subscription += 1;
        let subscription = Subscription(self.last_subscription);
        let owner = Owner::Local(subscription);
        self.watches.add(Watch::new(owner, checked.clone(), &[], 0, None));
        self.subscriptions.insert(subscription, checked);
        self.events.push(Event { subscription, path: path.to_owned() });
        Ok(subscription)
    }

    /// The [watches](Store::watch) of the process itself, with what they watch.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Subscription, &str)> {
        self.subscriptions.iter().map(|(subscription, path)| (*subscription, path.as_str()))
    }

    /// Ends a [`watch`](Store::watch).
    pub fn unwatch(&mut self, subscription: Subscription) {
        self.note(&Call::Unwatch(subscription));
        if let Some(path) = self.subscriptions.remove(&subscription) {
            self.watches.remove(&path, Owner::Local(subscription), &[]);
            self.events.retain(|event| event.subscription != subscription);
        }
    }

    /// What has happened for any [`watch`](Store::watch) since the last call, in order. They are kept
    /// until they are taken, so take them after every call.
    pub fn take_events(&mut self) -> Vec<Event> {
        if !self.events.is_empty() {
            self.note(&Call::TakeEvents);
        }
        std::mem::take(&mut self.events)
    }

    fn node(&self, path: &str) -> Option<&Arc<Node>> {
        let path = Path::absolute(path.as_bytes()).ok()?;
        self.tree.get(path.as_str())
    }

    /// Removes from the tree what a domain owns and where it is named. If the toolstack has removed
    /// the domain's part of the tree, there is nothing, and that is known without searching.
    fn expel(&mut self, domid: DomId) {
        let account = self.tree.account(domid);
        if account.nodes == 0 && account.named == 0 {
            return;
        }
        let stamp = self.next_stamp(DomId::DOM0);
        let picked = self.tree.pick(|node| {
            let owned = node.perms.owner() == domid;
            // The root stays, and what is below it is looked at.
            if owned && !node.name().is_empty() {
                Pick::Whole
            } else if owned || node.perms.names(domid) {
                Pick::Node
            } else {
                Pick::No
            }
        });
        for (text, pick) in picked {
            let Some(node) = self.tree.get(&text) else {
                continue;
            };
            let before = node.perms.clone();
            if pick == Pick::Node {
                self.tree.set(&text, &Trail::default(), None, Some(before.without(domid)), None, stamp);
            } else {
                let removed = self.tree.remove(&text, stamp);
                let path = Path::trusted(&text);
                self.fire(Effect { path, past: Past { before: Some(before), removed } });
            }
        }
    }
}

/// The paths that a batch has changed, each once.
#[derive(Default)]
struct Touched<'p> {
    in_order: Vec<Effect>,
    index: BTreeMap<&'p str, usize>,
}

impl<'p> Touched<'p> {
    /// Of several changes at a path, what was before the first counts.
    fn add(&mut self, path: &'p Path, before: Option<Perms>, removed: Option<Arc<Node>>) {
        match self.index.get(path.as_str()) {
            Some(&at) => {
                let known = &mut self.in_order[at].past.removed;
                *known = known.take().or(removed);
            }
            None => {
                self.index.insert(path.as_str(), self.in_order.len());
                self.in_order.push(Effect { path: path.clone(), past: Past { before, removed } });
            }
        }
    }
}
