//! Restart without loss: the whole state of a store as bytes, and back.
//!
//! What [`Store::export`] gives, [`Store::import`] makes into a store that behaves in everything as the
//! first one would have: tree and generations, watches and the events they owe, half-read requests and
//! unsent replies, open transactions with all they rely on, credits, settings, introduced domains.
//!
//! ```text
//! header   "jitsu-xs"  version u32  CRC-32 of the rest u32  bytes of the rest u64
//! record   kind u32  bytes of the body u32  body
//! …
//! record   0 (end)  0
//! ```
//! All numbers are little-endian. Kinds come in rising order, so that what a record refers to stands
//! before it: 1 globals, 2 domain, 3 pace, 4 node, 5 tree, 6 connection, 7 transaction, 8 watch,
//! 9 subscription, 10 event, 11 request.
//!
//! The header-and-records shape is that of Xen's own `docs/designs/xenstore-migration.md`, but the
//! records are not: Xen's have no room for what is exact here. They know only that a transaction read or
//! wrote a node, not whether it relied on the value, the children or the mere existence; they carry no
//! generations, no events that are owed and no credit, and no checksum. Here the nodes of the live tree
//! and of all snapshots are one pool, each node once, and named by number, so that what trees share they
//! still share after an import: that is how a transaction tells what has changed.
//!
//! [`Store::export`]: crate::Store::export
//! [`Store::import`]: crate::Store::import

mod format;
mod journal;
mod read;
mod write;

pub use format::ImportError;
pub(crate) use journal::Call;
