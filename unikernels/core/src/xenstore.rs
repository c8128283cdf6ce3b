//! The client's side of the XenStore protocol (`docs/misc/xenstore.txt`, `xen/include/public/io/xs_wire.h`).
//!
//! Every message is a 16-byte header (type, request id, transaction id, length; four words in
//! the machine's byte order) and a payload of at most 4096 bytes. Replies carry the request's id and may be awaited in
//! any order, so that many requests can be under way at once; watch events come in between. This module
//! turns requests into bytes and bytes into replies and events; the ring is the runtime's.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg, XsdSockmsgType};

/// Watch events kept before the guest looks at them. Further ones are dropped: the guest has not looked at
/// the earlier ones yet, and will read what it watches when it does.
const MAX_EVENTS: usize = 64;

/// A transaction's number; 0 is "none".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionId(u32);

impl TransactionId {
    /// Outside any transaction.
    pub const NONE: TransactionId = TransactionId(0);
}

/// Names one request until its reply has been taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId(u32);

/// What can be asked. Paths without a leading slash are relative to the guest's own directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Names of a node's children.
    Directory(&'a str),
    /// A node's value.
    Read(&'a str),
    /// Sets a node's value, making it if need be.
    Write(&'a str, &'a [u8]),
    /// Removes a node and what is below it.
    Rm(&'a str),
    /// Asks for an event, carrying the token, at once and whenever the node or something below it changes.
    Watch(&'a str, &'a str),
    /// Ends a watch.
    Unwatch(&'a str, &'a str),
    /// Begins a transaction.
    TransactionStart,
    /// Ends it: `true` commits, `false` forgets.
    TransactionEnd(bool),
}

/// Something below a watched path has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// What changed.
    pub path: String,
    /// As given when the watch was set.
    pub token: String,
}

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum XsError {
    /// The store refused; the error's name as it sends it, such as `ENOENT`.
    Refused(String),
    /// A reply that should be text is not UTF-8, or a number is none.
    BadValue,
}

impl XsError {
    /// Whether the store said `ENOENT`.
    pub fn is_not_found(&self) -> bool {
        matches!(self, XsError::Refused(name) if name == "ENOENT")
    }

    /// Whether the store said `EAGAIN`: the transaction collided and must be done again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, XsError::Refused(name) if name == "EAGAIN")
    }
}

impl fmt::Display for XsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XsError::Refused(name) => write!(f, "XenStore refused: {name}"),
            XsError::BadValue => f.write_str("XenStore holds a value that makes no sense"),
        }
    }
}

/// The store broke the protocol; nothing on the connection can be believed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// A message announces more than 4096 bytes.
    TooLong(u32),
    /// A watch event is not two texts that end in NUL.
    BadEvent,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::TooLong(len) => write!(f, "XenStore announced a message of {len} bytes"),
            ProtocolError::BadEvent => f.write_str("XenStore sent a malformed watch event"),
        }
    }
}

/// One connection's state: bytes to send, bytes received so far, replies and events not yet taken.
#[derive(Debug, Default)]
pub struct Client {
    next_id: u32,
    output: VecDeque<u8>,
    input: Vec<u8>,
    awaited: Vec<u32>,
    replies: Vec<(u32, Result<Vec<u8>, XsError>)>,
    events: VecDeque<WatchEvent>,
}

impl Client {
    /// A connection on which nothing has been said.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a request. Its reply waits for [`Client::take_reply`].
    pub fn request(&mut self, transaction: TransactionId, request: Request<'_>) -> RequestId {
        let id = self.queue(transaction, request);
        self.awaited.push(id);
        RequestId(id)
    }

    /// Queues a request whose outcome does not matter; its reply is dropped.
    pub fn post(&mut self, request: Request<'_>) {
        self.queue(TransactionId::NONE, request);
    }

    fn queue(&mut self, transaction: TransactionId, request: Request<'_>) -> u32 {
        use XsdSockmsgType as Type;
        let (kind, parts): (_, [&[u8]; 4]) = match request {
            Request::Directory(path) => (Type::Directory, [path.as_bytes(), b"\0", b"", b""]),
            Request::Read(path) => (Type::Read, [path.as_bytes(), b"\0", b"", b""]),
            Request::Write(path, value) => (Type::Write, [path.as_bytes(), b"\0", value, b""]),
            Request::Rm(path) => (Type::Rm, [path.as_bytes(), b"\0", b"", b""]),
            Request::Watch(path, token) => (Type::Watch, [path.as_bytes(), b"\0", token.as_bytes(), b"\0"]),
            Request::Unwatch(path, token) => {
                (Type::Unwatch, [path.as_bytes(), b"\0", token.as_bytes(), b"\0"])
            }
            Request::TransactionStart => (Type::TransactionStart, [b"\0", b"", b"", b""]),
            Request::TransactionEnd(true) => (Type::TransactionEnd, [b"T\0", b"", b"", b""]),
            Request::TransactionEnd(false) => (Type::TransactionEnd, [b"F\0", b"", b"", b""]),
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(length <= XENSTORE_PAYLOAD_MAX, "XenStore request of {length} bytes");

        self.next_id = self.next_id.wrapping_add(1);
        let header =
            XsdSockmsg { kind: kind as u32, req_id: self.next_id, tx_id: transaction.0, len: length as u32 };
        self.output.extend(header.to_bytes());
        for part in parts {
            self.output.extend(part);
        }
        self.next_id
    }

    /// Bytes that wait to be sent, first piece first.
    pub fn output(&self) -> &[u8] {
        let (first, second) = self.output.as_slices();
        if first.is_empty() { second } else { first }
    }

    /// Says that the first `count` bytes of [`Client::output`] have been sent.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// Takes received bytes, cut anywhere.
    ///
    /// # Errors
    /// The store broke the protocol.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.input.extend_from_slice(bytes);
        let mut done = 0;
        while let Some((header, rest)) = self.input[done..].split_first_chunk() {
            let header = XsdSockmsg::from_bytes(header);
            if header.len as usize > XENSTORE_PAYLOAD_MAX {
                return Err(ProtocolError::TooLong(header.len));
            }
            let Some(payload) = rest.get(..header.len as usize) else {
                break;
            };
            done += XsdSockmsg::SIZE + payload.len();
            let kind = XsdSockmsgType::from_wire(header.kind);
            let id = header.req_id;
            if kind == Some(XsdSockmsgType::WatchEvent) {
                let event = watch_event(payload).ok_or(ProtocolError::BadEvent)?;
                if self.events.len() < MAX_EVENTS {
                    self.events.push_back(event);
                }
            } else if let Some(position) = self.awaited.iter().position(|awaited| *awaited == id) {
                self.awaited.swap_remove(position);
                let reply = if kind == Some(XsdSockmsgType::Error) {
                    Err(XsError::Refused(text(payload).unwrap_or_default()))
                } else {
                    Ok(payload.to_vec())
                };
                self.replies.push((id, reply));
            }
        }
        self.input.drain(..done);
        Ok(())
    }

    /// The reply to a request, once it is there. Each is given out once.
    pub fn take_reply(&mut self, id: RequestId) -> Option<Result<Vec<u8>, XsError>> {
        let position = self.replies.iter().position(|(of, _)| *of == id.0)?;
        Some(self.replies.swap_remove(position).1)
    }

    /// The oldest watch event.
    pub fn take_event(&mut self) -> Option<WatchEvent> {
        self.events.pop_front()
    }
}

/// The transaction that a reply to [`Request::TransactionStart`] names.
///
/// # Errors
/// The reply is not a number other than 0.
pub fn transaction_id(reply: &[u8]) -> Result<TransactionId, XsError> {
    match text(reply).and_then(|digits| digits.parse().ok()) {
        None | Some(0) => Err(XsError::BadValue),
        Some(id) => Ok(TransactionId(id)),
    }
}

/// The names in a reply to [`Request::Directory`], each of which ends in NUL.
///
/// # Errors
/// A name is not UTF-8.
pub fn directory(reply: &[u8]) -> Result<Vec<String>, XsError> {
    reply
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| text(name).ok_or(XsError::BadValue))
        .collect()
}

/// A payload as text, without the NUL that some end in.
pub fn text(payload: &[u8]) -> Option<String> {
    let payload = payload.strip_suffix(b"\0").unwrap_or(payload);
    core::str::from_utf8(payload).ok().map(String::from)
}

fn watch_event(payload: &[u8]) -> Option<WatchEvent> {
    let mut parts = payload.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    let event = WatchEvent { path: text(parts.next()?)?, token: text(parts.next()?)? };
    parts.next().is_none().then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: XsdSockmsgType, id: u32, payload: &[u8]) -> Vec<u8> {
        let header = XsdSockmsg { kind: kind as u32, req_id: id, tx_id: 0, len: payload.len() as u32 };
        [&header.to_bytes(), payload].concat()
    }

    fn sent(client: &mut Client) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !client.output().is_empty() {
            bytes.extend(client.output());
            client.sent(client.output().len());
        }
        bytes
    }

    #[test]
    fn requests_are_framed() {
        let mut client = Client::new();
        client.request(TransactionId::NONE, Request::Write("data/ready", b"12"));
        assert_eq!(sent(&mut client), message(XsdSockmsgType::Write, 1, b"data/ready\x0012"));
        client.request(TransactionId::NONE, Request::Watch("control/shutdown", "s"));
        assert_eq!(sent(&mut client), message(XsdSockmsgType::Watch, 2, b"control/shutdown\0s\0"));
        client.request(TransactionId::NONE, Request::TransactionStart);
        assert_eq!(sent(&mut client), message(XsdSockmsgType::TransactionStart, 3, b"\0"));
    }

    #[test]
    fn replies_come_in_any_order_and_in_pieces() {
        let mut client = Client::new();
        let name = client.request(TransactionId::NONE, Request::Read("name"));
        client.post(Request::Write("data/x", b""));
        let none = client.request(TransactionId::NONE, Request::Read("none"));
        let mut stream = message(XsdSockmsgType::Error, 3, b"ENOENT\0");
        stream.extend(message(XsdSockmsgType::WatchEvent, 0, b"control/shutdown\0s\0"));
        stream.extend(message(XsdSockmsgType::Write, 2, b"OK\0"));
        stream.extend(message(XsdSockmsgType::Read, 1, b"www"));
        for byte in stream {
            assert_eq!(client.take_reply(name), None);
            client.receive(&[byte]).unwrap();
        }
        assert_eq!(client.take_reply(name), Some(Ok(b"www".to_vec())));
        assert_eq!(client.take_reply(name), None);
        assert!(client.take_reply(none).unwrap().unwrap_err().is_not_found());
        assert!(client.replies.is_empty() && client.awaited.is_empty());
        let event = WatchEvent { path: "control/shutdown".into(), token: "s".into() };
        assert_eq!(client.take_event(), Some(event));
        assert_eq!(client.take_event(), None);
    }

    #[test]
    fn the_queue_of_events_is_bounded() {
        let mut client = Client::new();
        for index in 0..1000 {
            let payload = format!("path{index}\0t\0");
            let event = message(XsdSockmsgType::WatchEvent, 0, payload.as_bytes());
            client.receive(&event).unwrap();
        }
        assert_eq!(client.events.len(), MAX_EVENTS);
    }

    #[test]
    fn a_broken_protocol_is_an_error() {
        let mut client = Client::new();
        let mut long = message(XsdSockmsgType::Read, 1, b"");
        long[12..].copy_from_slice(&4097u32.to_le_bytes());
        assert_eq!(client.receive(&long), Err(ProtocolError::TooLong(4097)));
        for payload in [&b""[..], b"path\0", b"path\0token", b"a\0b\0c\0"] {
            let event = message(XsdSockmsgType::WatchEvent, 0, payload);
            assert_eq!(Client::new().receive(&event), Err(ProtocolError::BadEvent));
        }
    }

    #[test]
    fn payloads_are_understood() {
        assert_eq!(transaction_id(b"17\0"), Ok(TransactionId(17)));
        assert_eq!(transaction_id(b"0\0"), Err(XsError::BadValue));
        assert_eq!(directory(b"a\0bc\0").unwrap(), ["a", "bc"]);
        assert!(directory(b"").unwrap().is_empty());
    }
}
