//! One side of a XenStore ring page (`xen/include/public/io/xs_wire.h`, `docs/misc/xenstore-ring.txt`).
//!
//! ```text
//!      0  requests, 1 KiB     written by the guest, up to req_prod; we move req_cons
//!   1024  responses, 1 KiB    written by us, up to rsp_prod; the guest moves rsp_cons
//!   2048  req_cons req_prod rsp_cons rsp_prod server_features connection error
//! ```
//! Indices run freely and are taken modulo the ring's size. The guest may write anything anywhere at any
//! time: an index is loaded once and checked before it is used.

use std::mem::offset_of;

use xen_sys::io::xs_wire::{
    XENSTORE_CONNECTED, XENSTORE_RECONNECT, XENSTORE_RING_SIZE, XenstoreDomainInterface,
};

use xenstore::Progress;

use crate::xen::SharedPages;

const SIZE: u32 = XENSTORE_RING_SIZE as u32;
const REQ: usize = offset_of!(XenstoreDomainInterface, req);
const RSP: usize = offset_of!(XenstoreDomainInterface, rsp);
const REQ_CONS: usize = offset_of!(XenstoreDomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreDomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreDomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreDomainInterface, rsp_prod);

/// Indices that are further apart than the ring is long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("XenStore ring: {what} indices {producer:#x} and {consumer:#x} are over {SIZE} apart")]
pub struct BadIndices {
    what: &'static str,
    producer: u32,
    consumer: u32,
}

impl BadIndices {
    /// Of two indices that are too far apart.
    pub fn new(what: &'static str, producer: u32, consumer: u32) -> Self {
        BadIndices { what, producer, consumer }
    }
}

const SERVER_FEATURES: usize = offset_of!(XenstoreDomainInterface, server_features);
const CONNECTION: usize = offset_of!(XenstoreDomainInterface, connection);
const ERROR: usize = offset_of!(XenstoreDomainInterface, error);

/// The server's side of a ring.
#[derive(Debug)]
pub struct Ring(SharedPages);

impl Ring {
    /// Takes the page, with whatever lies in it, and says what the server can do (`XENSTORE_SERVER_FEATURE_` bits).
    pub fn new(page: SharedPages, features: u32) -> Self {
        page.store(SERVER_FEATURES, features);
        Ring(page)
    }

    /// How many bytes of requests have left the ring, and of responses have been put in, modulo 2^32.
    pub fn progress(&self) -> Progress {
        Progress { received: self.0.load(REQ_CONS).into(), sent: self.0.load(RSP_PROD).into() }
    }

    /// Whether the guest wants to begin anew, as a kernel does that another one has started. It leaves the ring
    /// alone until [`Self::reconnect`].
    pub fn wants_reconnection(&self) -> bool {
        self.0.load(CONNECTION) == XENSTORE_RECONNECT
    }

    /// Empties the ring and hands it back to the guest.
    pub fn reconnect(&self) {
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            self.0.store(index, 0);
        }
        self.0.store(CONNECTION, XENSTORE_CONNECTED);
    }

    /// Whether the guest wants nothing, neither to be heard nor to begin anew, and has not made nonsense of the answers'
    /// indices.
    pub fn is_quiet(&self) -> bool {
        let unread = self.0.load(RSP_PROD).wrapping_sub(self.0.load(RSP_CONS));
        self.0.load(REQ_CONS) == self.0.load(REQ_PROD) && unread <= SIZE && !self.wants_reconnection()
    }

    /// Copies the waiting request bytes into `buffer` and returns them; they stay in the ring until
    /// [`Self::consume`].
    pub fn requests<'a>(&self, buffer: &'a mut [u8; SIZE as usize]) -> Result<&'a [u8], BadIndices> {
        let (consumer, producer) = (self.0.load(REQ_CONS), self.0.load(REQ_PROD));
        let length = used("request", producer, consumer)?;
        let bytes = &mut buffer[..length as usize];
        let start = consumer % SIZE;
        let first = length.min(SIZE - start) as usize;
        self.0.read(REQ + start as usize, &mut bytes[..first]);
        self.0.read(REQ, &mut bytes[first..]);
        Ok(bytes)
    }

    /// Gives the room of `length` request bytes back.
    pub fn consume(&self, length: usize) {
        self.0.store(REQ_CONS, self.0.load(REQ_CONS).wrapping_add(length as u32));
    }

    /// Tells the guest why it is not served any more, by one of the `XENSTORE_ERROR_` numbers.
    pub fn refuse(&self, error: u32) {
        self.0.store(ERROR, error);
    }

    /// Copies as much of `bytes` as there is room for; returns how many.
    pub fn respond(&self, bytes: &[u8]) -> Result<usize, BadIndices> {
        let (consumer, producer) = (self.0.load(RSP_CONS), self.0.load(RSP_PROD));
        let room = SIZE - used("response", producer, consumer)?;
        let length = bytes.len().min(room as usize);
        let start = producer % SIZE;
        let (first, rest) = bytes[..length].split_at(length.min((SIZE - start) as usize));
        self.0.write(RSP + start as usize, first);
        self.0.write(RSP, rest);
        self.0.store(RSP_PROD, producer.wrapping_add(length as u32));
        Ok(length)
    }
}

fn used(what: &'static str, producer: u32, consumer: u32) -> Result<u32, BadIndices> {
    let used = producer.wrapping_sub(consumer);
    if used <= SIZE { Ok(used) } else { Err(BadIndices { what, producer, consumer }) }
}

/// The guest's side, and mischief, for tests.
#[cfg(test)]
impl Ring {
    pub(super) fn ask(page: &SharedPages, bytes: &[u8]) {
        let producer = page.load(REQ_PROD);
        for (i, byte) in bytes.iter().enumerate() {
            page.write(REQ + (producer as usize + i) % SIZE as usize, &[*byte]);
        }
        page.store(REQ_PROD, producer.wrapping_add(bytes.len() as u32));
    }

    pub(super) fn answers(page: &SharedPages) -> Vec<u8> {
        let (consumer, producer) = (page.load(RSP_CONS), page.load(RSP_PROD));
        let mut bytes = vec![0; producer.wrapping_sub(consumer) as usize];
        for (i, byte) in bytes.iter_mut().enumerate() {
            page.read(RSP + (consumer as usize + i) % SIZE as usize, std::slice::from_mut(byte));
        }
        page.store(RSP_CONS, producer);
        bytes
    }

    pub(super) fn pretend(&self, received: u32, sent: u32) {
        self.0.store(REQ_CONS, self.0.load(REQ_CONS).wrapping_add(received));
        self.0.store(RSP_PROD, self.0.load(RSP_PROD).wrapping_add(sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(req_cons: u32, req_prod: u32, rsp_cons: u32, rsp_prod: u32) -> Ring {
        let page = SharedPages::private(1).expect("a page");
        for (at, value) in
            [(REQ_CONS, req_cons), (REQ_PROD, req_prod), (RSP_CONS, rsp_cons), (RSP_PROD, rsp_prod)]
        {
            page.store(at, value);
        }
        Ring::new(page, 0)
    }

    #[test]
    fn requests_are_read_around_the_end_of_the_ring() {
        let ring = ring(u32::MAX - 1, 2, 0, 0);
        ring.0.write(REQ + 1022, b"ab");
        ring.0.write(REQ, b"cd");
        let mut buffer = [0; 1024];
        assert_eq!(ring.requests(&mut buffer), Ok(&b"abcd"[..]));
        ring.consume(3);
        assert_eq!(ring.requests(&mut buffer), Ok(&b"d"[..]));
    }

    #[test]
    fn responses_fill_what_room_there_is() {
        let ring = ring(0, 0, 10, 1030);
        assert_eq!(ring.respond(b"123456"), Ok(4));
        let mut tail = [0; 4];
        ring.0.read(RSP + 6, &mut tail);
        assert_eq!(&tail, b"1234");
        assert_eq!(ring.respond(b"56"), Ok(0));
    }

    #[test]
    fn a_ring_is_empty_after_a_reconnection() {
        let ring = ring(5, 9, 7, 8);
        assert!(!ring.wants_reconnection());
        ring.0.store(CONNECTION, XENSTORE_RECONNECT);
        assert!(ring.wants_reconnection());
        ring.reconnect();
        assert!(!ring.wants_reconnection());
        assert_eq!(ring.requests(&mut [0; 1024]), Ok(&b""[..]));
        assert_eq!(ring.respond(&[1; 1024]), Ok(1024));
    }

    #[test]
    fn indices_that_cannot_be_are_refused() {
        let mut buffer = [0; 1024];
        assert!(ring(0, 1025, 0, 0).requests(&mut buffer).is_err());
        assert!(ring(1, 0, 0, 0).requests(&mut buffer).is_err());
        assert!(ring(0, 0, 7, 5).respond(b"x").is_err());
    }
}
