//! The console ring (`xen/include/public/io/console.h`).
//!
//! Indexes run freely and wrap at 2^32; a byte's place is its index modulo the buffer's size. Bytes are
//! written before the producer index, with a write barrier between; the other side's index is read
//! before the bytes.

use core::mem::{offset_of, size_of};

/// Size of [`XenconsInterface::input`] in bytes.
pub const IN_SIZE: usize = 1024;
/// Size of [`XenconsInterface::output`] in bytes.
pub const OUT_SIZE: usize = 2048;

/// [`XenconsInterface::connection`]: both sides use the ring.
pub const XENCONSOLE_CONNECTED: u8 = 0;
/// [`XenconsInterface::connection`]: the back end is gone; the guest shall reconnect.
pub const XENCONSOLE_DISCONNECTED: u8 = 1;

/// `struct xencons_interface`, at the start of its page.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct XenconsInterface {
    /// Towards the guest.
    pub input: [u8; IN_SIZE],
    /// From the guest.
    pub output: [u8; OUT_SIZE],
    /// Next byte of `input` that the guest reads.
    pub in_cons: u32,
    /// Next byte of `input` that the back end writes.
    pub in_prod: u32,
    /// Next byte of `output` that the back end reads.
    pub out_cons: u32,
    /// Next byte of `output` that the guest writes.
    pub out_prod: u32,
    /// `XENCONSOLE_*`, since Xen 4.21; zero before.
    pub connection: u8,
}

const _: () = {
    assert!(offset_of!(XenconsInterface, output) == 1024);
    assert!(offset_of!(XenconsInterface, in_cons) == 3072);
    assert!(offset_of!(XenconsInterface, in_prod) == 3076);
    assert!(offset_of!(XenconsInterface, out_cons) == 3080);
    assert!(offset_of!(XenconsInterface, out_prod) == 3084);
    assert!(offset_of!(XenconsInterface, connection) == 3088);
    assert!(size_of::<XenconsInterface>() == 3092);
};
