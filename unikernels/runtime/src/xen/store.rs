//! XenStore over this guest's ring.
//!
//! Requests are cheap to queue and dear to wait for: each round trip passes through dom0. So
//! [`XenStore::request`] only queues; [`XenStore::wait`] sends all that is queued and waits for one reply.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use jitsu_rt_core::xenstore::{self, Client};
pub use jitsu_rt_core::xenstore::{Request, RequestId, TransactionId, WatchEvent, XsError};
use xen_sys::EvtchnPort;
use xen_sys::io::xs_wire::{XENSTORE_RING_SIZE, XenstoreDomainInterface};

use crate::xen::event;
use crate::xen::page::SharedPage;

const REQ: usize = offset_of!(XenstoreDomainInterface, req);
const RSP: usize = offset_of!(XenstoreDomainInterface, rsp);
const REQ_CONS: usize = offset_of!(XenstoreDomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreDomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreDomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreDomainInterface, rsp_prod);

/// The connection to the store.
#[derive(Debug)]
pub struct XenStore {
    page: SharedPage,
    port: EvtchnPort,
    client: Client,
}

impl XenStore {
    /// Takes over the ring that the domain builder has made.
    pub fn connect(page: SharedPage, port: EvtchnPort) -> Self {
        event::unmask(port);
        XenStore { page, port, client: Client::new() }
    }

    /// Queues a request outside any transaction.
    pub fn request(&mut self, request: Request<'_>) -> RequestId {
        self.client.request(TransactionId::NONE, request)
    }

    /// Queues a request in a transaction.
    pub fn request_in(&mut self, transaction: TransactionId, request: Request<'_>) -> RequestId {
        self.client.request(transaction, request)
    }

    /// Queues a request whose outcome does not matter.
    pub fn post(&mut self, request: Request<'_>) {
        self.client.post(request);
    }

    /// Sends what is queued, as far as the ring has room, and takes what has come. Does not wait.
    ///
    /// # Panics
    /// The store broke the protocol: the guest cannot go on without it.
    pub fn poll(&mut self) {
        let sent = self.send();
        let received = self.receive();
        if sent || received {
            event::notify(self.port);
        }
    }

    /// Moves bytes to the ring; says whether the store must hear of it.
    fn send(&mut self) -> bool {
        let before = self.page.u32(REQ_PROD).load(Ordering::Relaxed);
        let mut producer = before;
        loop {
            let consumer = self.page.u32(REQ_CONS).load(Ordering::Acquire);
            let used = producer.wrapping_sub(consumer) as usize;
            assert!(used <= XENSTORE_RING_SIZE, "XenStore's request ring has impossible indexes");
            // The store is done with the free places: its index was read before.
            fence(Ordering::SeqCst);
            let place = producer as usize % XENSTORE_RING_SIZE;
            let room = (XENSTORE_RING_SIZE - used).min(XENSTORE_RING_SIZE - place);
            let bytes = self.client.output();
            let count = bytes.len().min(room);
            if count == 0 {
                return producer != before;
            }
            self.page.write(REQ + place, &bytes[..count]);
            self.client.sent(count);
            producer = producer.wrapping_add(count as u32);
            self.page.u32(REQ_PROD).store(producer, Ordering::Release);
        }
    }

    /// Takes bytes from the ring; says whether the store must hear of the new room.
    fn receive(&mut self) -> bool {
        let mut was_full = false;
        let mut consumer = self.page.u32(RSP_CONS).load(Ordering::Relaxed);
        loop {
            let producer = self.page.u32(RSP_PROD).load(Ordering::Acquire);
            let used = producer.wrapping_sub(consumer) as usize;
            assert!(used <= XENSTORE_RING_SIZE, "XenStore's reply ring has impossible indexes");
            if used == 0 {
                return was_full;
            }
            was_full |= used == XENSTORE_RING_SIZE;
            let place = consumer as usize % XENSTORE_RING_SIZE;
            let mut bytes = [0; XENSTORE_RING_SIZE];
            let bytes = &mut bytes[..used.min(XENSTORE_RING_SIZE - place)];
            self.page.read(RSP + place, bytes);
            consumer = consumer.wrapping_add(bytes.len() as u32);
            self.page.u32(RSP_CONS).store(consumer, Ordering::SeqCst);
            if let Err(error) = self.client.receive(bytes) {
                panic!("{error}");
            }
        }
    }

    /// The reply to a request, if it is there. Does not look at the ring: [`XenStore::poll`] does.
    pub fn take_reply(&mut self, id: RequestId) -> Option<Result<Vec<u8>, XsError>> {
        self.client.take_reply(id)
    }

    /// The oldest watch event. Does not look at the ring: [`XenStore::poll`] does.
    pub fn take_event(&mut self) -> Option<WatchEvent> {
        self.client.take_event()
    }

    /// Waits for the reply to a request.
    ///
    /// # Errors
    /// The store refused.
    pub fn wait(&mut self, id: RequestId) -> Result<Vec<u8>, XsError> {
        loop {
            self.poll();
            if let Some(reply) = self.take_reply(id) {
                return reply;
            }
            event::wait(None);
        }
    }

    /// Waits for a reply that is text.
    ///
    /// # Errors
    /// The store refused, or the value is not UTF-8.
    pub fn wait_text(&mut self, id: RequestId) -> Result<String, XsError> {
        xenstore::text(&self.wait(id)?).ok_or(XsError::BadValue)
    }

    /// Waits for a reply that is a decimal number.
    ///
    /// # Errors
    /// The store refused, or the value is no such number.
    pub fn wait_number<T: core::str::FromStr>(&mut self, id: RequestId) -> Result<T, XsError> {
        self.wait_text(id)?.parse().map_err(|_| XsError::BadValue)
    }

    /// Waits for the names in a reply to [`Request::Directory`].
    ///
    /// # Errors
    /// The store refused, or a name is not UTF-8.
    pub fn wait_names(&mut self, id: RequestId) -> Result<Vec<String>, XsError> {
        xenstore::directory(&self.wait(id)?)
    }

    /// Does `body` in a transaction, again for as long as others get in between.
    ///
    /// # Errors
    /// What `body` returns, after which nothing is changed; or the store refused to begin or to commit.
    pub fn transaction<R>(
        &mut self,
        mut body: impl FnMut(&mut Self, TransactionId) -> Result<R, XsError>,
    ) -> Result<R, XsError> {
        loop {
            let start = self.request(Request::TransactionStart);
            let transaction = xenstore::transaction_id(&self.wait(start)?)?;
            let result = body(self, transaction);
            let end = self.request_in(transaction, Request::TransactionEnd(result.is_ok()));
            match self.wait(end) {
                Err(error) if error.is_conflict() && result.is_ok() => {}
                Err(error) if result.is_ok() => return Err(error),
                _ => return result,
            }
        }
    }
}
