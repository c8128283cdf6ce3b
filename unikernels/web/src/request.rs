//! Requests as they come from a connection (RFC 9112).
//!
//! A request is looked at when all of its head has come, up to the empty line. Whether there is a body is only found out so
//! that nobody takes it for the next request.

use httparse::Header;

use crate::fields;
use crate::response::Status;
use crate::target::{self, Path};

/// Bytes of request line and header fields that are looked at. More is refused.
pub const MAX_HEAD: usize = 8192;

/// Longest target. RFC 9112, section 3: 8000 bytes at the least for a request line.
pub const MAX_TARGET: usize = 8000;

/// Header fields that are looked at. More are refused.
pub const MAX_FIELDS: usize = 64;

/// Room for a request's header fields.
pub type Fields<'a> = [Header<'a>; MAX_FIELDS];

/// The room, empty.
pub const NO_FIELDS: Fields<'static> = [httparse::EMPTY_HEADER; MAX_FIELDS];

/// What a connection has brought so far.
#[derive(Debug)]
pub enum Received<'h, 'b> {
    /// No whole request yet.
    Incomplete,
    /// One, and maybe more behind it.
    Message(Message<'h, 'b>),
    /// Nothing that one could find the end of.
    Refused(Status),
}

/// The head of a request.
#[derive(Debug)]
pub struct Message<'h, 'b> {
    /// Bytes of it.
    pub length: usize,
    /// Whether another request may follow.
    pub persists: bool,
    /// Whether its sender speaks HTTP/1.0, and has to be told that the connection persists.
    pub is_old: bool,
    /// Whether the response must have no body.
    pub is_head: bool,
    /// What is asked for, or the answer.
    pub request: Result<Request<'h, 'b>, Status>,
}

/// A request for a file, by GET or HEAD.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// Where the target leads.
    pub path: Path,
    /// What is behind its question mark.
    pub query: Option<&'b str>,
    /// Whether it is HEAD.
    pub is_head: bool,
    fields: &'h [Header<'b>],
}

impl<'h, 'b> Request<'h, 'b> {
    /// Every value of a header field; one that is not UTF-8 is `\u{fffd}`.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'b str> + use<'h, 'b> {
        values(self.fields, name)
    }

    /// The value of a field that a request has once; `None` also if it has more.
    pub fn value(&self, name: &'static str) -> Option<&'b str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &'static str) -> bool {
        self.values(name).next().is_some()
    }
}

fn values<'h, 'b>(
    fields: &'h [Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b str> + use<'h, 'b> {
    let named = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| core::str::from_utf8(field.value).unwrap_or("\u{fffd}"))
}

/// Looks at what a connection has received so far, [`MAX_HEAD`] bytes at most.
///
/// The verdict on a part is that on the whole, unless it is [`Received::Incomplete`].
pub fn parse<'h, 'b>(received: &'b [u8], room: &'h mut Fields<'b>) -> Received<'h, 'b> {
    let mut request = httparse::Request::new(room);
    match request.parse(received) {
        Ok(httparse::Status::Complete(length)) => {
            let httparse::Request { method, path, version, headers } = request;
            let (Some(method), Some(target), Some(version)) = (method, path, version) else {
                return Received::Refused(Status::BadRequest);
            };
            message(length, method, target, version == 0, headers)
        }
        Ok(httparse::Status::Partial) if received.len() >= MAX_HEAD => {
            let long = request.path.is_none_or(|target| target.len() > MAX_TARGET);
            Received::Refused(if long { Status::UriTooLong } else { Status::HeaderFieldsTooLarge })
        }
        Ok(httparse::Status::Partial) => Received::Incomplete,
        Err(httparse::Error::TooManyHeaders) => Received::Refused(Status::HeaderFieldsTooLarge),
        Err(httparse::Error::Version) => Received::Refused(other_version(received)),
        Err(_) => Received::Refused(Status::BadRequest),
    }
}

/// What to say to a request line that ends in neither `HTTP/1.0` nor `HTTP/1.1`.
fn other_version(received: &[u8]) -> Status {
    let mut lines = received.split(|byte| *byte == b'\n');
    let line = lines.find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let version = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([b'0'..=b'9', ..]) => Status::VersionNotSupported,
        _ => Status::BadRequest,
    }
}

fn message<'h, 'b>(
    length: usize,
    method: &str,
    target: &'b str,
    is_old: bool,
    fields: &'h [Header<'b>],
) -> Received<'h, 'b> {
    let has_body = match has_body(is_old, fields) {
        Ok(has_body) => has_body,
        Err(status) => return Received::Refused(status),
    };
    let mut hosts = values(fields, "host");
    let host = hosts.next();
    // RFC 9112, section 3.2: exactly one in HTTP/1.1, and it must be a host.
    if hosts.next().is_some() || host.is_none() && !is_old || !host.is_none_or(is_host) {
        return Received::Refused(Status::BadRequest);
    }
    let says = |option: &str| {
        values(fields, "connection").flat_map(fields::list).any(|said| said.eq_ignore_ascii_case(option))
    };
    let persists = !has_body && !says("close") && (!is_old || says("keep-alive"));
    let is_head = method == "HEAD";
    let request = match method {
        "GET" | "HEAD" if target.len() > MAX_TARGET => Err(Status::UriTooLong),
        "GET" | "HEAD" => target::parse(target).map(|(path, query)| Request { path, query, is_head, fields }),
        "OPTIONS" => Err(Status::NoContent),
        "POST" | "PUT" | "DELETE" | "PATCH" | "TRACE" | "CONNECT" => Err(Status::MethodNotAllowed),
        _ => Err(Status::NotImplemented),
    };
    Received::Message(Message { length, persists, is_old, is_head, request })
}

/// Whether a body follows (RFC 9112, section 6.3).
///
/// # Errors
/// 400 where the two ways to say so contradict each other or make no sense, 501 for a coding other than `chunked`.
fn has_body(is_old: bool, fields: &[Header<'_>]) -> Result<bool, Status> {
    let mut codings = values(fields, "transfer-encoding");
    let mut lengths = values(fields, "content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(false),
        (Some(coding), None) => {
            if is_old || codings.next().is_some() {
                return Err(Status::BadRequest);
            }
            if coding.eq_ignore_ascii_case("chunked") { Ok(true) } else { Err(Status::NotImplemented) }
        }
        (None, Some(length)) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || lengths.any(|other| other != length) {
                return Err(Status::BadRequest);
            }
            Ok(length.bytes().any(|digit| digit != b'0'))
        }
        (Some(_), Some(_)) => Err(Status::BadRequest),
    }
}

/// Whether it could be a host, and maybe a port (RFC 9110, section 7.2). It may be empty.
fn is_host(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
}

#[cfg(test)]
mod tests;
