//! What a browser, or whoever claims to be one, sends to the unikernel `www`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use web::http::{MAX_REQUEST, Status, parse, response};

fuzz_target!(|input: &[u8]| {
    // The server looks at no more.
    let input = &input[..input.len().min(MAX_REQUEST)];
    let verdict = parse(input);
    assert!(verdict.is_some() || input.len() < MAX_REQUEST);
    // The first verdict on what has arrived is the verdict on the whole.
    let mut pieces = (0..input.len()).step_by(1 + input.len() / 64).map(|end| parse(&input[..end]));
    if let Some(early) = pieces.find(Option::is_some) {
        assert_eq!(early, verdict);
    }
    let (status, head) = match verdict {
        Some(Ok(request)) => {
            assert!(request.path.starts_with('/') && request.path.len() <= 512);
            assert!(!request.path.contains(|c: char| c.is_ascii_control() || c == ' '));
            (Status::Ok, request.head)
        }
        Some(Err(status)) => (status, false),
        None => return,
    };
    let response = response(status, "text/plain", "body\n", head);
    let whole = response.strip_suffix(b"body\n").unwrap_or(&response);
    assert!(whole.ends_with(b"\r\n\r\n") && (head || whole.len() < response.len()));
});
