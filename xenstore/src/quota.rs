//! What a guest may use up. Connections of the control domain are exempt.

use std::time::Duration;

use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XENSTORE_REL_PATH_MAX, XsdSockmsg};

/// A quota that is never reached; on the wire it is 0.
pub(crate) const UNLIMITED: usize = usize::MAX;

/// Limits for each guest. The defaults are those of the xenstored written in C, which are the same from
/// Xen 4.17 to 4.22 (`quotas` in `tools/xenstored/domain.c`), where it has the same limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes that a guest may own.
    pub nodes: usize,
    /// Bytes in the value of a node that a guest writes.
    pub node_size: usize,
    /// Entries in the permissions that a guest sets on a node.
    pub permissions: usize,
    /// Bytes in a path that a guest names; of a path below a domain's home, only what comes after
    /// `/local/domain/N/` counts, so that the same path is always as good by either of its names.
    pub path: usize,
    /// Watches on one connection.
    pub watches: usize,
    /// Transactions open at a time on one connection.
    pub transactions: usize,
    /// Different nodes that one transaction may touch.
    pub transaction_nodes: usize,
    /// Replies that wait to be taken by a guest. At this mark no further request of it is handled.
    pub outstanding: usize,
    /// Bytes held for a guest: nodes it owns, watches, and what its transactions keep alive.
    pub memory: usize,
    /// Bytes of replies and events waiting for one connection. At this mark nothing more is read from
    /// it, until it has taken some; watch events for a guest are then only remembered, and sent as one
    /// event per watch later. The default holds 20 replies of the greatest size.
    pub output: usize,
    /// The same bound on events for one tool's socket, which is trusted but may be stopped by its user.
    pub socket_output: usize,
    /// Changes that a guest may make in a second, in the long run. `xenstored` shares one such rate
    /// (200) among all guests; here each has its own, so that what one does slows no other.
    pub writes_per_second: u32,
    /// Changes that a guest may make at once, on top of that rate.
    pub write_burst: u32,
    /// Transactions of others that a guest may spoil at once (`conflict-burst-limit` of oxenstored).
    pub conflict_burst: u32,
    /// After that, one more in each such time, all guests together
    /// (`conflict-max-history-seconds`, with `conflict-rate-limit-is-aggregate`).
    pub conflict_interval: Duration,
    /// Life of a transaction; one that is open longer is given up, and its commit says `EAGAIN`.
    pub transaction_age: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            nodes: 1000,
            node_size: 2048,
            permissions: 5,
            path: XENSTORE_REL_PATH_MAX,
            watches: 128,
            transactions: 10,
            transaction_nodes: 1024,
            outstanding: 20,
            memory: (2 << 20) + (512 << 10),
            output: 20 * (XsdSockmsg::SIZE + XENSTORE_PAYLOAD_MAX),
            socket_output: 4 << 20,
            writes_per_second: 200,
            write_burst: 1000,
            conflict_burst: 5,
            conflict_interval: Duration::from_millis(50),
            transaction_age: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The names by which [`Store::change_quota`](crate::Store::change_quota) knows limits.
    pub fn quota_names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|named| named.name)
    }
}

/// A quota that GET_QUOTA, SET_QUOTA and CONTROL's `quota` know by name.
pub(crate) struct Named {
    pub name: &'static str,
    pub about: &'static str,
    field: fn(&mut Limits) -> &mut usize,
}

/// The names are those of `tools/xenstored/domain.c`, and in its order.
pub(crate) static NAMED: [Named; 9] = [
    Named { name: "nodes", about: "Nodes per domain", field: |l| &mut l.nodes },
    Named { name: "watches", about: "Watches per domain", field: |l| &mut l.watches },
    Named { name: "outstanding", about: "Outstanding requests per domain", field: |l| &mut l.outstanding },
    Named { name: "memory", about: "Total memory per domain", field: |l| &mut l.memory },
    Named { name: "transactions", about: "Open transactions per domain", field: |l| &mut l.transactions },
    Named {
        name: "transaction-nodes",
        about: "Nodes touched by a transaction",
        field: |l| &mut l.transaction_nodes,
    },
    Named { name: "node-permissions", about: "Permissions of a node", field: |l| &mut l.permissions },
    Named { name: "path-max", about: "Length of a node's path", field: |l| &mut l.path },
    Named { name: "node-size", about: "Size of a node's value", field: |l| &mut l.node_size },
];

impl Named {
    /// The quota of this name. `xenstore.txt` calls one of them otherwise than xenstored does.
    pub fn find(name: &[u8]) -> Option<&'static Named> {
        let name = if name == b"permissions" { b"node-permissions" } else { name };
        NAMED.iter().find(|named| named.name.as_bytes() == name)
    }

    /// The value as the wire has it: 0 for no limit.
    pub fn get(&self, limits: &Limits) -> usize {
        match *(self.field)(&mut limits.clone()) {
            UNLIMITED => 0,
            value => value,
        }
    }

    /// Sets a value as the wire has it.
    pub fn set(&self, limits: &mut Limits, value: usize) {
        *(self.field)(limits) = if value == 0 { UNLIMITED } else { value };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_field_of_its_own() {
        let mut limits = Limits::default();
        for (number, named) in NAMED.iter().enumerate() {
            named.set(&mut limits, 7000 + number);
        }
        for (number, named) in NAMED.iter().enumerate() {
            assert_eq!(named.get(&limits), 7000 + number, "{}", named.name);
            assert!(std::ptr::eq(Named::find(named.name.as_bytes()).unwrap(), named));
        }
        let nodes = Named::find(b"nodes").unwrap();
        nodes.set(&mut limits, 0);
        assert_eq!((limits.nodes, nodes.get(&limits)), (UNLIMITED, 0));
        assert!(Named::find(b"no-such").is_none());
    }
}
