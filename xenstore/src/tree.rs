//! The tree: immutable nodes that share what they have in common.
//!
//! Copying a [`Tree`] copies one pointer; a change copies the nodes along its path as far as somebody
//! else still holds them, and changes the others in place. So a transaction's snapshot costs nothing
//! until something is written, and two trees can be compared cheaply: as long as a snapshot is held,
//! *the same pointer means that nothing below has changed*. Whoever changes a node must therefore
//! descend to it only once it is certain that the change will be made.
//!
//! Every change carries a stamp from one counter of the whole store. Nothing here knows of permissions
//! being enforced, of quotas, or of watches.

use std::sync::Arc;

use xen_sys::DomId;

use crate::account::{Account, Accounts};
use crate::children::Children;
use crate::path::{ancestor, names, prefix};
use crate::perms::{Access, Perms};

/// Tells one change of the store from another and, in its low 16 bits, who made it. The rest grows with
/// each change.
pub(crate) type Stamp = u64;

/// The change with this number, made by `domid`.
pub(crate) fn stamp(number: u64, domid: DomId) -> Stamp {
    number << 16 | u64::from(domid.0)
}

/// Who made a change.
pub(crate) fn author(stamp: Stamp) -> DomId {
    DomId(stamp as u16)
}

/// The number of a change.
pub(crate) fn number(stamp: Stamp) -> u64 {
    stamp >> 16
}

/// A node and, through it, all below it.
#[derive(Clone)]
pub(crate) struct Node {
    /// The last name of its path; empty for the root.
    name: Arc<str>,
    pub value: Arc<[u8]>,
    pub perms: Perms,
    pub children: Children,
    /// When value or permissions were last set.
    pub changed: Stamp,
    /// When a child was last created or removed.
    pub listed: Stamp,
}

impl Node {
    fn new(name: &str, value: Arc<[u8]>, perms: Perms, stamp: Stamp) -> Node {
        let name = name.into();
        Node { name, value, perms, children: Children::default(), changed: stamp, listed: stamp }
    }

    /// A node as it was. The children are sorted by name.
    pub fn restored(
        name: &str,
        value: &[u8],
        perms: Perms,
        children: Vec<Arc<Node>>,
        changed: Stamp,
        listed: Stamp,
    ) -> Node {
        let children = Children::sorted(children);
        Node { name: name.into(), value: value.into(), perms, children, changed, listed }
    }

    pub fn child(&self, name: &str) -> Option<&Arc<Node>> {
        self.children.get(name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The children's names, sorted.
    pub fn child_names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|child| &*child.name)
    }
}

/// Takes the subtree apart in a loop: the compiler's own way is a recursion as deep as the tree, and
/// a path can have 1500 names.
impl Drop for Node {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.children.drain_into(&mut pending);
        while let Some(child) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(child) {
                node.children.drain_into(&mut pending);
            }
        }
    }
}

/// What is at a path.
pub(crate) enum Found<'t> {
    Node(&'t Arc<Node>),
    /// Nothing; the nearest node above, and how many names further down the path leads.
    Missing {
        nearest: &'t Arc<Node>,
        levels: usize,
    },
}

/// A whole tree with its book-keeping. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tree {
    root: Arc<Node>,
    accounts: Arc<Accounts>,
}

impl Tree {
    /// A tree of nothing but a root, which only the control domain may touch.
    pub fn new() -> Tree {
        let perms = Perms::new(DomId::DOM0, Access::None);
        let root = Node::new("", Arc::default(), perms, 0);
        let mut accounts = Accounts::default();
        accounts.add(&root.name, &root.value, &root.perms);
        Tree { root: Arc::new(root), accounts: Arc::new(accounts) }
    }

    /// The tree below a root, with its books made anew.
    pub fn restored(root: Arc<Node>) -> Tree {
        let mut accounts = Accounts::default();
        walk(&root, |node| accounts.add(&node.name, &node.value, &node.perms));
        Tree { root, accounts: Arc::new(accounts) }
    }

    /// Whether nothing at all differs. Only meaningful while both are held.
    pub fn is(&self, other: &Tree) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    pub fn account(&self, domid: DomId) -> Account {
        self.accounts.of(domid)
    }

    /// Whether the books agree with what is there.
    pub fn is_consistent(&self) -> bool {
        Tree::restored(self.root.clone()).accounts == self.accounts
    }

    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    pub fn node_count(&self) -> usize {
        self.accounts.nodes()
    }

    pub fn find(&self, path: &str) -> Found<'_> {
        let mut node = &self.root;
        let mut rest = names(path);
        while let Some(name) = rest.next() {
            match node.child(name) {
                Some(child) => node = child,
                None => {
                    return Found::Missing { nearest: node, levels: 1 + rest.count() };
                }
            }
        }
        Found::Node(node)
    }

    pub fn get(&self, path: &str) -> Option<&Arc<Node>> {
        match self.find(path) {
            Found::Node(node) => Some(node),
            Found::Missing { .. } => None,
        }
    }

    /// Sets a value. A node that is missing is created, with its parents; each takes its permissions
    /// from the one above, and belongs to `creator` if that is a guest.
    pub fn write(&mut self, path: &str, value: &[u8], creator: Option<DomId>, stamp: Stamp) {
        self.set(path, Some(value.into()), None, creator, stamp);
    }

    /// Sets what is given of value and permissions, creating what is missing as
    /// [`write`](Tree::write) does. Returns the permissions that the node had, if it was there.
    pub fn set(
        &mut self,
        path: &str,
        value: Option<Arc<[u8]>>,
        perms: Option<Perms>,
        creator: Option<DomId>,
        stamp: Stamp,
    ) -> Option<Perms> {
        let accounts = Arc::make_mut(&mut self.accounts);
        let inherit = |parent: &Node, name: &str, _| {
            let (value, perms) = (Arc::default(), parent.perms.inherited_by(creator));
            accounts.add(name, &value, &perms);
            (value, perms)
        };
        let (node, made) = descend(&mut self.root, path, stamp, inherit);
        let before = (!made).then(|| node.perms.clone());
        if let Some(value) = value {
            accounts.resize(node.perms.owner(), node.value.len(), value.len());
            node.value = value;
        }
        if let Some(perms) = perms {
            accounts.remove(&node.name, &node.value, &node.perms);
            node.perms = perms;
            accounts.add(&node.name, &node.value, &node.perms);
        }
        node.changed = stamp;
        before
    }

    /// Removes a node with all below it, and returns it. The root stays.
    pub fn remove(&mut self, path: &str, stamp: Stamp) -> Option<Arc<Node>> {
        self.get(path)?;
        let name = names(path).last()?;
        let node = self.unhook(path, name, stamp)?;
        let accounts = Arc::make_mut(&mut self.accounts);
        walk(&node, |node| accounts.remove(&node.name, &node.value, &node.perms));
        Some(node)
    }

    /// Makes everything at and below `path`, which is not the root, as it is in another tree: there or
    /// gone. Parents that are missing here are created as they are there. `anew`: it is not what it was
    /// before, although there was and is something. Books nothing.
    pub fn adopt(&mut self, from: &Tree, path: &str, anew: bool, stamp: Stamp) {
        let Some(name) = names(path).last() else { return };
        let Some(source) = from.get(path) else {
            if self.get(path).is_some() {
                self.unhook(path, name, stamp);
            }
            return;
        };
        let above = ancestor(path, 1);
        let as_there = |parent: &Node, _: &str, level| match from.get(prefix(above, level + 1)) {
            Some(node) => (node.value.clone(), node.perms.clone()),
            None => (Arc::default(), parent.perms.clone()),
        };
        let (parent, _) = descend(&mut self.root, above, stamp, as_there);
        match parent.children.find(name) {
            Ok(place) => {
                *parent.children.at_mut(place) = source.clone();
                if anew {
                    parent.listed = stamp;
                }
            }
            Err(place) => {
                parent.children.insert(place, source.clone());
                parent.listed = stamp;
            }
        }
    }

    /// Takes over value and permissions of a node that exists in both trees. Books nothing.
    pub fn adopt_content(&mut self, from: &Tree, path: &str, stamp: Stamp) {
        let Some(source) = from.get(path).filter(|_| self.get(path).is_some()) else { return };
        let (node, _) = descend(&mut self.root, path, stamp, |parent, _, _| {
            (Arc::default(), parent.perms.clone())
        });
        node.value = source.value.clone();
        node.perms = source.perms.clone();
        node.changed = stamp;
    }

    /// Books what makes the difference between two other trees, one made of the other; `twice` are
    /// nodes that both this tree has got and the second one.
    pub fn book<'n>(&mut self, from: &Tree, to: &Tree, twice: impl Iterator<Item = &'n Arc<Node>>) {
        let accounts = Arc::make_mut(&mut self.accounts);
        accounts.add_difference(&from.accounts, &to.accounts);
        twice.for_each(|node| accounts.remove(&node.name, &node.value, &node.perms));
    }

    /// Takes a node that is there out of the tree, and books nothing.
    fn unhook(&mut self, path: &str, name: &str, stamp: Stamp) -> Option<Arc<Node>> {
        let mut parent = Arc::make_mut(&mut self.root);
        for name in names(ancestor(path, 1)) {
            let place = parent.children.find(name).ok()?;
            parent = Arc::make_mut(parent.children.at_mut(place));
        }
        let place = parent.children.find(name).ok()?;
        parent.listed = stamp;
        Some(parent.children.remove(place))
    }

    /// The paths of all nodes that `wanted` asks for. If it answers [`Pick::Whole`], what is below
    /// is not looked at.
    pub fn pick(&self, mut wanted: impl FnMut(&Node) -> Pick) -> Vec<(String, Pick)> {
        let mut picked = Vec::new();
        let mut pending = vec![(String::new(), &self.root)];
        while let Some((path, node)) = pending.pop() {
            let answer = wanted(node);
            if answer != Pick::Whole {
                let children = node.children.iter();
                pending.extend(children.map(|child| (format!("{path}/{}", child.name), child)));
            }
            if answer != Pick::No {
                picked.push((if path.is_empty() { "/".to_owned() } else { path }, answer));
            }
        }
        picked
    }
}

/// Which nodes [`Tree::pick`] is to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    No,
    Node,
    Whole,
}

/// The node at `path`, ready to be changed; what is missing on the way is created. `make` is given the
/// new node's parent, its name and the number of names above that, and tells its value and permissions.
/// Returns also whether the node itself is new.
fn descend<'t>(
    root: &'t mut Arc<Node>,
    path: &str,
    stamp: Stamp,
    mut make: impl FnMut(&Node, &str, usize) -> (Arc<[u8]>, Perms),
) -> (&'t mut Node, bool) {
    let mut made = false;
    let mut node = Arc::make_mut(root);
    for (level, name) in names(path).enumerate() {
        let place = match node.children.find(name) {
            Ok(place) => place,
            Err(place) => {
                let (value, perms) = make(node, name, level);
                let child = Node::new(name, value, perms, stamp);
                node.listed = stamp;
                made = true;
                node.children.insert(place, Arc::new(child))
            }
        };
        node = Arc::make_mut(node.children.at_mut(place));
    }
    (node, made)
}

/// Visits a node and all below it, in no particular order.
fn walk(node: &Node, mut visit: impl FnMut(&Node)) {
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        visit(node);
        pending.extend(node.children.iter().map(|child| &**child));
    }
}
