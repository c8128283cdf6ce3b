//! The children of a node: sorted by name, and cheap to copy however many there are.
//!
//! A transaction copies a directory when it first changes something in it, and `/local/domain` is
//! changed by the start of every domain. So many children are kept in pages, which copies share until
//! one of them changes: a copy then costs the list of pages and one page, not every child. Few
//! children, as almost all directories have, are one page without a list.
//!
//! A page that is shared is copied before a child in it is changed, and with it the pointers to its
//! children; so the rule of `tree.rs` holds through pages: what somebody else holds is never changed.

use std::sync::Arc;

use crate::tree::{Beginning, Node};

/// Children of a page at most. A page that is full becomes two, each half as long. In tests so few that
/// the random runs, which know few names, have many pages.
const FULL: usize = if cfg!(test) { 2 } else { 32 };

/// Children of two neighbouring pages that are better off in one.
const SPARSE: usize = FULL / 2;

type Page = Vec<Arc<Node>>;

/// Children, sorted by name.
#[derive(Clone)]
pub(crate) enum Children {
    Few(Page),
    /// At least two pages, none empty.
    Many(Vec<Arc<Page>>),
}

/// Where a child is, or would be.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    page: usize,
    at: usize,
}

impl Default for Children {
    fn default() -> Children {
        Children::Few(Vec::new())
    }
}

impl Children {
    /// From children that are sorted by name.
    pub fn sorted(children: Vec<Arc<Node>>) -> Children {
        if children.len() <= FULL {
            return Children::Few(children);
        }
        Children::Many(children.chunks(FULL).map(|page| Arc::new(page.to_vec())).collect())
    }

    /// Where the child of this name is; or, if there is none, where it belongs.
    pub fn find(&self, name: &str) -> Result<Place, Place> {
        let beginning = Beginning::of(name);
        let (page, children) = match self {
            Children::Few(children) => (0, children),
            Children::Many(pages) => {
                // The last page that begins at or before the name; the first one, if none does.
                let after = pages.partition_point(|page| page[0].cmp_name(beginning, name).is_le());
                let page = after.saturating_sub(1);
                (page, &*pages[page])
            }
        };
        let found = children.binary_search_by(|child| child.cmp_name(beginning, name));
        found.map(|at| Place { page, at }).map_err(|at| Place { page, at })
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Node>> {
        self.find(name).ok().map(|place| self.at(place))
    }

    /// The child at a place where there is one.
    pub fn at(&self, Place { page, at }: Place) -> &Arc<Node> {
        match self {
            Children::Few(children) => &children[at],
            Children::Many(pages) => &pages[page][at],
        }
    }

    /// The same, to be changed or replaced.
    pub fn at_mut(&mut self, Place { page, at }: Place) -> &mut Arc<Node> {
        match self {
            Children::Few(children) => &mut children[at],
            Children::Many(pages) => &mut Arc::make_mut(&mut pages[page])[at],
        }
    }

    /// Adds a child where it belongs; returns where it has come to be.
    pub fn insert(&mut self, place: Place, child: Arc<Node>) -> Place {
        if let Children::Few(children) = self
            && children.len() == FULL
        {
            *self = Children::Many(vec![Arc::new(std::mem::take(children))]);
        }
        let Place { mut page, mut at } = place;
        match self {
            Children::Few(children) => children.insert(at, child),
            Children::Many(pages) => {
                if pages[page].len() == FULL {
                    let upper = Arc::make_mut(&mut pages[page]).split_off(FULL / 2);
                    pages.insert(page + 1, Arc::new(upper));
                    if at > FULL / 2 {
                        (page, at) = (page + 1, at - FULL / 2);
                    }
                }
                Arc::make_mut(&mut pages[page]).insert(at, child);
            }
        }
        Place { page, at }
    }

    /// Takes the child out that is at this place.
    pub fn remove(&mut self, Place { page, at }: Place) -> Arc<Node> {
        let pages = match self {
            Children::Few(children) => return children.remove(at),
            Children::Many(pages) => pages,
        };
        let removed = Arc::make_mut(&mut pages[page]).remove(at);
        let lengths = |one: usize| Some(pages.get(one)?.len() + pages.get(one + 1)?.len());
        let sparse = |one: &usize| lengths(*one).is_some_and(|both| both <= SPARSE);
        if let Some(one) = [page, page.wrapping_sub(1)].into_iter().find(sparse) {
            let other = Arc::unwrap_or_clone(pages.remove(one + 1));
            Arc::make_mut(&mut pages[one]).extend(other);
        }
        pages.retain(|page| !page.is_empty());
        if let [only] = pages.as_mut_slice() {
            *self = Children::Few(std::mem::take(Arc::make_mut(only)));
        }
        removed
    }

    pub fn len(&self) -> usize {
        match self {
            Children::Few(children) => children.len(),
            Children::Many(pages) => pages.iter().map(|page| page.len()).sum(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        let (few, many) = match self {
            Children::Few(children) => (children.as_slice(), [].as_slice()),
            Children::Many(pages) => ([].as_slice(), pages.as_slice()),
        };
        few.iter().chain(many.iter().flat_map(|page| page.iter()))
    }

    /// Empties it into `children`, but for what somebody else holds as well.
    pub fn drain_into(&mut self, children: &mut Vec<Arc<Node>>) {
        match std::mem::take(self) {
            Children::Few(mut few) => children.append(&mut few),
            Children::Many(pages) => {
                pages.into_iter().filter_map(Arc::into_inner).for_each(|mut page| children.append(&mut page));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xen_sys::DomId;

    use super::*;
    use crate::perms::{Access, Perms};

    fn child(name: &str, stamp: u64) -> Arc<Node> {
        let perms = Perms::new(DomId::DOM0, Access::None);
        Arc::new(Node::restored(name, b"", perms, Vec::new(), stamp, stamp))
    }

    /// Against a map, and with a copy that was taken at each step: no later step may change it.
    #[test]
    fn children_are_found_in_order_and_copies_stay_as_they_are() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let shown = |children: &Children| -> Vec<(String, u64)> {
            children.iter().map(|child| (child.name().to_owned(), child.changed)).collect()
        };
        let mut children = Children::default();
        let mut model = BTreeMap::new();
        for step in 0..3000 {
            let copy = children.clone();
            let before = shown(&children);
            // Now it grows, now it shrinks.
            let grow = random() % 4 < if step / 500 % 2 == 0 { 3 } else { 1 };
            let name = format!("{}", random() % 200);
            match children.find(&name) {
                Ok(place) if grow => {
                    model.insert(name, step);
                    Arc::make_mut(children.at_mut(place)).changed = step;
                }
                Ok(place) => {
                    assert_eq!(children.remove(place).changed, model[&name]);
                    model.remove(&name);
                }
                Err(place) if grow => {
                    model.insert(name.clone(), step);
                    let place = children.insert(place, child(&name, step));
                    assert_eq!(children.at_mut(place).name(), name);
                }
                Err(_) => assert!(!model.contains_key(&name)),
            }
            assert_eq!(shown(&copy), before, "step {step}");
            assert!(model.iter().map(|(name, stamp)| (name.clone(), *stamp)).eq(shown(&children)));
            assert_eq!(children.len(), model.len());
            for name in (0..200).map(|name| name.to_string()) {
                assert_eq!(children.get(&name).map(|child| child.changed), model.get(&name).copied());
            }
            if let Children::Many(pages) = &children {
                assert!(pages.len() > 1 && pages.iter().all(|page| (1..=FULL).contains(&page.len())));
            }
        }
        let again = Children::sorted(children.iter().cloned().collect());
        assert_eq!(shown(&again), shown(&children));
        drop(children);
        let mut drained = Vec::new();
        let mut copy = again.clone();
        copy.drain_into(&mut drained);
        assert!(copy.len() == 0 && drained.len() < model.len(), "what is shared stays where it is");
    }
}
