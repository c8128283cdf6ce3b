//! What a browser, or whoever claims to be one, sends to the unikernel `www`, and what it is sent of a small site.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use site::Site;
use site::pack::{NewFile, write};
use web::files::Files;
use web::request::{MAX_HEAD, MAX_TARGET, NO_FIELDS, Received, parse};
use web::response::{Connection, Response, Status};

static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let file = |name: &str, plain: &[u8]| NewFile {
        name: name.into(),
        media_type: "text/plain".into(),
        modified: Some(1_700_000_000),
        plain: plain.into(),
        // What is in it does not matter to whoever sends it.
        gzip: Some(plain.iter().rev().copied().collect()),
    };
    let long = [b'x'; 3000];
    write(vec![file("index.html", b"<p>"), file("a/index.html", b""), file("long", &long)])
        .expect("it is small")
});

/// What there is to say about a part of a request, as far as it must be what there is to say about the whole.
fn verdict(received: &[u8]) -> Option<(u16, usize)> {
    match parse(received, &mut NO_FIELDS.clone()) {
        Received::Incomplete => None,
        Received::Refused(status) => Some((status.code(), 0)),
        Received::Message(message) => {
            Some((message.request.map_or_else(Status::code, |_| 200), message.length))
        }
    }
}

fuzz_target!(|input: &[u8]| {
    // The server looks at no more.
    let input = &input[..input.len().min(MAX_HEAD)];
    let whole = verdict(input);
    assert!(whole.is_some() || input.len() < MAX_HEAD);
    // The first verdict on what has arrived is the verdict on the whole.
    let mut pieces = (0..input.len()).step_by(1 + input.len() / 64).map(|end| verdict(&input[..end]));
    if let Some(early) = pieces.find(Option::is_some) {
        assert_eq!(early, whole);
    }
    let files = Files::new(Site::read(&ARCHIVE).expect("it is whole"), None);
    let mut room = NO_FIELDS;
    let (response, is_head) = match parse(input, &mut room) {
        Received::Incomplete => return,
        Received::Refused(status) => (Response::plain(status), false),
        Received::Message(message) => {
            assert!(message.length <= input.len());
            let response = match &message.request {
                Ok(request) => {
                    let name = &request.path.name;
                    assert!(name.len() <= MAX_TARGET && !name.starts_with('/') && !name.ends_with('/'));
                    assert!(!name.split('/').any(|part| matches!(part, "." | "..")));
                    files.respond(request)
                }
                Err(status) => Response::plain(*status),
            };
            (response, message.is_head)
        }
    };
    let pieces = response.into_pieces(is_head, Connection::Close);
    let sent: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes()).copied().collect();
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n").expect("it has a head");
    let (head, content) = (str::from_utf8(&sent[..end]).expect("it is text"), &sent[end + 4..]);
    assert!(
        head.is_ascii() && head.split("\r\n").all(|line| !line.is_empty() && !line.contains(['\r', '\n']))
    );
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("it is a number"));
    assert_eq!(content.len(), if is_head { 0 } else { length });
    // Less than twice what there is, whatever is asked for.
    assert!(sent.len() < 6000 + input.len() * 3);
});
