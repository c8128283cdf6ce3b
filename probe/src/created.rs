//! The record of a domain that xl makes, as the `xl-create` binary prints it.

use serde::{Deserialize, Serialize};

/// Stands before a [`Created`] on its line, so that it is found between other lines of a console.
pub const CREATED_MARK: &str = "xl-created: ";

/// When xl did what, in nanoseconds after it was started. Only the last but one are there when nobody looked at
/// XenStore meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Created {
    /// The domain's first nodes were in XenStore: its configuration has been read, and the domain exists, empty.
    pub made_ns: Option<u64>,
    /// The nodes were there that say where its rings are: memory, kernel and device tree are in place.
    pub built_ns: Option<u64>,
    /// The back half of its network card was described: dom0's kernel makes the interface from then on.
    pub device_ns: Option<u64>,
    /// The script said that the interface is connected.
    pub connected_ns: Option<u64>,
    /// xl ended: the domain runs.
    pub returned_ns: u64,
    /// The guest said that it accepts connections.
    pub ready_ns: Option<u64>,
    /// The first byte of its page came.
    pub first_byte_ns: Option<u64>,
}
