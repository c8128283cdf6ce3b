//! What a guest may use up. Connections of the control domain are exempt.

use xen_sys::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_PAYLOAD_MAX, XsdSockmsg};

/// Limits for each guest. The defaults are those of Xen 4.17's xenstored (`xenstored_core.c`), where it
/// has the same one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes that a guest may own.
    pub nodes: usize,
    /// Bytes in the value of a node that a guest writes.
    pub node_size: usize,
    /// Entries in the permissions that a guest sets on a node.
    pub permissions: usize,
    /// Bytes in a path that a guest names, after it was made absolute.
    pub path: usize,
    /// Watches on one connection.
    pub watches: usize,
    /// Transactions open at a time on one connection.
    pub transactions: usize,
    /// Different nodes that one transaction may touch.
    pub transaction_nodes: usize,
    /// Bytes held for a guest: nodes it owns, watches, and what its transactions keep alive.
    pub memory: usize,
    /// Bytes of replies and events waiting for one connection. At this mark nothing more is read from
    /// it, until it has taken some; watch events for a guest are then only remembered, and sent as one
    /// event per watch later. The default holds 20 replies of the greatest size, where xenstored
    /// counts 20 requests.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            nodes: 1000,
            node_size: 2048,
            permissions: 5,
            path: XENSTORE_ABS_PATH_MAX,
            watches: 128,
            transactions: 10,
            transaction_nodes: 1024,
            memory: (2 << 20) + (512 << 10),
            output: 20 * (XsdSockmsg::SIZE + XENSTORE_PAYLOAD_MAX),
        }
    }
}
