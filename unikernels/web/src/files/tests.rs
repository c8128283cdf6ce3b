//! Requests for the files of a small site, and what comes back.

use std::io::Read as _;

use site::pack::{NewFile, write};

use super::*;
use crate::request::{self, Received};
use crate::response::Connection;

/// 2023-11-14.
const MODIFIED: u64 = 1_700_000_000;
const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
const THEN: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const AFTER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

fn text() -> Vec<u8> {
    (0..1000).flat_map(|line| format!("line {line}\n").into_bytes()).collect()
}

fn archive(with_404: bool) -> Vec<u8> {
    let gzip = |plain: &[u8]| {
        let mut gzip = Vec::new();
        flate2::bufread::GzEncoder::new(plain, flate2::Compression::best()).read_to_end(&mut gzip).unwrap();
        gzip
    };
    let file = |name: &str, media_type: &str, plain: &[u8], zip: bool, modified| NewFile {
        name: name.into(),
        media_type: media_type.into(),
        modified,
        gzip: zip.then(|| gzip(plain)),
        plain: plain.into(),
    };
    let mut files = vec![
        file("index.html", "text/html", b"<p>home", false, None),
        file("a b/index.html", "text/html", b"<p>folder", false, None),
        file("a b/c.txt", "text/plain", b"c", false, None),
        file("text.txt", "text/plain", &text(), true, Some(MODIFIED)),
        file("digits", "application/octet-stream", b"0123456789", false, None),
        file("large", "application/octet-stream", &text(), false, None),
        file("empty", "application/octet-stream", b"", false, None),
    ];
    if with_404 {
        files.push(file("404.html", "text/html", &text(), true, None));
    }
    write(files).unwrap()
}

/// What came back.
struct Sent {
    status: u16,
    fields: Vec<(String, String)>,
    content: Vec<u8>,
}

impl Sent {
    fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|field| field.0 == name);
        let value = named.next().map(|field| field.1.as_str());
        assert!(named.next().is_none(), "{name} is there twice");
        value
    }
}

fn ask(archive: &[u8], line: &str, fields: &[&str]) -> Sent {
    let files = Files::new(Site::read(archive).unwrap(), Some(60));
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let request = format!("{line} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let mut room = request::NO_FIELDS;
    let Received::Message(message) = request::parse(request.as_bytes(), &mut room) else {
        panic!("{request}")
    };
    let response = files.respond(&message.request.unwrap());
    let pieces = response.into_pieces(message.is_head, Connection::Persistent);
    let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes()).copied().collect();
    let end = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut lines = std::str::from_utf8(&whole[..end]).unwrap().split("\r\n");
    let status = lines.next().unwrap()["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    Sent { status, fields: lines.map(field).collect(), content: whole[end + 4..].to_vec() }
}

fn get(target: &str, fields: &[&str]) -> Sent {
    ask(&archive(false), &format!("GET {target}"), fields)
}

#[test]
fn files_and_folders() {
    for (target, content) in [
        ("/", "<p>home"),
        ("/index.html", "<p>home"),
        ("/a%20b/", "<p>folder"),
        ("/a%20b/../a%20b/c.txt?v=2", "c"),
        ("/empty", ""),
    ] {
        let sent = get(target, &[]);
        assert_eq!((sent.status, sent.content.as_slice()), (200, content.as_bytes()), "{target}");
        assert_eq!(sent.field("Content-Length"), Some(content.len().to_string().as_str()));
        assert_eq!(sent.field("Cache-Control"), Some("max-age=60"));
        assert_eq!((sent.field("Accept-Ranges"), sent.field("Vary")), (Some("bytes"), None));
    }
    assert_eq!(get("/", &[]).field("Content-Type"), Some("text/html"));
    for target in ["/x", "/index.html/", "/a%20b/c.txt/", "/a", "/A%20B/", "/c.txt"] {
        assert_eq!(get(target, &[]).status, 404, "{target}");
    }
    let healthy = get("/healthz", &[]);
    assert_eq!((healthy.status, healthy.content.as_slice()), (200, &b"ok\n"[..]));
    let moved = get("/a%20b?q=1&ü", &[]);
    assert_eq!((moved.status, moved.field("Location")), (301, Some("/a%20b/?q=1&%C3%BC")));
    // Nobody is sent elsewhere.
    assert_eq!(ask(&archive(false), "GET http://evil/a%20b", &[]).field("Location"), Some("/a%20b/"));
}

#[test]
fn head_is_get_without_content() {
    for fields in [&[][..], &["Accept-Encoding: gzip"], &["If-None-Match: *"], &["If-Match: \"x\""]] {
        for target in ["/text.txt", "/x", "/a%20b", "/empty"] {
            let (get, head) = (get(target, fields), ask(&archive(false), &format!("HEAD {target}"), fields));
            assert_eq!((get.status, &get.fields), (head.status, &head.fields), "{target}");
            assert!(head.content.is_empty());
        }
    }
    let head = ask(&archive(false), "HEAD /digits", &["Range: bytes=0-0"]);
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("10")));
}

#[test]
fn clients_get_the_encoding_that_they_want() {
    let (plain, gzip) = (get("/text.txt", &[]), get("/text.txt", &["Accept-Encoding: gzip, br"]));
    assert_eq!((plain.field("Content-Encoding"), gzip.field("Content-Encoding")), (None, Some("gzip")));
    assert_eq!((plain.field("Vary"), gzip.field("Vary")), (Some("Accept-Encoding"), Some("Accept-Encoding")));
    assert_eq!(plain.content, text());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&gzip.content[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, text());
    assert_ne!(plain.field("ETag"), gzip.field("ETag"), "they are not the same bytes");
    assert_eq!(gzip.field("Content-Type"), Some("text/plain"));
    assert_eq!(get("/digits", &["Accept-Encoding: gzip"]).field("Content-Encoding"), None);
    // Ranges are those of what is sent.
    let part = get("/text.txt", &["Accept-Encoding: gzip", "Range: bytes=-3"]);
    assert_eq!((part.status, part.field("Content-Encoding")), (206, Some("gzip")));
    assert_eq!(part.content, gzip.content[gzip.content.len() - 3..]);
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let plain = get("/text.txt", &[]);
    let tag = plain.field("ETag").unwrap();
    let gzip = get("/text.txt", &["Accept-Encoding: gzip"]);
    let gzip = gzip.field("ETag").unwrap();
    assert_eq!(plain.field("Last-Modified"), Some(THEN));
    for (fields, status) in [
        (vec![format!("If-None-Match: {tag}")], 304),
        (vec![format!("If-None-Match: \"x\", W/{tag}")], 304),
        (vec!["If-None-Match: \"x\"".into(), format!("If-None-Match: {tag}")], 304),
        (vec!["If-None-Match: *".into()], 304),
        (vec!["If-None-Match: \"x\"".into()], 200),
        (vec![format!("If-None-Match: {gzip}")], 200),
        (vec![format!("If-None-Match: {gzip}"), "Accept-Encoding: gzip".into()], 304),
        (vec![format!("If-Modified-Since: {THEN}")], 304),
        (vec![format!("If-Modified-Since: {AFTER}")], 304),
        (vec![format!("If-Modified-Since: {BEFORE}")], 200),
        (vec!["If-Modified-Since: yesterday".into()], 200),
        (vec![format!("If-Modified-Since: {THEN}"), format!("If-Modified-Since: {THEN}")], 200),
        // The tag counts, the date does not.
        (vec!["If-None-Match: \"x\"".into(), format!("If-Modified-Since: {AFTER}")], 200),
        (vec![format!("If-None-Match: {tag}"), format!("If-Modified-Since: {BEFORE}")], 304),
        (vec![format!("If-Match: {tag}")], 200),
        (vec!["If-Match: *".into()], 200),
        (vec!["If-Match: \"x\"".into()], 412),
        (vec!["If-Match: \u{fc}".into()], 412),
        (vec![format!("If-Match: W/{tag}")], 412),
        (vec![format!("If-Unmodified-Since: {THEN}")], 200),
        (vec![format!("If-Unmodified-Since: {BEFORE}")], 412),
        (vec![format!("If-Match: {tag}"), format!("If-Unmodified-Since: {BEFORE}")], 200),
        (vec![format!("If-Match: {tag}"), format!("If-None-Match: {tag}")], 304),
        (vec!["If-Match: \"x\"".into(), format!("If-None-Match: {tag}")], 412),
        (vec![format!("If-None-Match: {tag}"), "Range: bytes=0-0".into()], 304),
    ] {
        let lines: Vec<_> = fields.iter().map(String::as_str).collect();
        let sent = get("/text.txt", &lines);
        assert_eq!(sent.status, status, "{fields:?}");
        if status == 304 {
            assert!(sent.content.is_empty() && sent.field("Content-Length").is_none());
            assert!(sent.field("ETag").is_some() && sent.field("Vary").is_some());
            assert_eq!(sent.field("Content-Encoding"), None);
        }
    }
    // Without a date, conditions on dates say nothing; where there is no file, no condition does.
    assert_eq!(get("/digits", &[&format!("If-Modified-Since: {AFTER}")]).status, 200);
    assert_eq!(get("/digits", &["If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"]).status, 200);
    assert_eq!(get("/x", &["If-Match: \"x\""]).status, 404);
}

#[test]
fn parts_of_a_file() {
    let one = get("/digits", &["Range: bytes=2-4"]);
    assert_eq!((one.status, one.content.as_slice()), (206, &b"234"[..]));
    assert_eq!(one.field("Content-Range"), Some("bytes 2-4/10"));
    assert_eq!(
        (one.field("Content-Length"), one.field("Content-Type")),
        (Some("3"), Some("application/octet-stream"))
    );
    assert!(one.field("ETag").is_some());
    let none = get("/digits", &["Range: bytes=10-"]);
    assert_eq!((none.status, none.field("Content-Range")), (416, Some("bytes */10")));
    for value in ["lines=0-1", "bytes=x", "bytes=4-2"] {
        let whole = get("/digits", &[&format!("Range: {value}")]);
        assert_eq!((whole.status, whole.content.as_slice()), (200, &b"0123456789"[..]), "{value}");
    }
    assert_eq!(get("/empty", &["Range: bytes=0-"]).status, 200);
    assert_eq!(get("/digits", &["Range: bytes=0-0", "Range: bytes=1-1"]).status, 200);
    let tag = one.field("ETag").unwrap();
    for (condition, status) in [
        (tag.to_owned(), 206),
        ("\"x\"".into(), 200),
        (format!("W/{tag}"), 200),
        (THEN.into(), 200),
        ("nonsense".into(), 200),
    ] {
        let sent = get("/digits", &["Range: bytes=2-4", &format!("If-Range: {condition}")]);
        assert_eq!(sent.status, status, "{condition}");
    }
}

#[test]
fn several_parts_are_a_multipart_message() {
    let sent = get("/large", &["Range: bytes=0-9, 100-199, -5"]);
    let text = text();
    assert_eq!((sent.status, sent.field("Content-Range")), (206, None));
    let boundary =
        sent.field("Content-Type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert_eq!(sent.field("Content-Length"), Some(sent.content.len().to_string().as_str()));
    let mut expected = Vec::new();
    for part in [0..10, 100..200, text.len() - 5..text.len()] {
        let line = if expected.is_empty() { "" } else { "\r\n" };
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, text.len());
        expected.extend(
            format!(
                "{line}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {range}\r\n\r\n"
            )
            .bytes(),
        );
        expected.extend(&text[part]);
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert_eq!(String::from_utf8(sent.content).unwrap(), String::from_utf8(expected).unwrap());
}

#[test]
fn a_site_may_say_itself_that_there_is_nothing() {
    for (fields, coding) in [(&[][..], None), (&["Accept-Encoding: gzip", "Range: bytes=0-0"], Some("gzip"))]
    {
        let sent = ask(&archive(true), "GET /x", fields);
        assert_eq!((sent.status, sent.field("Content-Encoding")), (404, coding));
        assert_eq!((sent.field("Content-Type"), sent.field("ETag")), (Some("text/html"), None));
        assert_eq!(sent.content == text(), coding.is_none());
    }
    assert_eq!(ask(&archive(true), "GET /404.html", &[]).status, 200);
}

/// However it is cut and asked for: the parts are those of the file, and together they are the file.
#[test]
fn any_ranges_whatever_are_parts_of_the_file() {
    let archive = archive(false);
    let text = text();
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut seen = [0; 3];
    for _ in 0..3000 {
        let specs: Vec<_> = (0..1 + random(4))
            .map(|_| {
                let (a, b) = (random(text.len() + text.len() / 2), random(text.len()));
                match random(4) {
                    0 => format!("{a}-"),
                    1 => format!("-{b}"),
                    _ => format!("{a}-{}", a + b / 8),
                }
            })
            .collect();
        let sent = ask(&archive, "GET /large", &[&format!("Range: bytes={}", specs.join(","))]);
        assert_eq!(sent.field("Content-Length"), Some(sent.content.len().to_string().as_str()));
        match (sent.status, sent.field("Content-Range")) {
            (200, None) => assert_eq!(sent.content, text),
            (206, Some(range)) => {
                let (first, last) =
                    range["bytes ".len()..].split_once('/').unwrap().0.split_once('-').unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                assert_eq!(sent.content, text[first..=last]);
                seen[0] += 1;
            }
            (206, None) => {
                assert!(sent.content.len() < text.len() + 1000, "more than the whole");
                seen[1] += 1;
            }
            (416, Some(range)) => {
                assert_eq!(
                    (range, specs.iter().all(|spec| !spec.starts_with('-') || spec == "-0")),
                    (format!("bytes */{}", text.len()).as_str(), true)
                );
                seen[2] += 1;
            }
            other => panic!("{specs:?}: {other:?}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}
