//! The shared ring of most paravirtual devices (`xen/include/public/io/ring.h`).
//!
//! One page: this header, then a power of two of equal entries, each of which holds a request and later
//! a response. Indexes run freely and wrap at 2^32; an entry's place is its index modulo the count.
//!
//! Producing: write the entries, write barrier, write `*_prod`, full barrier, read the other side's
//! `*_event`; notify when the event index lies among the entries just published
//! (`new - event < new - old` in wrapping arithmetic). Before sleeping the consumer sets `*_event` to
//! one past its consumer index, full barrier, and looks once more.

use core::mem::{offset_of, size_of};

use crate::PAGE_SIZE;

/// What precedes the entries.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RingHeader {
    /// Requests published by the front end.
    pub req_prod: u32,
    /// The back end wants to be notified when `req_prod` passes this.
    pub req_event: u32,
    /// Responses published by the back end.
    pub rsp_prod: u32,
    /// The front end wants to be notified when `rsp_prod` passes this.
    pub rsp_event: u32,
    /// Private to the back ends of some devices; zero at the start.
    pub private: [u8; 4],
    /// Zero.
    pub pad: [u8; 44],
}

/// Entries of `entry_size` bytes that a page holds: the largest power of two that fits.
pub const fn entries(entry_size: usize) -> u32 {
    let fitting = ((PAGE_SIZE - size_of::<RingHeader>()) / entry_size) as u32;
    1 << fitting.ilog2()
}

/// Whether the side that asked to be woken at `event` must be notified once its peer's producer index
/// has gone from `old` to `new`.
pub const fn must_notify(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

const _: () = {
    assert!(size_of::<RingHeader>() == 64);
    assert!(offset_of!(RingHeader, req_event) == 4);
    assert!(offset_of!(RingHeader, rsp_prod) == 8);
    assert!(offset_of!(RingHeader, rsp_event) == 12);
    assert!(offset_of!(RingHeader, pad) == 20);
    assert!(entries(12) == 256);
    assert!(must_notify(0, 1, 1));
    assert!(!must_notify(1, 2, 1));
    assert!(must_notify(u32::MAX, 1, 0));
};
