//! A page by HTTP/1.0, whose end is the end of the connection.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::now;

/// Longest page that is read, in bytes.
const MAX_PAGE: u64 = 1 << 20;

/// When the steps of a request were taken, in nanoseconds of `CLOCK_MONOTONIC`, and what it brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The connection was asked for.
    pub syn_sent_ns: u64,
    /// It was established.
    pub connected_ns: u64,
    /// The first bytes were read.
    pub first_byte_ns: u64,
    /// The end was read.
    pub done_ns: u64,
    /// Head and page.
    pub reply: Vec<u8>,
}

/// Fetches `/` from `server`, each step within `patience`.
///
/// # Errors
/// Which step failed, or that the reply is not one with status 200.
pub fn get(server: SocketAddrV4, patience: Duration) -> Result<Page> {
    let syn_sent_ns = now()?;
    let mut stream = TcpStream::connect_timeout(&server.into(), patience)
        .with_context(|| format!("connecting to {server}"))?;
    let connected_ns = now()?;
    stream.set_read_timeout(Some(patience))?;
    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", server.ip());
    stream.write_all(request.as_bytes()).with_context(|| format!("asking {server} for its page"))?;
    let mut reply = vec![0; 4096];
    let first = stream.read(&mut reply).with_context(|| format!("waiting for the page of {server}"))?;
    let first_byte_ns = now()?;
    reply.truncate(first);
    if first > 0 {
        stream.take(MAX_PAGE).read_to_end(&mut reply).with_context(|| format!("reading from {server}"))?;
    }
    let status = reply.get(..12).unwrap_or(&reply);
    ensure!(
        status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"),
        "{server} replied {:?}",
        String::from_utf8_lossy(status)
    );
    Ok(Page { syn_sent_ns, connected_ns, first_byte_ns, done_ns: now()?, reply })
}

/// Bytes of a reply behind its head.
#[must_use]
pub fn body(reply: &[u8]) -> &[u8] {
    let head = reply.windows(4).position(|window| window == b"\r\n\r\n");
    head.map_or(&[], |head| &reply[head + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn served(reply: &'static str) -> Result<Page> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let page = get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), Duration::from_secs(5));
        assert!(server.join().unwrap().starts_with("GET / HTTP/1.0\r\n"));
        page
    }

    #[test]
    fn a_page_is_read_to_its_end_and_its_steps_are_in_order() {
        let page = served("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
        assert_eq!(body(&page.reply), b"hello");
        assert!(page.syn_sent_ns <= page.connected_ns && page.connected_ns <= page.first_byte_ns);
        assert!(page.first_byte_ns <= page.done_ns);
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        assert!(served("HTTP/1.1 503 Busy\r\n\r\n").unwrap_err().to_string().contains("503"));
        assert!(served("").is_err());
        assert!(body(b"no end").is_empty());
    }
}
