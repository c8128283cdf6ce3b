//! Xen's own words for the numbers that cross its interfaces, as types.

use core::fmt;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Bytes in a page, and in every shared ring page: Xen on ARM always speaks of 4 KiB pages, whatever
/// the guest's own page size is (`xen/include/public/arch-arm.h`).
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A domain's number, `domid_t`. Usable numbers are below 0x7FF0; what is above has a special
    /// meaning (`xen/include/public/xen.h`).
    DomId(u16)
);
number!(
    /// A guest frame number: a guest's physical address shifted right by [`PAGE_SHIFT`].
    Gfn(u64)
);
number!(
    /// An event channel's number inside one domain, `evtchn_port_t`. 0 is never valid.
    EvtchnPort(u32)
);
number!(
    /// An index into one domain's grant table, `grant_ref_t`.
    GrantRef(u32)
);

impl DomId {
    /// The control domain.
    pub const DOM0: DomId = DomId(0);
    /// "The calling domain", `DOMID_SELF`.
    pub const SELF: DomId = DomId(0x7FF0);
    /// "No domain", `DOMID_INVALID`.
    pub const INVALID: DomId = DomId(0x7FF4);
    /// "Any domain", `DOMID_ANY`; in a XenStore node's permissions, whoever has no entry before it.
    pub const ANY: DomId = DomId(0x7FF5);
    /// The first number that names no ordinary domain, `DOMID_FIRST_RESERVED`.
    pub const FIRST_RESERVED: DomId = DomId(0x7FF0);
}

impl Gfn {
    /// The guest physical address of the frame's first byte.
    pub const fn address(self) -> u64 {
        self.0 << PAGE_SHIFT
    }
}
