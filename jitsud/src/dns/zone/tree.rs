//! The zone's names, and which of them stands in for one that does not exist (RFC 4592).

use std::collections::HashMap;

use hickory_server::proto::rr::RecordType;

use super::name::{above, is_wildcard, suffixes};
use super::records::RecordSet;
use crate::summoner::ServiceId;

/// What there is at a name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Node {
    /// The services whose addresses are the name's.
    pub services: Vec<ServiceId>,
    /// They are instances: each host name below has one of them for itself.
    pub by_host: bool,
    /// Records of the configuration.
    pub sets: Vec<RecordSet>,
    /// The wildcard one label below.
    wildcard: Option<usize>,
}

impl Node {
    /// Its records of a type.
    pub fn set(&self, kind: RecordType) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.kind == kind)
    }
}

/// Names of one zone. Those between a name and the zone's own exist too, without records (RFC 8020).
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Where in `nodes` each name is: in lower case, as on the wire.
    places: HashMap<Box<[u8]>, usize>,
}

impl Tree {
    /// The zone's own name alone.
    pub fn new(origin: &[u8]) -> Self {
        Tree { nodes: vec![Node::default()], places: HashMap::from([(origin.into(), 0)]) }
    }

    /// What is at a name in the zone, to be changed. The name exists from now on.
    pub fn entry(&mut self, name: &[u8]) -> &mut Node {
        let place = self.place(name);
        &mut self.nodes[place]
    }

    fn place(&mut self, name: &[u8]) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.nodes.len();
        self.nodes.push(Node::default());
        self.places.insert(name.into(), place);
        if let Some(above) = above(name) {
            let above = self.place(above);
            if is_wildcard(name) {
                self.nodes[above].wildcard = Some(place);
            }
        }
        place
    }

    /// What a name in the zone has: what is there or, if it does not exist, what the wildcard has that is next to its
    /// closest encloser: the longest of the names above it that exist (RFC 4592, section 3.3.1).
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        let place = |name: &[u8]| self.places.get(name).and_then(|place| self.nodes.get(*place));
        if let Some(node) = place(name) {
            return Some(node);
        }
        let closest_encloser = suffixes(name).skip(1).find_map(place)?;
        closest_encloser.wildcard.and_then(|wildcard| self.nodes.get(wildcard))
    }
}
