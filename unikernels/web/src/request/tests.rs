use super::*;

/// What becomes of a request: the status of its answer, 200 for one that reaches a file, 0 while it is incomplete; and
/// whether another one may follow.
fn verdict(received: &[u8]) -> (u16, bool) {
    match parse(received, &mut NO_FIELDS.clone()) {
        Received::Incomplete => (0, false),
        Received::Refused(status) => (status.code(), false),
        Received::Message(message) => {
            assert!(message.length <= received.len());
            (message.request.map_or_else(Status::code, |_| 200), message.persists)
        }
    }
}

#[test]
fn requests_are_understood_however_they_are_cut() {
    let whole = b"\r\nGET /a?b=c HTTP/1.1\r\nHost: www.jitsu.test\r\nA: 1\r\na:2\r\n\r\nGET";
    for end in 0..whole.len() - 3 {
        assert_eq!(verdict(&whole[..end]), (0, false), "{end}");
    }
    let mut room = NO_FIELDS;
    let Received::Message(message) = parse(whole, &mut room) else { panic!("it is whole") };
    assert_eq!(message.length, whole.len() - 3);
    let request = message.request.unwrap();
    assert_eq!((request.path.name.as_str(), request.query), ("a", Some("b=c")));
    assert_eq!(request.values("A").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((request.value("a"), request.value("host")), (None, Some("www.jitsu.test")));
    assert!(!request.is_head && message.persists && !message.is_old && !request.has("b"));
}

#[test]
fn who_may_send_another_request() {
    for (fields, old, new) in [
        ("", false, true),
        ("Connection: close\r\n", false, false),
        ("Connection: Keep-Alive\r\n", true, true),
        ("Connection: x, CLOSE\r\nConnection: keep-alive\r\n", false, false),
        ("Content-Length: 0\r\n", false, true),
        ("Content-Length: 1\r\nConnection: keep-alive\r\n", false, false),
    ] {
        let request = |version| format!("GET / HTTP/1.{version}\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(verdict(request(0).as_bytes()), (200, old), "{fields}");
        assert_eq!(verdict(request(1).as_bytes()), (200, new), "{fields}");
    }
    assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), (200, false));
}

#[test]
fn bad_requests_get_the_protocols_error() {
    for (request, status) in [
        (&b"\0\0\0\0"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\xc3\xbc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        (b"GET x HTTP/1.0\r\n\r\n", 400),
        (b"GET /%2 HTTP/1.0\r\n\r\n", 400),
        (b"GET //x HTTP/1.0\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / FTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / \tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /  HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 405),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 200),
    ] {
        let request_is = request.escape_ascii();
        assert_eq!(verdict(request).0, status, "{request_is}");
        let first = (0..=request.len()).map(|end| verdict(&request[..end])).find(|verdict| verdict.0 != 0);
        assert_eq!(first, Some(verdict(request)), "{request_is}");
    }
}

#[test]
fn size_is_bounded() {
    let long = |length: usize| [&b"GET /"[..], &vec![b'a'; length]].concat();
    assert_eq!(verdict(&long(MAX_HEAD - 5)), (414, false));
    for (length, status) in [(MAX_TARGET - 1, 200), (MAX_TARGET, 414)] {
        let mut whole = long(length);
        whole.extend(b" HTTP/1.0\r\n\r\n");
        assert_eq!(verdict(&whole).0, status);
    }
    let mut many = b"GET / HTTP/1.0\r\n".to_vec();
    many.extend("A: b\r\n".repeat(MAX_FIELDS).bytes());
    assert_eq!(verdict(&[&many[..], b"\r\n"].concat()).0, 200);
    many.extend(b"A: b\r\n");
    assert_eq!(verdict(&many).0, 431);
    let mut large = b"GET / HTTP/1.0\r\nA: ".to_vec();
    large.resize(MAX_HEAD, b'b');
    assert_eq!(verdict(&large), (431, false));
    assert_eq!(verdict(&large[..MAX_HEAD - 1]), (0, false));
}
