//! One page by HTTP/1.0, with the moments that a timeline needs and that no HTTP library tells.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection, or one piece of a page, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest page that is read, in bytes.
const MAX_PAGE: u64 = 1 << 20;

/// What a server sent, and when.
#[derive(Debug)]
pub struct Page {
    /// The status line's number.
    pub code: u16,
    /// The page without its head.
    pub body: String,
    /// When the connection was asked for.
    pub connecting: Instant,
    /// When the first byte of the reply was read.
    pub first_byte: Instant,
}

/// Fetches `path` from `server` as `host`.
///
/// # Errors
/// When there is no connection, or what comes over it is not HTTP.
pub fn get(server: SocketAddr, host: &str, path: &str) -> Result<Page> {
    let fetch = || -> Result<Page> {
        let connecting = Instant::now();
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut reply = vec![0; 4096];
        let length = stream.read(&mut reply)?;
        let first_byte = Instant::now();
        reply.truncate(length);
        if length == 0 {
            bail!("the connection ended before a reply");
        }
        stream.take(MAX_PAGE).read_to_end(&mut reply)?;
        let (code, body) = split(&String::from_utf8_lossy(&reply))?;
        Ok(Page { code, body, connecting, first_byte })
    };
    fetch().with_context(|| format!("fetching http://{host}{path} over {server}"))
}

/// Splits a reply into the status line's number and the body.
fn split(reply: &str) -> Result<(u16, String)> {
    let (head, body) = reply.split_once("\r\n\r\n").context("the reply has no end of its head")?;
    let first = head.lines().next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    Ok((code.with_context(|| format!("{first:?} is no HTTP status line"))?, body.to_owned()))
}

/// The body of a whole reply with status 200.
///
/// # Errors
/// When it is no HTTP reply, or has another status.
pub fn body_of(reply: &str) -> Result<String> {
    match split(reply)? {
        (200, body) => Ok(body),
        (code, _) => bail!("the reply has status {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_apart() {
        let reply = "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello\r\n\r\nworld";
        assert_eq!(split(reply).unwrap(), (200, "hello\r\n\r\nworld".to_owned()));
        assert_eq!(body_of(reply).unwrap(), "hello\r\n\r\nworld");
        assert!(body_of("HTTP/1.0 503 Busy\r\n\r\n").unwrap_err().to_string().contains("503"));
        for broken in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n"] {
            assert!(split(broken).is_err(), "{broken:?}");
        }
    }
}
