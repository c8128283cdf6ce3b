//! The XenStore wire protocol and its ring page (`xen/include/public/io/xs_wire.h`,
//! `docs/misc/xenstore-ring.txt`).
//!
//! What the messages mean is in `docs/misc/xenstore.txt`; the server that implements it is the
//! `xenstore` crate. Numbers cross the interface in the machine's own byte order.

use core::mem::{offset_of, size_of};

/// Most bytes of payload in a message, in either direction (`XENSTORE_PAYLOAD_MAX`).
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;

/// Most bytes in a path that starts with `/` (`XENSTORE_ABS_PATH_MAX`).
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;

/// Most bytes in a path relative to the domain's home (`XENSTORE_REL_PATH_MAX`).
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

/// Bytes in each of the two circular buffers of the ring page (`XENSTORE_RING_SIZE`).
pub const XENSTORE_RING_SIZE: usize = 1024;

/// Server feature: a client may ask for the ring to be reset (`XENSTORE_SERVER_FEATURE_RECONNECTION`).
pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1 << 0;
/// Server feature: the `error` field is in use (`XENSTORE_SERVER_FEATURE_ERROR`).
pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 1 << 1;
/// Server feature: WATCH takes a third parameter that limits its depth (`xenstore-ring.txt`, bit 2).
pub const XENSTORE_SERVER_FEATURE_WATCHDEPTH: u32 = 1 << 2;
/// Server feature: `DOMID_ANY` may stand in a node's permissions (Xen 4.22,
/// `XENSTORE_SERVER_FEATURE_DOMID_ANY`).
pub const XENSTORE_SERVER_FEATURE_DOMID_ANY: u32 = 1 << 3;

/// `connection` field: the steady state.
pub const XENSTORE_CONNECTED: u32 = 0;
/// `connection` field: the client asks for a reset and waits for [`XENSTORE_CONNECTED`].
pub const XENSTORE_RECONNECT: u32 = 1;

/// `error` field: no error.
pub const XENSTORE_ERROR_NONE: u32 = 0;
/// `error` field: the event channel does not work.
pub const XENSTORE_ERROR_COMM: u32 = 1;
/// `error` field: the client's ring indexes make no sense.
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
/// `error` field: a message was longer than [`XENSTORE_PAYLOAD_MAX`].
pub const XENSTORE_ERROR_PROTO: u32 = 3;

/// What a message is (`enum xsd_sockmsg_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
#[allow(missing_docs, reason = "the specification's own names, explained in xenstore.txt")]
pub enum XsdSockmsgType {
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Introduce = 8,
    Release = 9,
    GetDomainPath = 10,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,
    WatchEvent = 15,
    Error = 16,
    IsDomainIntroduced = 17,
    Resume = 18,
    SetTarget = 19,
    // 20 was XS_RESTRICT, which is gone.
    ResetWatches = 21,
    DirectoryPart = 22,
    GetFeature = 23,
    SetFeature = 24,
    GetQuota = 25,
    SetQuota = 26,
}

impl XsdSockmsgType {
    /// The type with this number; `None` for numbers that Xen 4.22 does not know (4.17 ends at 22).
    pub const fn from_wire(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Control,
            1 => Self::Directory,
            2 => Self::Read,
            3 => Self::GetPerms,
            4 => Self::Watch,
            5 => Self::Unwatch,
            6 => Self::TransactionStart,
            7 => Self::TransactionEnd,
            8 => Self::Introduce,
            9 => Self::Release,
            10 => Self::GetDomainPath,
            11 => Self::Write,
            12 => Self::Mkdir,
            13 => Self::Rm,
            14 => Self::SetPerms,
            15 => Self::WatchEvent,
            16 => Self::Error,
            17 => Self::IsDomainIntroduced,
            18 => Self::Resume,
            19 => Self::SetTarget,
            21 => Self::ResetWatches,
            22 => Self::DirectoryPart,
            23 => Self::GetFeature,
            24 => Self::SetFeature,
            25 => Self::GetQuota,
            26 => Self::SetQuota,
            _ => return None,
        })
    }
}

/// The errors that have a name on the wire (`xsd_errors`): an ERROR reply carries the name, not a
/// number, because numbers differ between systems.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "POSIX names")]
pub enum XsdError {
    Einval,
    Eacces,
    Eexist,
    Eisdir,
    Enoent,
    Enomem,
    Enospc,
    Eio,
    Enotempty,
    Enosys,
    Erofs,
    Ebusy,
    Eagain,
    Eisconn,
    E2big,
    Eperm,
}

impl XsdError {
    /// Every error, in the header's order.
    pub const ALL: [Self; 16] = [
        Self::Einval,
        Self::Eacces,
        Self::Eexist,
        Self::Eisdir,
        Self::Enoent,
        Self::Enomem,
        Self::Enospc,
        Self::Eio,
        Self::Enotempty,
        Self::Enosys,
        Self::Erofs,
        Self::Ebusy,
        Self::Eagain,
        Self::Eisconn,
        Self::E2big,
        Self::Eperm,
    ];

    /// The name as it stands on the wire, without its final nul.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Einval => "EINVAL",
            Self::Eacces => "EACCES",
            Self::Eexist => "EEXIST",
            Self::Eisdir => "EISDIR",
            Self::Enoent => "ENOENT",
            Self::Enomem => "ENOMEM",
            Self::Enospc => "ENOSPC",
            Self::Eio => "EIO",
            Self::Enotempty => "ENOTEMPTY",
            Self::Enosys => "ENOSYS",
            Self::Erofs => "EROFS",
            Self::Ebusy => "EBUSY",
            Self::Eagain => "EAGAIN",
            Self::Eisconn => "EISCONN",
            Self::E2big => "E2BIG",
            Self::Eperm => "EPERM",
        }
    }

    /// The error with this name (without a nul).
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.name().as_bytes() == name)
    }
}

/// A message's header (`struct xsd_sockmsg`); `len` bytes of payload follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct XsdSockmsg {
    /// One of [`XsdSockmsgType`], unchecked.
    pub kind: u32,
    /// Chosen by the client, copied into the reply.
    pub req_id: u32,
    /// The transaction; 0 outside of one.
    pub tx_id: u32,
    /// Bytes of payload, at most [`XENSTORE_PAYLOAD_MAX`].
    pub len: u32,
}

impl XsdSockmsg {
    /// Bytes in a header.
    pub const SIZE: usize = size_of::<Self>();

    /// The header as it stands on the wire.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [self.kind, self.req_id, self.tx_id, self.len];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Reads a header from the wire. Nothing is checked.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { kind: word(0), req_id: word(4), tx_id: word(8), len: word(12) }
    }
}

/// The ring page (`struct xenstore_domain_interface`): requests and replies as two byte streams. The
/// indexes run freely modulo 2³² and are reduced modulo [`XENSTORE_RING_SIZE`] at each access.
#[derive(Debug)]
#[repr(C)]
pub struct XenstoreDomainInterface {
    /// Requests to the store.
    pub req: [u8; XENSTORE_RING_SIZE],
    /// Replies and watch events.
    pub rsp: [u8; XENSTORE_RING_SIZE],
    /// Next byte of `req` that the store reads.
    pub req_cons: u32,
    /// Next byte of `req` that the client writes.
    pub req_prod: u32,
    /// Next byte of `rsp` that the client reads.
    pub rsp_cons: u32,
    /// Next byte of `rsp` that the store writes.
    pub rsp_prod: u32,
    /// `XENSTORE_SERVER_FEATURE_*`, written by the store only.
    pub server_features: u32,
    /// [`XENSTORE_CONNECTED`] or [`XENSTORE_RECONNECT`].
    pub connection: u32,
    /// `XENSTORE_ERROR_*`, written by the store only.
    pub error: u32,
}

const _: () = {
    assert!(size_of::<XsdSockmsg>() == 16);
    assert!(offset_of!(XsdSockmsg, req_id) == 4);
    assert!(offset_of!(XsdSockmsg, tx_id) == 8);
    assert!(offset_of!(XsdSockmsg, len) == 12);
    assert!(size_of::<XenstoreDomainInterface>() == 2076);
    assert!(offset_of!(XenstoreDomainInterface, rsp) == 1024);
    assert!(offset_of!(XenstoreDomainInterface, req_cons) == 2048);
    assert!(offset_of!(XenstoreDomainInterface, req_prod) == 2052);
    assert!(offset_of!(XenstoreDomainInterface, rsp_cons) == 2056);
    assert!(offset_of!(XenstoreDomainInterface, rsp_prod) == 2060);
    assert!(offset_of!(XenstoreDomainInterface, server_features) == 2064);
    assert!(offset_of!(XenstoreDomainInterface, connection) == 2068);
    assert!(offset_of!(XenstoreDomainInterface, error) == 2072);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_agree() {
        for number in 0..64 {
            if let Some(kind) = XsdSockmsgType::from_wire(number) {
                assert_eq!(kind as u32, number);
            }
        }
        assert_eq!(XsdSockmsgType::from_wire(20), None);
        assert_eq!(XsdSockmsgType::from_wire(27), None);
        assert_eq!(XsdSockmsgType::from_wire(0xffff), None);
    }

    #[test]
    fn header_survives_the_wire() {
        let header = XsdSockmsg { kind: 2, req_id: 0x0102_0304, tx_id: u32::MAX, len: 4096 };
        assert_eq!(XsdSockmsg::from_bytes(&header.to_bytes()), header);
    }

    #[test]
    fn every_error_is_found_by_its_name() {
        for error in XsdError::ALL {
            assert_eq!(XsdError::from_name(error.name().as_bytes()), Some(error));
        }
        assert_eq!(XsdError::from_name(b"ENOTHING"), None);
    }
}
