//! What the file says about network interfaces, held against those that there are.

use super::node::DEFAULT_BRIDGE;
use super::{Draft, Problem, in_file_order};

/// A network interface of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it can be used for.
    pub kind: InterfaceKind,
}

/// What an interface can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterfaceKind {
    /// It may lead out.
    Ethernet,
    /// It may be the bridge.
    Bridge,
    /// Neither of the two.
    Other,
}

impl Draft {
    /// Puts right what the file says about interfaces, so that the node comes up with those that are `there`.
    pub fn fit(&mut self, there: &[Interface]) {
        let node = &mut self.node;
        let mut problems = Vec::new();
        let is_there = |uplink: &String| {
            there.iter().any(|other| other.name == *uplink && other.kind == InterfaceKind::Ethernet)
        };
        if let Some(uplink) = node.uplink.take_if(|uplink| !is_there(uplink)) {
            let ethernet = there.iter().filter(|other| other.kind == InterfaceKind::Ethernet);
            let names: Vec<_> = ethernet.map(|other| other.name.as_str()).collect();
            problems.push((
                node.lines.uplink,
                format!("uplink {uplink:?} is no Ethernet interface of this node"),
                format!("take one of {}; the first of them is used meanwhile", names.join(", ")),
            ));
        }
        if there.iter().any(|other| other.name == node.bridge && other.kind != InterfaceKind::Bridge) {
            problems.push((
                node.lines.bridge,
                format!("bridge {:?} is the name of an interface that is no bridge", node.bridge),
                format!("write a new name, as in bridge = \"br0\"; {DEFAULT_BRIDGE} is used meanwhile"),
            ));
            node.bridge = DEFAULT_BRIDGE.to_owned();
        }
        let file = &self.file;
        self.problems.extend(problems.into_iter().map(|(line, what, fix)| Problem {
            file: file.clone(),
            line: line.0,
            service: None,
            what,
            fix,
        }));
        let is_taken =
            |name: &str| there.iter().any(|other| other.name == name && other.kind != InterfaceKind::Bridge);
        let without = self.without_bridges(is_taken);
        self.problems.extend(without);
        in_file_order(&mut self.problems, &self.file);
    }
}
