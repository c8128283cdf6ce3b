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
use crate::path::{ancestor, names};
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
    /// Sorted by name. A vector, because it is copied whole more often than it grows large.
    children: Vec<Arc<Node>>,
    /// When value or permissions were last set.
    pub changed: Stamp,
    /// When a child was last created or removed.
    pub listed: Stamp,
}

impl Node {
    fn new(name: &str, value: Arc<[u8]>, perms: Perms, stamp: Stamp) -> Node {
        let name = name.into();
        Node { name, value, perms, children: Vec::new(), changed: stamp, listed: stamp }
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
        Node { name: name.into(), value: value.into(), perms, children, changed, listed }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|child| (*child.name).cmp(name))
    }

    pub fn child(&self, name: &str) -> Option<&Arc<Node>> {
        self.position(name).ok().map(|at| &self.children[at])
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn children(&self) -> &[Arc<Node>] {
        &self.children
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
        let mut pending = std::mem::take(&mut self.children);
        while let Some(child) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(child) {
                pending.append(&mut node.children);
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
        let inherit = |parent: &Node, _| (Arc::default(), parent.perms.inherited_by(creator));
        let (node, made) = descend(&mut self.root, accounts, path, stamp, inherit);
        let before = (!made).then(|| node.perms.clone());
        replace(accounts, node, value, perms, stamp);
        before
    }

    /// Takes over value and permissions of a node of another tree, and creates the parents that are
    /// missing here as they are there. The node must exist there.
    pub fn copy(&mut self, from: &Tree, path: &str, stamp: Stamp) {
        let Some(source) = from.get(path) else { return };
        let accounts = Arc::make_mut(&mut self.accounts);
        let (node, _) = descend(&mut self.root, accounts, path, stamp, from.as_there(path));
        let (value, perms) = (source.value.clone(), source.perms.clone());
        replace(accounts, node, Some(value), Some(perms), stamp);
    }

    /// Makes everything at and below `path` as it is in another tree: there or gone.
    pub fn graft(&mut self, from: &Tree, path: &str, stamp: Stamp) {
        self.remove(path, stamp);
        let Some(source) = from.get(path) else { return };
        let Some(name) = names(path).last() else {
            return;
        };
        let accounts = Arc::make_mut(&mut self.accounts);
        let above = ancestor(path, 1);
        let (parent, _) = descend(&mut self.root, accounts, above, stamp, from.as_there(above));
        if let Err(at) = parent.position(name) {
            parent.children.insert(at, source.clone());
            parent.listed = stamp;
            walk(source, |node| accounts.add(&node.name, &node.value, &node.perms));
        }
    }

    /// Removes a node with all below it, and returns it. The root stays.
    pub fn remove(&mut self, path: &str, stamp: Stamp) -> Option<Arc<Node>> {
        self.get(path)?;
        let name = names(path).last()?;
        let accounts = Arc::make_mut(&mut self.accounts);
        let mut parent = Arc::make_mut(&mut self.root);
        for name in names(ancestor(path, 1)) {
            let at = parent.position(name).ok()?;
            parent = Arc::make_mut(&mut parent.children[at]);
        }
        let at = parent.position(name).ok()?;
        let node = parent.children.remove(at);
        parent.listed = stamp;
        walk(&node, |node| accounts.remove(&node.name, &node.value, &node.perms));
        Some(node)
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

    /// What nodes along `path` are like in this tree, for [`descend`] in another one.
    fn as_there(&self, path: &str) -> impl FnMut(&Node, usize) -> (Arc<[u8]>, Perms) {
        let mut chain = Vec::new();
        let mut node = &self.root;
        for name in names(path) {
            match node.child(name) {
                Some(child) => node = child,
                None => break,
            }
            chain.push((node.value.clone(), node.perms.clone()));
        }
        move |parent, level| match chain.get(level) {
            Some((value, perms)) => (value.clone(), perms.clone()),
            None => (Arc::default(), parent.perms.clone()),
        }
    }
}

/// Which nodes [`Tree::pick`] is to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    No,
    Node,
    Whole,
}

/// The node at `path`, ready to be changed; what is missing on the way is created. `make` is given
/// the new node's parent and the number of names above that, and tells its value and permissions.
/// Returns also whether the node itself is new.
fn descend<'t>(
    root: &'t mut Arc<Node>,
    accounts: &mut Accounts,
    path: &str,
    stamp: Stamp,
    mut make: impl FnMut(&Node, usize) -> (Arc<[u8]>, Perms),
) -> (&'t mut Node, bool) {
    let mut made = false;
    let mut node = Arc::make_mut(root);
    for (level, name) in names(path).enumerate() {
        let at = match node.position(name) {
            Ok(at) => at,
            Err(at) => {
                let (value, perms) = make(node, level);
                accounts.add(name, &value, &perms);
                let child = Node::new(name, value, perms, stamp);
                node.children.insert(at, Arc::new(child));
                node.listed = stamp;
                made = true;
                at
            }
        };
        node = Arc::make_mut(&mut node.children[at]);
    }
    (node, made)
}

/// Sets value and permissions, and books the difference.
fn replace(
    accounts: &mut Accounts,
    node: &mut Node,
    value: Option<Arc<[u8]>>,
    perms: Option<Perms>,
    stamp: Stamp,
) {
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
}

/// Visits a node and all below it, in no particular order.
fn walk(node: &Node, mut visit: impl FnMut(&Node)) {
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        visit(node);
        pending.extend(node.children.iter().map(|child| &**child));
    }
}
