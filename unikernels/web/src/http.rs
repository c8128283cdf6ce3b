//! As much of HTTP/1.1 (RFC 9112) as one page needs: GET and HEAD, one request a connection.
//!
//! A request is read whole, up to the empty line; a body is never read, because no request here may have
//! one that matters. Every response ends the connection.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of request line and headers that are looked at. More is refused.
pub const MAX_REQUEST: usize = 2048;

/// Headers that are looked at. More are refused.
const MAX_HEADERS: usize = 32;

/// Longest path. More is refused.
const MAX_PATH: usize = 512;

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// Whether it wants headers only.
    pub head: bool,
}

/// How a response begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Here it is.
    Ok,
    /// The request breaks the protocol.
    BadRequest,
    /// There is no such page.
    NotFound,
    /// Neither GET nor HEAD.
    MethodNotAllowed,
    /// The path is longer than any page's.
    UriTooLong,
    /// More headers than anybody needs.
    HeaderFieldsTooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported,
}

impl Status {
    /// Code and phrase (RFC 9110, section 15; RFC 6585 for 431).
    pub const fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::UriTooLong => "414 URI Too Long",
            Status::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Looks at what a connection has received so far.
///
/// `None`: the request is not complete yet.
pub fn parse(received: &[u8]) -> Option<Result<Request, Status>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let outcome = request.parse(received);
    let path_end = request.path.map_or(0, str::len);
    match outcome {
        Ok(httparse::Status::Complete(_)) => Some(accept(&request)),
        // An oversized request is refused for the part of it that is too long.
        Ok(httparse::Status::Partial) if received.len() >= MAX_REQUEST => {
            let long_line = request.path.is_none() || path_end > MAX_PATH;
            Some(Err(if long_line { Status::UriTooLong } else { Status::HeaderFieldsTooLarge }))
        }
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => Some(Err(Status::HeaderFieldsTooLarge)),
        Err(httparse::Error::Version) => Some(Err(Status::VersionNotSupported)),
        Err(_) => Some(Err(Status::BadRequest)),
    }
}

fn accept(request: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Status::BadRequest);
    };
    let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    // RFC 9112, section 3.2: exactly one Host in HTTP/1.1.
    if version == 1 && hosts.count() != 1 {
        return Err(Status::BadRequest);
    }
    let head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    if target.len() > MAX_PATH {
        return Err(Status::UriTooLong);
    }
    // Either "/path?query" or, for proxies, "http://host/path?query" (RFC 9112, section 3.2).
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    if !path.starts_with('/') {
        return Err(Status::BadRequest);
    }
    let path = path.split('?').next().unwrap_or_default();
    Ok(Request { path: String::from(path), head })
}

/// A whole response. A HEAD request gets the same headers as GET would, and no body.
pub fn response(status: Status, content_type: &str, body: &str, head: bool) -> Vec<u8> {
    let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {}\r\n{allow}Content-Type: {content_type}; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        status.line(),
        body.len(),
    );
    if !head {
        response.push_str(body);
    }
    response.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Request {
        Request { path: path.into(), head: false }
    }

    #[test]
    fn requests_are_understood_however_they_are_cut() {
        let whole = b"GET /a?b=c HTTP/1.1\r\nHost: www.jitsu.test\r\nAccept: */*\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(parse(whole), Some(Ok(get("/a"))));
        assert_eq!(parse(b"HEAD / HTTP/1.0\r\n\r\n"), Some(Ok(Request { head: true, ..get("/") })));
        assert_eq!(parse(b"GET http://h HTTP/1.1\r\nhost: h\r\n\r\n"), Some(Ok(get("/"))));
        assert_eq!(parse(b"GET http://h/x HTTP/1.1\r\nhost: h\r\n\r\n"), Some(Ok(get("/x"))));
    }

    #[test]
    fn bad_requests_get_the_protocols_error() {
        for (request, status) in [
            (&b"\0\0\0\0"[..], Status::BadRequest),
            (b"GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            (b"GET x HTTP/1.0\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Status::BadRequest),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Status::MethodNotAllowed),
            (b"GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
        ] {
            assert_eq!(parse(request), Some(Err(status)), "{}", request.escape_ascii());
        }
    }

    #[test]
    fn size_is_bounded() {
        let long = |length: usize| [&b"GET /"[..], &vec![b'a'; length]].concat();
        assert_eq!(parse(&long(MAX_REQUEST)), Some(Err(Status::UriTooLong)));
        let mut whole = long(MAX_PATH);
        whole.extend(b" HTTP/1.0\r\n\r\n");
        assert_eq!(parse(&whole), Some(Err(Status::UriTooLong)));
        let mut many = b"GET / HTTP/1.0\r\n".to_vec();
        many.extend("A: b\r\n".repeat(MAX_HEADERS + 1).bytes());
        assert_eq!(parse(&many), Some(Err(Status::HeaderFieldsTooLarge)));
        let mut large = b"GET / HTTP/1.0\r\nA: ".to_vec();
        large.resize(MAX_REQUEST, b'b');
        assert_eq!(parse(&large), Some(Err(Status::HeaderFieldsTooLarge)));
    }

    #[test]
    fn responses_say_how_long_they_are() {
        let response =
            |head| String::from_utf8(super::response(Status::MethodNotAllowed, "text/plain", "no\n", head));
        let with_body = response(false).unwrap();
        assert!(with_body.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"));
        assert!(with_body.contains("\r\nContent-Length: 3\r\n"));
        assert_eq!(response(true).unwrap() + "no\n", with_body);
    }
}
