//! Over real sockets of this machine, in HTTP as it is written.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::places::{MOST, MOST_EACH, MOST_FOLLOWERS_EACH};
use super::{page, serve};
use crate::config;
use crate::directory::{Directory, Moment};
use crate::schema::{Facts, NodeStatus};
use crate::summoner::{Request, Requests, Summoner};

/// Longer than any of these answers takes.
const LONG: Duration = Duration::from_secs(20);

fn status() -> NodeStatus {
    let loaded = config::loaded(
        "[node]\nname = \"node\"\naddress = \"10.0.2.15/24\"\n\
         [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\n",
    );
    let directory = Directory::new(&loaded.config, Moment(1));
    NodeStatus::new(&loaded.config, &loaded.problems, &directory, Facts::default(), Moment(5))
}

/// A server, and a core that answers for as long as the token lives.
async fn start() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let (summoner, mut requests) = Summoner::new(4);
    let (address, shutdown, server) = serve_for(summoner).await;
    let until = shutdown.clone();
    tokio::spawn(async move { until.run_until_cancelled(answer(&mut requests)).await });
    (address, shutdown, server)
}

async fn answer(requests: &mut Requests) {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Status { answer } => drop(answer.send(status())),
            Request::Console { answer, .. } => drop(answer.send(None)),
            other => panic!("the status port asks for {other:?}"),
        }
    }
}

async fn serve_for(summoner: Summoner) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    (address, shutdown.clone(), tokio::spawn(serve(listener, summoner, shutdown)))
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    // A server that closes early may answer with a reset; what came before it counts.
    let _ = timeout(LONG, stream.read_to_string(&mut reply)).await.unwrap();
    reply
}

#[tokio::test]
async fn paths_and_methods() {
    let (address, _shutdown, server) = start().await;
    let (text, html) = ("text/plain; charset=utf-8", "text/html; charset=utf-8");
    let table = [
        ("GET", "/status", "200 OK", "application/json"),
        ("GET", "/status?verbose", "200 OK", "application/json"),
        ("GET", "/metrics", "200 OK", "text/plain; version=0.0.4; charset=utf-8"),
        ("GET", "/healthz", "200 OK", text),
        ("GET", "/", "200 OK", html),
        ("GET", "/service/www", "200 OK", html),
        ("HEAD", "/status", "200 OK", "application/json"),
        ("GET", "/service/", "404 Not Found", html),
        ("GET", "/service/nope", "404 Not Found", html),
        ("GET", "/service/%77ww", "404 Not Found", html),
        ("GET", "/service/www/", "404 Not Found", text),
        ("GET", "/service/www/changes/", "404 Not Found", text),
        ("GET", "/service/nope/changes", "404 Not Found", text),
        ("GET", "/nope", "404 Not Found", text),
        ("POST", "/nope", "404 Not Found", text),
        ("GET", "/status/", "404 Not Found", text),
        ("POST", "/status", "405 Method Not Allowed", text),
        ("POST", "/changes", "405 Method Not Allowed", text),
        ("DELETE", "/", "405 Method Not Allowed", text),
    ];
    for (method, path, line, kind) in table {
        let reply = exchange(address, &format!("{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {reply:?}"));
        assert_eq!(head.lines().next(), Some(format!("HTTP/1.1 {line}").as_str()), "{method} {path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{method} {path}: {head}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
        assert_eq!(head.contains("allow: GET, HEAD"), line.starts_with("405"), "{method} {path}");
        let policy = format!("content-security-policy: {}\r\n", page::SECURITY_POLICY);
        assert_eq!(head.contains(&policy), kind == html, "{method} {path}: {head}");
        assert!(head.contains("cache-control: no-store\r\nx-content-type-options: nosniff\r\n"), "{head}");
    }
    let reply = exchange(address, "GET /status HTTP/1.0\r\n\r\n").await;
    let body = reply.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<NodeStatus>(body).unwrap(), status());
    assert!(!server.is_finished());
}

#[tokio::test]
async fn nonsense_costs_one_connection() {
    let (address, _shutdown, server) = start().await;
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for request in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &long] {
        let reply = exchange(address, request).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply:?}");
    }
    let reply = exchange(address, "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(reply.ends_with("\r\n\r\nok\n"), "{reply:?}");
    assert!(!server.is_finished());
}

#[tokio::test]
async fn silent_connections_lose_their_places_to_others() {
    let (address, _shutdown, _server) = start().await;
    let mut silent = Vec::new();
    for _ in 0..2 * MOST {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let begun = std::time::Instant::now();
    let reply = exchange(address, "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(reply.ends_with("ok\n"), "{reply:?}");
    assert!(begun.elapsed() < super::HEAD_PATIENCE, "it had to wait until others were out of time");
    // Whose place is gone is told so by the end of its connection, and the last ones still have theirs.
    let mut ended = 0;
    for (index, mut stream) in silent.into_iter().enumerate() {
        if index < 2 * MOST - MOST_EACH {
            let end = timeout(LONG, stream.read(&mut [0])).await.unwrap();
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
            ended += 1;
        }
    }
    assert_eq!(ended, 2 * MOST - MOST_EACH);
}

/// What has come of a stream of events until it has so much of it.
async fn events(stream: &mut TcpStream, until: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(until) {
        let mut bytes = [0; 1024];
        let length = timeout(LONG, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(length, 0, "it ended: {text:?}");
        text += std::str::from_utf8(&bytes[..length]).unwrap();
    }
    text
}

#[tokio::test]
async fn followers_are_told_of_changes_for_as_long_as_there_is_a_core() {
    let (summoner, mut requests) = Summoner::new(4);
    let (address, _shutdown, _server) = serve_for(summoner).await;
    requests.changed(7);
    let mut followers = Vec::new();
    for _ in 0..MOST_FOLLOWERS_EACH {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /changes HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
        let text = events(&mut stream, "data: 7\n\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"), "{text:?}");
        followers.push(stream);
    }
    let refused = exchange(address, "GET /changes HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused:?}");
    // What comes too fast is told at once.
    (8..=20).for_each(|serial| requests.changed(serial));
    for stream in &mut followers {
        let text = events(stream, "data: 20\n\n\r\n").await;
        assert_eq!(text.matches("data: ").count(), 1, "{text:?}");
    }
    // One that leaves makes room for another.
    drop(followers.pop());
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /changes HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        match &line {
            b"HTTP/1.1 200" => break,
            other => assert_eq!(other, b"HTTP/1.1 503"),
        }
    }
    let answering = tokio::spawn(async move { answer(&mut requests).await });
    answering.abort();
    assert!(answering.await.unwrap_err().is_cancelled());
    let mut end = String::new();
    timeout(LONG, followers[0].read_to_string(&mut end)).await.unwrap().unwrap();
    assert_eq!(end, "0\r\n\r\n");
}

#[tokio::test]
async fn a_gone_core_is_told_and_shutdown_ends_the_server() {
    let (summoner, requests) = Summoner::new(4);
    drop(requests);
    let (address, shutdown, server) = serve_for(summoner).await;
    for path in ["/", "/status", "/metrics", "/healthz", "/service/www"] {
        let reply = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await;
        assert!(reply.starts_with("HTTP/1.1 503 "), "{path}: {reply:?}");
    }
    shutdown.cancel();
    timeout(LONG, server).await.unwrap().unwrap();
}
