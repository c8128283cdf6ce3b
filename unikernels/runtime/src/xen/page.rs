//! Pages that another domain or Xen reads and writes at any time.
//!
//! No reference into such a page ever exists except to atomics; everything else is copied in or out,
//! so that what has been checked cannot change afterwards.
#![allow(unsafe_code)]

use alloc::alloc::{Layout, alloc, handle_alloc_error};
use alloc::vec::Vec;
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use xen_sys::grant_table::GrantEntryV1;
use xen_sys::io::netif::{GsoInfo, RxRequest, RxResponse, TxRequest, TxResponse};
use xen_sys::{Gfn, PAGE_SIZE};

use crate::arch::mmu::{self, Memory};

/// A shared page. Pages are never given back: what is shared once stays so while the guest lives.
#[derive(Debug)]
pub struct SharedPage(NonNull<u8>);

// SAFETY: all access is atomic, volatile, or a copy between fences; the page outlives every thread.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

/// Structs that may be copied to and from shared pages.
///
/// # Safety
/// The type has no padding, and every bit pattern is a value.
pub unsafe trait Shared: Copy {}

// SAFETY: integers only, and their sizes are asserted in xen-sys.
unsafe impl Shared for TxRequest {}
// SAFETY: as above.
unsafe impl Shared for TxResponse {}
// SAFETY: as above.
unsafe impl Shared for RxRequest {}
// SAFETY: as above.
unsafe impl Shared for RxResponse {}
// SAFETY: as above.
unsafe impl Shared for GsoInfo {}
// SAFETY: as above.
unsafe impl Shared for GrantEntryV1 {}

impl SharedPage {
    /// A fresh page of zeros from the heap.
    pub fn allocate() -> Self {
        let mut pages = Self::allocate_buffers(1);
        let page = pages.remove(0);
        page.write(0, &[0; PAGE_SIZE]);
        page
    }

    /// Pages from the heap, next to each other. They hold whatever that memory held before.
    pub fn allocate_buffers(count: usize) -> Vec<Self> {
        let size = count * PAGE_SIZE;
        let layout = Layout::from_size_align(size, PAGE_SIZE).expect("far fewer pages than RAM has");
        assert!(size > 0, "no pages to allocate");
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the offsets are inside the allocation.
        (0..count).map(|page| SharedPage(unsafe { start.add(page * PAGE_SIZE) })).collect()
    }

    /// The page that another party has placed at `frame`.
    ///
    /// # Safety
    /// There is a page, it is not this guest's RAM, and it stays there.
    pub unsafe fn at(frame: Gfn) -> Self {
        mmu::map(frame.address(), PAGE_SIZE as u64, Memory::Shared);
        SharedPage(NonNull::new(frame.address() as *mut u8).expect("frame 0 is no shared page"))
    }

    /// The page's number. Addresses are not translated, so that it is the address without its last bits.
    pub fn frame(&self) -> Gfn {
        Gfn(self.0.addr().get() as u64 / PAGE_SIZE as u64)
    }

    fn place<T>(&self, offset: usize, count: usize) -> *mut T {
        let fits = size_of::<T>()
            .checked_mul(count)
            .and_then(|size| size.checked_add(offset))
            .is_some_and(|end| end <= PAGE_SIZE);
        assert!(fits && offset.is_multiple_of(align_of::<T>()), "{count} items at {offset:#x}");
        self.0.as_ptr().wrapping_add(offset).cast()
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: `place` checks bounds; the page lives as long as `self`; only atomics refer to it.
        unsafe { AtomicU8::from_ptr(self.place(offset, 1)) }
    }

    /// The 32-bit word at `offset`.
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `place` checks bounds and alignment; the page lives as long as `self`; only atomics
        // refer to it.
        unsafe { AtomicU32::from_ptr(self.place(offset, 1)) }
    }

    /// The 64-bit word at `offset`.
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `place` checks bounds and alignment; the page lives as long as `self`; only atomics
        // refer to it.
        unsafe { AtomicU64::from_ptr(self.place(offset, 1)) }
    }

    /// Copies a struct out. Order against other accesses is the caller's, by fences.
    pub fn get<T: Shared>(&self, offset: usize) -> T {
        // SAFETY: `place` checks bounds and alignment; any bits are a `T`.
        unsafe { ptr::read_volatile(self.place(offset, 1)) }
    }

    /// Copies a struct in. Order against other accesses is the caller's, by fences.
    pub fn put<T: Shared>(&self, offset: usize, value: T) {
        // SAFETY: `place` checks bounds and alignment.
        unsafe { ptr::write_volatile(self.place(offset, 1), value) }
    }

    /// Copies bytes out, after everything that was read before.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.place::<u8>(offset, bytes.len());
        fence(Ordering::Acquire);
        // SAFETY: `place` checks bounds; `bytes` is this guest's own. The fences keep the compiler from
        // reading the page a second time in place of the copy.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        fence(Ordering::AcqRel);
    }

    /// Copies bytes in, before everything that is written afterwards.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.place::<u8>(offset, bytes.len());
        // SAFETY: `place` checks bounds; `bytes` is this guest's own.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        fence(Ordering::Release);
    }
}
