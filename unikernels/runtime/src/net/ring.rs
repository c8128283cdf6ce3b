//! The front end's half of a shared ring (`xen-sys`, `io::ring`).

use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{Ordering, fence};

use xen_sys::io::ring::{self, RingHeader};

use crate::xen::page::{Shared, SharedPage};

const REQ_PROD: usize = offset_of!(RingHeader, req_prod);
const REQ_EVENT: usize = offset_of!(RingHeader, req_event);
const RSP_PROD: usize = offset_of!(RingHeader, rsp_prod);
const RSP_EVENT: usize = offset_of!(RingHeader, rsp_event);

/// A ring of requests `Q` and responses `S`, from the side that makes requests.
#[derive(Debug)]
pub struct FrontRing<Q, S> {
    page: SharedPage,
    /// Requests written, not all of them published.
    requests: u32,
    /// Responses taken.
    responses: u32,
    kinds: PhantomData<(Q, S)>,
}

impl<Q: Shared, S: Shared> FrontRing<Q, S> {
    const ENTRY_SIZE: usize = if size_of::<Q>() > size_of::<S>() { size_of::<Q>() } else { size_of::<S>() };
    /// Entries of the ring.
    pub const SIZE: u32 = ring::entries(Self::ENTRY_SIZE);

    /// An empty ring in a page of its own.
    pub fn new() -> Self {
        let page = SharedPage::allocate();
        page.u32(REQ_EVENT).store(1, Ordering::Relaxed);
        page.u32(RSP_EVENT).store(1, Ordering::Relaxed);
        FrontRing { page, requests: 0, responses: 0, kinds: PhantomData }
    }

    /// The page, to be granted to the back end.
    pub fn page(&self) -> &SharedPage {
        &self.page
    }

    fn offset(index: u32) -> usize {
        size_of::<RingHeader>() + (index % Self::SIZE) as usize * Self::ENTRY_SIZE
    }

    /// Writes a request, to be published by [`FrontRing::publish`].
    ///
    /// # Panics
    /// As many requests as the ring has entries are without a response.
    pub fn push(&mut self, request: Q) {
        self.put(request);
    }

    /// Writes what stands in a request's place and says more about the one before.
    ///
    /// # Panics
    /// As [`FrontRing::push`].
    pub fn push_extra<E: Shared>(&mut self, extra: E) {
        const { assert!(size_of::<E>() <= Self::ENTRY_SIZE) };
        self.put(extra);
    }

    fn put<T: Shared>(&mut self, entry: T) {
        assert!(self.requests.wrapping_sub(self.responses) < Self::SIZE, "request ring overflow");
        self.page.put(Self::offset(self.requests), entry);
        self.requests = self.requests.wrapping_add(1);
    }

    /// Publishes what has been pushed; says whether the back end wants to be notified.
    pub fn publish(&mut self) -> bool {
        let old = self.page.u32(REQ_PROD).load(Ordering::Relaxed);
        if old == self.requests {
            return false;
        }
        self.page.u32(REQ_PROD).store(self.requests, Ordering::Release);
        // The back end sees the requests before its event index is read.
        fence(Ordering::SeqCst);
        ring::must_notify(old, self.requests, self.page.u32(REQ_EVENT).load(Ordering::Relaxed))
    }

    /// Whether a response waits.
    ///
    /// # Panics
    /// The back end has published more responses than there were requests.
    pub fn has_response(&self) -> bool {
        let waiting = self.page.u32(RSP_PROD).load(Ordering::Acquire).wrapping_sub(self.responses);
        assert!(
            waiting <= self.requests.wrapping_sub(self.responses),
            "the back end answered more than it was asked"
        );
        waiting > 0
    }

    /// Takes a response, with its index among all responses.
    pub fn pop(&mut self) -> Option<(u32, S)> {
        if !self.has_response() {
            return None;
        }
        let index = self.responses;
        self.responses = index.wrapping_add(1);
        Some((index, self.page.get(Self::offset(index))))
    }

    /// Asks to be notified of the next response; says whether one has come meanwhile.
    pub fn arm(&self) -> bool {
        self.page.u32(RSP_EVENT).store(self.responses.wrapping_add(1), Ordering::Relaxed);
        // The back end sees the event index before the responses are looked at once more.
        fence(Ordering::SeqCst);
        self.has_response()
    }
}
