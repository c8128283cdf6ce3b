//! What goes back to a client.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

/// How a response begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Here it is.
    Ok,
    /// That is all.
    NoContent,
    /// Here are the parts that were asked for.
    PartialContent,
    /// It is somewhere else.
    MovedPermanently,
    /// The client has it.
    NotModified,
    /// The request breaks the protocol.
    BadRequest,
    /// There is no such file.
    NotFound,
    /// Nothing can be done with a file but read it.
    MethodNotAllowed,
    /// The client took too long.
    RequestTimeout,
    /// It is another one than the client wants.
    PreconditionFailed,
    /// The target is longer than any file's.
    UriTooLong,
    /// The file ends before.
    RangeNotSatisfiable,
    /// More header fields than anybody needs.
    HeaderFieldsTooLarge,
    /// A method, or a transfer coding, that nobody has heard of.
    NotImplemented,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported,
}

impl Status {
    /// Code and phrase (RFC 9110, section 15; RFC 6585 for 431).
    pub const fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::NoContent => "204 No Content",
            Status::PartialContent => "206 Partial Content",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The code.
    pub fn code(self) -> u16 {
        let digits = self.line().bytes().take(3);
        digits.fold(0, |code, digit| 10 * code + u16::from(digit - b'0'))
    }

    /// Whether there is no content by definition, and so no length of it.
    const fn is_without_content(self) -> bool {
        matches!(self, Status::NoContent | Status::NotModified)
    }
}

/// Bytes to be sent: made for this response, or somewhere in memory for longer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece<'s> {
    /// Made for it.
    Owned(Vec<u8>),
    /// A file's.
    Borrowed(&'s [u8]),
}

impl Piece<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Borrowed(bytes) => bytes,
        }
    }
}

/// What a response says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    /// It ends.
    Close,
    /// It goes on, as ever in HTTP/1.1.
    Persistent,
    /// It goes on, which a client of HTTP/1.0 has to be told.
    KeepAlive,
}

/// A response, but for its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response<'s> {
    /// What it begins with.
    pub status: Status,
    fields: String,
    content: Vec<Piece<'s>>,
}

impl<'s> Response<'s> {
    /// One without content.
    pub fn new(status: Status) -> Self {
        Response { status, fields: String::new(), content: Vec::new() }
    }

    /// A line of text that says what the status is, for people. Nobody may keep it.
    pub fn plain(status: Status) -> Self {
        let mut response = Response::new(status);
        if matches!(status, Status::NoContent | Status::MethodNotAllowed) {
            response = response.field("Allow", "GET, HEAD, OPTIONS");
        }
        if status.is_without_content() {
            return response;
        }
        response.field("Cache-Control", "no-store").text("text/plain", &format!("{}\n", status.line()))
    }

    /// With another status.
    #[must_use]
    pub fn with(self, status: Status) -> Self {
        Response { status, ..self }
    }

    /// With a header field; `value` has no control characters.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl fmt::Display) -> Self {
        // Writing to a string never fails.
        let _ = write!(self.fields, "{name}: {value}\r\n");
        self
    }

    /// With text as its content, in UTF-8.
    #[must_use]
    pub fn text(self, media_type: &str, text: &str) -> Self {
        let response = self.field("Content-Type", format_args!("{media_type}; charset=utf-8"));
        response.content(vec![Piece::Owned(text.as_bytes().to_vec())])
    }

    /// With this as its content, instead of what it has had.
    #[must_use]
    pub fn content(mut self, pieces: Vec<Piece<'s>>) -> Self {
        self.content = pieces;
        self
    }

    /// All that is to be sent. To HEAD it is the same without the content.
    pub fn into_pieces(self, is_head: bool, connection: Connection) -> Vec<Piece<'s>> {
        let Response { status, fields, mut content } = self;
        let mut head = format!("HTTP/1.1 {}\r\n{fields}", status.line());
        if !status.is_without_content() {
            let length: usize = content.iter().map(|piece| piece.bytes().len()).sum();
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str(match connection {
            Connection::Close => "Connection: close\r\n\r\n",
            Connection::Persistent => "\r\n",
            Connection::KeepAlive => "Connection: keep-alive\r\n\r\n",
        });
        if is_head {
            content.clear();
        }
        content.insert(0, Piece::Owned(head.into_bytes()));
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(response: Response<'_>, is_head: bool, connection: Connection) -> String {
        let pieces = response.into_pieces(is_head, connection);
        String::from_utf8(pieces.iter().flat_map(|piece| piece.bytes()).copied().collect()).unwrap()
    }

    #[test]
    fn responses_say_how_long_they_are() {
        let response = Response::plain(Status::MethodNotAllowed);
        let whole = sent(response.clone(), false, Connection::Persistent);
        assert_eq!(
            whole,
            "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 23\r\n\r\n405 Method Not Allowed\n"
        );
        assert_eq!(sent(response, true, Connection::Persistent) + "405 Method Not Allowed\n", whole);
        let pieces = vec![Piece::Borrowed(b"ab"), Piece::Owned(b"c".to_vec())];
        let whole = sent(Response::new(Status::Ok).content(pieces), false, Connection::Close);
        assert_eq!(whole, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    }

    #[test]
    fn some_have_no_length() {
        for status in [Status::NotModified, Status::NoContent] {
            let sent = sent(Response::plain(status), false, Connection::KeepAlive);
            assert!(!sent.contains("Content-"), "{sent}");
            assert!(sent.ends_with("\r\nConnection: keep-alive\r\n\r\n"), "{sent}");
        }
        assert_eq!((Status::NotModified.code(), Status::VersionNotSupported.code()), (304, 505));
    }
}
