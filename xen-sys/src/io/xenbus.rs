//! The states of a paravirtual device's two ends, written in decimal to their `state` keys in XenStore
//! (`xen/include/public/io/xenbus.h`).

use core::fmt;

/// `enum xenbus_state`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum XenbusState {
    /// No such key, or nothing that makes sense.
    Unknown = 0,
    /// Made by the toolstack.
    Initialising = 1,
    /// The back end waits for the front end.
    InitWait = 2,
    /// The front end has published its rings.
    Initialised = 3,
    /// In use.
    Connected = 4,
    /// One end is closing.
    Closing = 5,
    /// One end has closed.
    Closed = 6,
    /// Being changed.
    Reconfiguring = 7,
    /// Has been changed.
    Reconfigured = 8,
}

impl XenbusState {
    /// The state in a `state` key. Anything that is no state is [`XenbusState::Unknown`].
    pub const fn parse(value: &[u8]) -> XenbusState {
        match value {
            b"1" => Self::Initialising,
            b"2" => Self::InitWait,
            b"3" => Self::Initialised,
            b"4" => Self::Connected,
            b"5" => Self::Closing,
            b"6" => Self::Closed,
            b"7" => Self::Reconfiguring,
            b"8" => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// What the `state` key holds.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }
}

impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
