//! Lending pages to other domains. Version 1 of the table; grants are never withdrawn.
#![allow(unsafe_code)]

use core::sync::atomic::{Ordering, fence};

use xen_sys::grant_table::{GNTTAB_NR_RESERVED_ENTRIES, GTF_PERMIT_ACCESS, GrantEntryV1};
use xen_sys::memory::XENMAPSPACE_GRANT_TABLE;
use xen_sys::{DomId, Gfn, GrantRef, PAGE_SIZE};

use crate::xen::hypercall::{self, HypercallError};
use crate::xen::page::SharedPage;

const ENTRY_SIZE: usize = size_of::<GrantEntryV1>();
/// One page of the table is plenty: 512 entries, 2 MiB of pages to lend.
const ENTRIES: u32 = (PAGE_SIZE / ENTRY_SIZE) as u32;

/// This guest's grant table.
#[derive(Debug)]
pub struct GrantTable {
    page: SharedPage,
    next: u32,
}

impl GrantTable {
    /// Maps the table's first page at `frame`.
    ///
    /// # Safety
    /// There is no RAM at `frame`.
    ///
    /// # Errors
    /// Xen refuses to map it.
    pub unsafe fn map(frame: Gfn) -> Result<Self, HypercallError> {
        // SAFETY: the caller vouches that nothing is at the frame.
        unsafe { hypercall::add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, frame)? };
        // SAFETY: Xen has just put the page there, and leaves it.
        let page = unsafe { SharedPage::at(frame) };
        Ok(GrantTable { page, next: GNTTAB_NR_RESERVED_ENTRIES })
    }

    /// Lets `domain` read and write a page, from now on.
    ///
    /// # Panics
    /// More pages are lent than the table's first page has entries for (504).
    pub fn share(&mut self, page: &SharedPage, domain: DomId) -> GrantRef {
        assert!(self.next < ENTRIES, "the grant table is full");
        let reference = GrantRef(self.next);
        self.next += 1;
        let frame = u32::try_from(page.frame().0).expect("guest frames have 20 bits");
        let offset = reference.0 as usize * ENTRY_SIZE;
        let mut entry = GrantEntryV1 { flags: 0, domid: domain, frame };
        self.page.put(offset, entry);
        // Xen may look as soon as the flags are set, so that the rest must be there before.
        fence(Ordering::Release);
        entry.flags = GTF_PERMIT_ACCESS;
        self.page.put(offset, entry);
        reference
    }
}
