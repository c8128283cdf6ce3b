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

use std::cmp::Ordering;
use std::sync::Arc;

use xen_sys::DomId;

use crate::account::{Account, Accounts};
use crate::children::{Children, Place};
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

/// The first four bytes of a name as a number, nuls after a shorter one: ordered as the names are, but for
/// those that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Beginning(u32);

impl Beginning {
    pub fn of(name: &str) -> Beginning {
        match *name.as_bytes() {
            [a, b, c, d, ..] => Beginning(u32::from_be_bytes([a, b, c, d])),
            [a, b, c] => Beginning(u32::from_be_bytes([a, b, c, 0])),
            [a, b] => Beginning(u32::from_be_bytes([a, b, 0, 0])),
            [a] => Beginning(u32::from_be_bytes([a, 0, 0, 0])),
            [] => Beginning(0),
        }
    }
}

/// A node and, through it, all below it.
#[derive(Clone)]
pub(crate) struct Node {
    /// The last name of its path; empty for the root.
    name: Arc<str>,
    /// How the name begins, so that most names are told apart without looking at them.
    beginning: Beginning,
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
        Node {
            name: name.into(),
            beginning: Beginning::of(name),
            value,
            perms,
            children: Children::default(),
            changed: stamp,
            listed: stamp,
        }
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
        Node {
            name: name.into(),
            beginning: Beginning::of(name),
            value: value.into(),
            perms,
            children: Children::sorted(children),
            changed,
            listed,
        }
    }

    pub fn child(&self, name: &str) -> Option<&Arc<Node>> {
        self.children.get(name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compares its name with another one, which begins like this.
    pub fn cmp_name(&self, beginning: Beginning, name: &str) -> Ordering {
        self.beginning.cmp(&beginning).then_with(|| (*self.name).cmp(name))
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

/// Where the nodes along a path were found, so that whoever is about to change something there need not
/// look for them again. Tells the truth until the tree is changed.
#[derive(Default)]
pub(crate) struct Trail {
    places: [Place; TRAIL],
    found: usize,
}

/// Names of a path whose places are kept: those of a device's nodes, `/local/domain/0/backend/vif/7/0/mac`.
const TRAIL: usize = 8;

impl Trail {
    fn add(&mut self, place: Place) {
        if let Some(next) = self.places.get_mut(self.found) {
            *next = place;
            self.found += 1;
        }
    }

    /// Where the node at this level is, if it was found.
    fn place(&self, level: usize) -> Option<Place> {
        self.places[..self.found].get(level).copied()
    }
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
        self.find_noting(path, |_| {})
    }

    /// What is at a path, for a change that follows.
    pub fn trail(&self, path: &str) -> (Found<'_>, Trail) {
        let mut trail = Trail::default();
        let found = self.find_noting(path, |place| trail.add(place));
        (found, trail)
    }

    fn find_noting(&self, path: &str, mut note: impl FnMut(Place)) -> Found<'_> {
        let mut node = &self.root;
        let mut rest = names(path);
        while let Some(name) = rest.next() {
            let Ok(place) = node.children.find(name) else {
                return Found::Missing { nearest: node, levels: 1 + rest.count() };
            };
            note(place);
            node = node.children.at(place);
        }
        Found::Node(node)
    }

    pub fn get(&self, path: &str) -> Option<&Arc<Node>> {
        match self.find(path) {
            Found::Node(node) => Some(node),
            Found::Missing { .. } => None,
        }
    }

    /// Sets what is given of value and permissions. A node that is missing is created, with its parents;
    /// each takes its permissions from the one above, and belongs to `creator` if that is a guest.
    /// Returns the permissions that the node had, if it was there.
    pub fn set(
        &mut self,
        path: &str,
        trail: &Trail,
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
        let (node, made) = descend(&mut self.root, path, trail, stamp, inherit);
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
        let (Found::Node(_), trail) = self.trail(path) else { return None };
        let node = self.unhook(path, &trail, stamp)?;
        let accounts = Arc::make_mut(&mut self.accounts);
        walk(&node, |node| accounts.remove(&node.name, &node.value, &node.perms));
        Some(node)
    }

    /// Makes everything at and below `path`, which is not the root, as it is in another tree: there or
    /// gone. Parents that are missing here are created as they are there. `anew`: it is not what it was
    /// before, although there was and is something. Books nothing.
    pub fn adopt(&mut self, from: &Tree, path: &str, anew: bool, stamp: Stamp) {
        let Some(source) = from.get(path) else {
            if let (Found::Node(_), trail) = self.trail(path) {
                self.unhook(path, &trail, stamp);
            }
            return;
        };
        let Some(name) = names(path).last() else { return };
        let above = ancestor(path, 1);
        let as_there = |parent: &Node, _: &str, level| match from.get(prefix(above, level + 1)) {
            Some(node) => (node.value.clone(), node.perms.clone()),
            None => (Arc::default(), parent.perms.clone()),
        };
        let (parent, _) = descend(&mut self.root, above, &Trail::default(), stamp, as_there);
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
        let none = |parent: &Node, _: &str, _| (Arc::default(), parent.perms.clone());
        let (node, _) = descend(&mut self.root, path, &Trail::default(), stamp, none);
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

    /// Takes a node that is there out of the tree, and books nothing. The root stays.
    fn unhook(&mut self, path: &str, trail: &Trail, stamp: Stamp) -> Option<Arc<Node>> {
        let find =
            |parent: &Node, level, name: &str| trail.place(level).or_else(|| parent.children.find(name).ok());
        let mut parent = Arc::make_mut(&mut self.root);
        let mut rest = names(path).enumerate();
        let (mut level, mut name) = rest.next()?;
        for next in rest {
            let place = find(parent, level, name)?;
            parent = Arc::make_mut(parent.children.at_mut(place));
            (level, name) = next;
        }
        let place = find(parent, level, name)?;
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
    trail: &Trail,
    stamp: Stamp,
    mut make: impl FnMut(&Node, &str, usize) -> (Arc<[u8]>, Perms),
) -> (&'t mut Node, bool) {
    let mut made = false;
    let mut node = Arc::make_mut(root);
    for (level, name) in names(path).enumerate() {
        let known = trail.place(level).map(Ok);
        let place = match known.unwrap_or_else(|| node.children.find(name)) {
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
