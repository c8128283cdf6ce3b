//! A XenStore server without I/O.
//!
//! XenStore is the tree of small values through which a Xen host's domains find each other: toolstack,
//! kernels and drivers write keys, watch for keys to change, and so agree on devices, rings and states.
//! This crate is the whole server but for its connections to the world. It does no I/O, knows only the
//! time that it is told ([`Store::advance`]) and starts no threads: bytes go in ([`Store::receive`]),
//! bytes come out ([`Store::output`]). A driver carries them to and from the rings of domains
//! ([`Store::connect`]) and the sockets of tools ([`Store::connect_socket`]). The toolstack itself, in
//! the same process, uses [`Store::commit`], [`Store::read`] and [`Store::watch`] and no wire protocol.
//!
//! The specification is `docs/misc/xenstore.txt` of Xen 4.22, which has all of 4.17's; where it leaves
//! something open, this does as the `xenstored` written in C does. Left out are soft quotas, and those
//! commands of CONTROL that are about a process: live update, log files, memory reports.
//!
//! ```
//! use xen_sys::DomId;
//! use xenstore::{Access, Change, Limits, Perms, Store};
//!
//! let mut store = Store::new(Limits::default());
//! let guest_reads = Perms::new(DomId::DOM0, Access::None).with(DomId(5), Access::Read);
//! store.commit(&[
//!     Change::mkdir("/local/domain/5").with_perms(guest_reads),
//!     Change::write("/local/domain/5/name", "www"),
//! ])?;
//! store.introduce(DomId(5));
//!
//! let guest = store.connect(DomId(5));
//! // READ, request 1, no transaction, 5 bytes of payload.
//! let mut request = [2_u32, 1, 0, 5].map(u32::to_ne_bytes).concat();
//! request.extend(b"name\0");
//! store.receive(guest, &request)?;
//! assert_eq!(store.output(guest)[16..], *b"www");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it is made
//! - the tree has immutable nodes that share what they can, so that a transaction's snapshot is a
//!   pointer, and an unchanged subtree is told by its pointer;
//! - transactions remember what they read and wrote, and conflict only with changes of just that;
//! - watches are looked up by path;
//! - a guest is bounded in everything it can make the store hold ([`Limits`]), and a guest that does not
//!   read its ring is not listened to any further;
//! - a guest that spoils others' transactions, or changes things without end, is not listened to for a
//!   while;
//! - all of the state can be written down and taken up by another process ([`Store::export`],
//!   [`Store::import`]), at any moment if the calls since are written down too
//!   ([`Store::start_journal`], [`Store::replay`]).

mod account;
mod children;
mod connection;
mod domain;
mod error;
mod event;
mod merge;
mod notify;
mod ops;
mod pace;
mod path;
mod perms;
mod quota;
mod requests;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod toolstack;
mod transaction;
mod tree;
mod watch;
mod wire;

pub use connection::{ConnId, ConnKind};
pub use domain::DriverRequest;
pub use error::{Broken, Error, Quota};
pub use event::Event;
pub use path::PathError;
pub use perms::{Access, Perm, Perms};
pub use quota::Limits;
pub use state::ImportError;
pub use store::{Progress, Store, WatchSpec};
pub use toolstack::Change;
pub use watch::Subscription;
