//! Downloads against an HTTP server in this process, which misbehaves on request.

use super::*;
use crate::fail::class_of;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Reply {
    /// Serves the file, honouring `Range`.
    Good,
    /// Ignores `Range`.
    Whole,
    /// Announces everything, sends only so many bytes, and hangs up.
    Cut(usize),
    /// The right length, wrong content.
    Corrupt,
    /// All of a file that is shorter than the expected one.
    Shorter,
    Status(u16),
}

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Serves `data`; request N is treated by `script[N]`, later ones by its last entry.
fn serve(data: &'static [u8], script: &'static [Reply]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/file", listener.local_addr().expect("address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let reply = script[n.min(script.len() - 1)];
            answer(stream.expect("accept"), data, reply, &seen);
        }
    });
    Server { url, requests }
}

fn answer(mut stream: TcpStream, data: &[u8], reply: Reply, seen: &Mutex<Vec<String>>) {
    let lines = BufReader::new(stream.try_clone().expect("clone")).lines();
    let head: Vec<String> = lines.map(|l| l.expect("line")).take_while(|l| !l.is_empty()).collect();
    let range =
        head.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    seen.lock().expect("lock").push(range.clone().unwrap_or_default());
    let from = range.and_then(|r| r.trim_end_matches('-').parse::<usize>().ok()).unwrap_or(0);

    let full = |status: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", data.len())
    };
    let (head, body) = match reply {
        Reply::Good if from > 0 => (
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                data.len() - 1,
                data.len(),
                data.len() - from
            ),
            data[from..].to_vec(),
        ),
        Reply::Good | Reply::Whole => (full("200 OK"), data.to_vec()),
        Reply::Cut(n) => (full("200 OK"), data[..n].to_vec()),
        Reply::Corrupt => (full("200 OK"), vec![b'x'; data.len()]),
        Reply::Shorter => (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n".into(),
            b"the older".to_vec(),
        ),
        Reply::Status(code) => {
            (format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), vec![])
        }
    };
    // The client may have hung up already; that is its right.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

static DATA: &[u8] = &[7; 200_000];

fn fetch_into(server: &Server, dir: &Path) -> Result<Fetched> {
    let downloader = Downloader::with_backoff(vec![Duration::ZERO; 2]);
    let sha256 = sha256(DATA);
    let expected = Expected { size: Some(DATA.len() as u64), sha256: &sha256 };
    downloader.fetch("test file", &server.url, &expected, &dir.join("file"))
}

fn leftovers(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("dir")
        .map(|e| e.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn arrives_whole_and_only_once() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Good]);
    assert_eq!(fetch_into(&server, dir.path()).expect("fetch"), Fetched::Here);
    assert_eq!(fetch_into(&server, dir.path()).expect("cached"), Fetched::Here);
    assert_eq!(server.requests.lock().expect("lock").len(), 1);
    assert_eq!(leftovers(dir.path()), ["file"]);
}

#[test]
fn resumes_after_a_cut() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Cut(150_000), Reply::Good]);
    assert_eq!(fetch_into(&server, dir.path()).expect("fetch"), Fetched::Here);
    assert_eq!(fs::read(dir.path().join("file")).expect("read"), DATA);
    let requests = server.requests.lock().expect("lock");
    assert_eq!(requests.len(), 2);
    assert!(requests[1].ends_with('-') && requests[1] != "0-", "second request continues: {requests:?}");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("file.part"), &DATA[..1000]).expect("write");
    let server = serve(DATA, &[Reply::Whole]);
    assert_eq!(fetch_into(&server, dir.path()).expect("fetch"), Fetched::Here);
    assert_eq!(fs::read(dir.path().join("file")).expect("read"), DATA);
}

#[test]
fn a_wrong_leftover_is_thrown_away_and_fetched_again() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("file.part"), [9; 1000]).expect("write");
    let server = serve(DATA, &[Reply::Good]);
    assert_eq!(fetch_into(&server, dir.path()).expect("fetch"), Fetched::Here);
    assert_eq!(fs::read(dir.path().join("file")).expect("read"), DATA);
    assert_eq!(*server.requests.lock().expect("lock"), ["1000-", ""]);
}

#[test]
fn corrupt_data_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Corrupt]);
    let error = fetch_into(&server, dir.path()).expect_err("must be refused");
    assert_eq!(class_of(&error), Some(Class::Integrity));
    assert!(error.to_string().contains("sha256"), "{error}");
    assert!(leftovers(dir.path()).is_empty());
}

#[test]
fn another_file_is_refused_without_asking_again() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Shorter]);
    let error = fetch_into(&server, dir.path()).expect_err("must be refused");
    assert_eq!(class_of(&error), Some(Class::Integrity));
    assert_eq!(server.requests.lock().expect("lock").len(), 1);
    assert!(leftovers(dir.path()).is_empty());
}

#[test]
fn a_missing_file_is_gone_not_an_error() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Status(404)]);
    assert_eq!(fetch_into(&server, dir.path()).expect("fetch"), Fetched::Gone);
    assert!(leftovers(dir.path()).is_empty());
}

#[test]
fn server_trouble_is_retried_and_then_reported() {
    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Status(503), Reply::Status(503), Reply::Good]);
    assert_eq!(fetch_into(&server, dir.path()).expect("third attempt"), Fetched::Here);

    let dir = tempfile::tempdir().expect("dir");
    let server = serve(DATA, &[Reply::Status(503)]);
    let error = fetch_into(&server, dir.path()).expect_err("gives up");
    assert_eq!(class_of(&error), Some(Class::Network));
    assert_eq!(server.requests.lock().expect("lock").len(), 3);
}
