//! The wire protocol: framing, and the forms that payloads take.
//!
//! A peer sends requests as one byte stream, each a 16-byte header (type, request id, transaction id,
//! payload length) and up to 4096 bytes of payload, most of it strings that end in a nul:
//!
//! ```text
//! READ    7  0  18   /local/domain/0/x\0          →   READ    7  0  5   value
//! WRITE   8  0  9    name\0demo                   →   WRITE   8  0  3   OK\0
//! WATCH   9  0  10   device\0t0\0                 →   WATCH   9  0  3   OK\0
//!                                                     WATCH_EVENT 0 0 10  device\0t0\0
//! READ   10  0  6    gone\0                       →   ERROR  10  0  7   ENOENT\0
//! ```
//!
//! Replies repeat type and ids; watch events come unasked, with both ids 0. A header that announces
//! more than 4096 bytes ends the connection, because the stream cannot be followed beyond it. All
//! other mistakes get an ERROR reply.

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg};

use crate::error::{Broken, Error};

/// Requests that have come in and are not handled yet, cut at message boundaries.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Where the first unhandled message starts.
    start: usize,
    /// Where the first header that is not checked yet starts; may lie beyond the end.
    checked: usize,
}

impl Inbox {
    /// Takes what came in. Headers are checked here and not when their message's turn comes, so that
    /// handling what waits cannot fail.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.checked -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
        while let Some(header) = self.header(self.checked) {
            if header.len as usize > XENSTORE_PAYLOAD_MAX {
                return Err(Broken::PayloadTooLong(header.len));
            }
            self.checked += XsdSockmsg::SIZE + header.len as usize;
        }
        Ok(())
    }

    /// The next whole message.
    pub fn take(&mut self) -> Option<(XsdSockmsg, &[u8])> {
        let header = self.header(self.start)?;
        let payload = self.start + XsdSockmsg::SIZE;
        let end = payload + header.len as usize;
        let payload = self.bytes.get(payload..end)?;
        self.start = end;
        Some((header, payload))
    }

    /// Whether a whole message waits.
    pub fn has_message(&self) -> bool {
        self.checked > self.start
            && self
                .header(self.start)
                .is_some_and(|header| self.bytes.len() - self.start >= XsdSockmsg::SIZE + header.len as usize)
    }

    /// All that waits.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn header(&self, at: usize) -> Option<XsdSockmsg> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(XsdSockmsg::from_bytes(bytes))
    }
}

/// The nul-terminated strings of a payload; bytes after the last nul are none.
pub(crate) fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split_inclusive(|&byte| byte == 0).filter_map(|string| string.strip_suffix(&[0]))
}

/// The single string that is the whole payload.
pub(crate) fn one_string<'p>(payload: &'p [u8], what: &'static str) -> Result<&'p [u8], Error> {
    match payload.split_last() {
        Some((0, string)) if !string.contains(&0) => Ok(string),
        _ => Err(Error::Malformed(what)),
    }
}

/// The first `N` strings of a payload.
pub(crate) fn first_strings<'p, const N: usize>(
    payload: &'p [u8],
    what: &'static str,
) -> Result<[&'p [u8]; N], Error> {
    let mut found = strings(payload);
    let mut all = [&[][..]; N];
    for place in &mut all {
        *place = found.next().ok_or(Error::Malformed(what))?;
    }
    Ok(all)
}

/// A decimal number without sign.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A domain's number: decimal, and not one of Xen's special values.
pub(crate) fn domid(text: &[u8]) -> Option<DomId> {
    let domid = DomId(u16::try_from(number(text)?).ok()?);
    (domid < DomId::FIRST_RESERVED).then_some(domid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32, payload: &[u8]) -> Vec<u8> {
        let header = XsdSockmsg { kind: 2, req_id: 3, tx_id: 4, len };
        [&header.to_bytes()[..], payload].concat()
    }

    #[test]
    fn messages_may_come_in_any_pieces() {
        let stream = [message(3, b"/a\0"), message(0, b""), message(5, b"/abc\0")].concat();
        for size in 1..=stream.len() {
            let mut inbox = Inbox::default();
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                inbox.push(piece).unwrap();
                while inbox.has_message() {
                    let (header, payload) = inbox.take().unwrap();
                    assert_eq!((header.kind, header.req_id, header.tx_id), (2, 3, 4));
                    got.push(payload.to_vec());
                }
                assert!(inbox.take().is_none());
            }
            assert_eq!(got, [&b"/a\0"[..], b"", b"/abc\0"], "pieces of {size}");
            assert_eq!(inbox.len(), 0);
        }
    }

    #[test]
    fn an_overlong_announcement_is_noticed_at_once() {
        let mut inbox = Inbox::default();
        let mut stream = message(2, b"x\0");
        stream.extend(message(4097, b""));
        assert_eq!(inbox.push(&stream), Err(Broken::PayloadTooLong(4097)));
        assert_eq!(Inbox::default().push(&message(4096, b"")), Ok(()));
    }

    #[test]
    fn payloads_are_taken_apart() {
        assert_eq!(strings(b"a\0\0bc\0rest").collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        assert_eq!(strings(b"").count(), 0);
        assert_eq!(one_string(b"a\0", "x"), Ok(&b"a"[..]));
        for bad in [&b""[..], b"a", b"a\0b\0", b"a\0b"] {
            assert!(one_string(bad, "x").is_err(), "{bad:?}");
        }
        assert_eq!(first_strings(b"a\0b\0c\0", "x"), Ok([&b"a"[..], b"b"]));
        assert!(first_strings::<2>(b"a\0b", "x").is_err());
        assert_eq!(number(b"0042"), Some(42));
        for bad in [&b""[..], b"-1", b"+1", b"1 ", b"99999999999"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!(domid(b"32751"), Some(DomId(32751)));
        assert_eq!(domid(b"32752"), None);
    }
}
