//! What can be wrong with a request, and the POSIX name that says so on the wire.

use thiserror::Error;
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdError};

use crate::path::PathError;

/// A request that was refused. The store is as it was before, and the connection goes on.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// The payload does not have the form that its type demands.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The path breaks the protocol's rules.
    #[error("path {path:?}: {reason}")]
    Path {
        /// The path as given; of a long one, the beginning.
        path: String,
        /// The rule that it breaks.
        reason: PathError,
    },
    /// No such node.
    #[error("no such node")]
    NotFound,
    /// A transaction that was never started, or has ended.
    #[error("no transaction {0}")]
    NoTransaction(u32),
    /// A watch that is not set.
    #[error("no such watch")]
    NoWatch,
    /// A domain that the store does not serve.
    #[error("domain {0} is not introduced")]
    NotIntroduced(DomId),
    /// The caller lacks the right.
    #[error("permission denied")]
    Denied,
    /// An unprivileged caller tried to give a node away.
    #[error("only the control domain may change a node's owner")]
    OwnerChange,
    /// The same watch is set already.
    #[error("the watch is set already")]
    WatchExists,
    /// A transaction inside a transaction.
    #[error("transactions do not nest")]
    Nested,
    /// Somebody else changed, since the transaction's start, what it read or wrote. Try again.
    #[error("the transaction conflicts with a later change; start it again")]
    Conflict,
    /// The transaction was open for so long that the server gave it up.
    #[error("the transaction was open for too long; start it again")]
    TooOld,
    /// A setting that can only be made before the domain is introduced.
    #[error("domain {0} is introduced already")]
    Introduced(DomId),
    /// The store's own books are wrong (CONTROL `check`).
    #[error("the store is damaged")]
    Damaged,
    /// The reply does not fit into a message; of a directory, ask for parts.
    #[error("the reply is longer than {XENSTORE_PAYLOAD_MAX} bytes")]
    ReplyTooLong,
    /// A message type that no server, or only a client, handles.
    #[error("request type {0} is not known")]
    Unsupported(u32),
    /// A CONTROL command that this server does not have.
    #[error("no such control command")]
    UnknownControl,
    /// The guest has used up what it may use.
    #[error("quota exceeded: {0}")]
    Quota(Quota),
}

/// What a guest can run out of; the figures are in [`Limits`](crate::Limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Quota {
    /// Nodes that it owns.
    #[error("nodes owned")]
    Nodes,
    /// Bytes in one value.
    #[error("size of a node's value")]
    NodeSize,
    /// Entries in one node's permissions.
    #[error("permissions of a node")]
    Permissions,
    /// Watches that are set.
    #[error("watches")]
    Watches,
    /// Transactions that are open.
    #[error("open transactions")]
    Transactions,
    /// Nodes that one transaction has touched.
    #[error("nodes touched by a transaction")]
    TransactionNodes,
    /// Bytes held for it altogether.
    #[error("memory")]
    Memory,
}

impl Error {
    /// The name for the wire. `xenstored` written in C gives the same ones.
    pub fn errno(&self) -> XsdError {
        match self {
            Error::Malformed(_) | Error::Path { .. } | Error::UnknownControl => XsdError::Einval,
            Error::NotFound | Error::NoTransaction(_) | Error::NoWatch | Error::NotIntroduced(_) => {
                XsdError::Enoent
            }
            Error::Denied => XsdError::Eacces,
            Error::OwnerChange => XsdError::Eperm,
            Error::WatchExists => XsdError::Eexist,
            Error::Nested | Error::Introduced(_) => XsdError::Ebusy,
            Error::Damaged => XsdError::Eio,
            Error::Conflict | Error::TooOld => XsdError::Eagain,
            Error::ReplyTooLong | Error::Quota(Quota::Watches) => XsdError::E2big,
            Error::Unsupported(_) => XsdError::Enosys,
            Error::Quota(
                Quota::Nodes
                | Quota::NodeSize
                | Quota::Permissions
                | Quota::Transactions
                | Quota::TransactionNodes
                | Quota::Memory,
            ) => XsdError::Enospc,
        }
    }

    /// A path's error, with as much of the path as is good to print.
    pub(crate) fn path(path: &[u8], reason: PathError) -> Error {
        const SHOWN: usize = 80;
        let shown = &path[..path.len().min(SHOWN)];
        Error::Path { path: String::from_utf8_lossy(shown).into_owned(), reason }
    }
}

/// A peer that cannot be served any longer: the byte stream's framing is lost. Drop it
/// ([`Store::disconnect`](crate::Store::disconnect)) and, on a ring, set the error field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Broken {
    /// A header announces more payload than the protocol allows.
    #[error("a message of {0} bytes was announced; the protocol's limit is {XENSTORE_PAYLOAD_MAX}")]
    PayloadTooLong(u32),
    /// More was fed than the connection wants: the driver did not heed
    /// [`wants_input`](crate::Store::wants_input).
    #[error("{0} bytes of requests are waiting although no more were asked for")]
    Overrun(usize),
    /// The connection does not exist, or no longer.
    #[error("no such connection")]
    NoConnection,
}
