//! Requests that nobody should send, made by a seed: each is one whose answer is known, changed in what does not matter, or
//! one that is changed anywhere; and sent in pieces.

use super::connect;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// How many.
const COUNT: u32 = 2000;

/// Always the same ones.
const SEED: u64 = 20_261_126;

/// Requests and what they are answered with; `FIELDS` stands for header fields that do not matter.
const REQUESTS: [(&str, u16); 36] = [
    ("GET / HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 200),
    ("HEAD / HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 200),
    ("GET /empty HTTP/1.0\r\nFIELDS\r\n", 200),
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 200),
    ("GET http://other/ HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 200),
    ("GET /./folder/../ HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 200),
    ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nFIELDS\r\nabc", 200),
    ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nFIELDS\r\n3\r\nabc\r\n0\r\n\r\n", 200),
    ("GET /folder HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 301),
    ("GET /nothing HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 404),
    ("GET //evil.example/ HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 404),
    ("GET /%2e%2e%2f%2e%2e%2fetc HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 404),
    ("GET /%00 HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 404),
    ("GET /%0d%0aX-Evil:1 HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 404),
    ("GET /% HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 400),
    ("GET /%zz HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 400),
    ("GET nothing HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : h\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\n folded: yes\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\n: empty\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\nFIELDS\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\nFIELDS\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nFIELDS\r\n", 400),
    ("GET /\r\n\r\n", 400),
    ("GET / HTTQ/1.1\r\nHost: h\r\nFIELDS\r\n", 400),
    ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nFIELDS\r\n", 405),
    ("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nFIELDS\r\nsome body", 405),
    ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nFIELDS\r\n", 405),
    ("BREW /pot HTTP/1.1\r\nHost: h\r\nFIELDS\r\n", 501),
    ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nFIELDS\r\n", 501),
    ("GET / HTTP/2.0\r\nHost: h\r\nFIELDS\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
];

/// What an answer to a request that was changed anywhere may be.
const CODES: [u16; 15] = [200, 204, 206, 301, 304, 400, 404, 405, 408, 412, 414, 416, 431, 501, 505];

/// Sends all of them; returns how many got which answer.
///
/// # Errors
/// The first one that is answered otherwise, or not at all.
pub fn run(server: SocketAddr, not_found: &[u8]) -> Result<String> {
    let mut random = Random(SEED);
    let mut counts = BTreeMap::<u16, u32>::new();
    let mut unanswered = 0;
    for number in 0..COUNT {
        let (request, code) = REQUESTS[random.below(REQUESTS.len())];
        let mut bytes = request.replace("FIELDS", &fields(&mut random)).into_bytes();
        let code = if number % 2 == 0 { Some(code) } else { damage(&mut bytes, &mut random) };
        let all = exchange(server, &bytes, &mut random)
            .with_context(|| format!("request {number}: {}", bytes.escape_ascii()))?;
        let said = || format!("request {number}: {}\nanswer: {}", bytes.escape_ascii(), all.escape_ascii());
        let heads = bytes.windows(4).any(|word| word == b"HEAD");
        let replies = taken_apart(&all, heads).with_context(said)?;
        if let Some(code) = code {
            ensure!(replies.first().is_some_and(|reply| reply.0 == code), "wanted {code}\n{}", said());
        }
        for (code, body) in &replies {
            ensure!(CODES.contains(code), "{code}\n{}", said());
            ensure!(
                *code != 404 || heads || !body.is_empty() || not_found.is_empty(),
                "an empty 404\n{}",
                said()
            );
            *counts.entry(*code).or_default() += 1;
        }
        unanswered += u32::from(replies.is_empty());
    }
    ensure!(counts.len() >= 7, "only {counts:?}");
    let counts: Vec<_> = counts.iter().map(|(code, count)| format!("{count}×{code}")).collect();
    Ok(format!("{}, {unanswered} incomplete", counts.join(" ")))
}

/// Sends a request in up to three pieces, says that no more comes, and reads until the server closes.
fn exchange(server: SocketAddr, request: &[u8], random: &mut Random) -> Result<Vec<u8>> {
    let mut stream = connect(server)?;
    let mut rest = request;
    for _ in 0..random.below(3) {
        let (piece, more) = rest.split_at(random.below(rest.len() + 1));
        // It may have closed already: its answer tells.
        let _ = stream.write_all(piece);
        rest = more;
    }
    let _ = stream.write_all(rest);
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        // What it has not read it may answer by a reset, after its answer.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(all),
        Err(error) => bail!("no end of the answer after {} bytes: {error}", all.len()),
    }
}

/// Header fields that change nothing.
fn fields(random: &mut Random) -> String {
    const FIELDS: [&str; 8] = [
        "Accept: */*",
        "user-agent: t\u{e4}ster",
        "Range: lines=1-2",
        "If-None-Match: \"no such tag\"",
        "If-Modified-Since: the day before",
        "Accept-Encoding: ;;q=,\"",
        "X-Empty:",
        "Cookie: a=\"b, c\"; d",
    ];
    (0..random.below(4)).map(|_| format!("{}\r\n", FIELDS[random.below(FIELDS.len())])).collect()
}

/// Changes a few bytes. What is known of the answer then: nothing.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> Option<u16> {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b" \r\n:%\0/?\xff"[random.below(9)]),
            3 => bytes.truncate(at.max(1)),
            _ => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
        }
    }
    None
}

/// Replies, one after the other: codes and contents.
///
/// # Errors
/// When what was sent is no sequence of whole replies.
pub fn replies(all: &[u8]) -> Result<Vec<(u16, Vec<u8>)>> {
    taken_apart(all, false)
}

/// `heads`: some may be replies to HEAD, and have no content. None of the files begins as a reply does.
fn taken_apart(mut all: &[u8], heads: bool) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut replies = Vec::new();
    while !all.is_empty() {
        let (code, length, rest) = head(all)?;
        let length = if heads && (rest.is_empty() || rest.starts_with(b"HTTP/1.1 ")) { 0 } else { length };
        let body = rest.get(..length).with_context(|| format!("{} of {length} bytes", rest.len()))?;
        replies.push((code, body.to_vec()));
        all = &rest[length..];
    }
    Ok(replies)
}

/// The next reply of a connection that goes on.
///
/// # Errors
/// When it does not come.
pub fn reply(stream: &mut TcpStream) -> Result<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "the connection has ended after {} bytes", all.len());
        all.extend(&piece[..length]);
        if let Ok(mut replies) = replies(&all) {
            return replies.pop().context("no reply");
        }
    }
}

/// A reply's code, its content's length, and what is behind its head.
fn head(all: &[u8]) -> Result<(u16, usize, &[u8])> {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the head")?;
    let text = std::str::from_utf8(&all[..end]).context("the head is no text")?;
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut lengths = text.lines().filter_map(|line| line.strip_prefix("Content-Length: "));
    let length = lengths.next().map_or(Ok(0), str::parse).context("the content's length")?;
    ensure!(lengths.next().is_none(), "two lengths");
    Ok((code.with_context(|| format!("no status line: {text}"))?, length, &all[end + 4..]))
}

/// Numbers that are the same for the same seed.
pub struct Random(pub u64);

impl Random {
    /// One below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
