//! Over real sockets of this machine, in HTTP as it is written.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{MAX_CONNECTIONS, serve};
use crate::schema::{
    Boot, ClockStatus, NodeIdentity, NodeStatus, Resources, ShellsStatus, VERSION, Versions, Xen,
};
use crate::summoner::{Request, Summoner};

/// Longer than any of these answers takes.
const LONG: Duration = Duration::from_secs(20);

fn status() -> NodeStatus {
    NodeStatus {
        version: VERSION,
        now_ns: 5,
        node: NodeIdentity {
            name: "node".to_owned(),
            domain: "jitsu.test".to_owned(),
            address: [10, 0, 2, 15].into(),
            versions: Versions::default(),
        },
        boot: Boot::default(),
        card: None,
        clock: ClockStatus::default(),
        xen: Xen::default(),
        packets: Default::default(),
        resources: Resources { vifs: Some(0), ..Resources::default() },
        shells: ShellsStatus::default(),
        services: Vec::new(),
        problems: Vec::new(),
        events: Vec::new(),
    }
}

/// A server, and a core that answers `requests` questions and is then gone.
async fn start(requests: usize) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (summoner, mut queue) = Summoner::new(4);
    tokio::spawn(async move {
        for _ in 0..requests {
            if let Some(Request::Status { answer }) = queue.recv().await {
                let _ = answer.send(status());
            }
        }
    });
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, summoner, shutdown.clone()));
    (address, shutdown, server)
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
    let (address, _shutdown, server) = start(100).await;
    let table = [
        ("GET", "/status", "200 OK", "application/json"),
        ("GET", "/status?verbose", "200 OK", "application/json"),
        ("GET", "/healthz", "200 OK", "text/plain; charset=utf-8"),
        ("GET", "/", "200 OK", "text/html; charset=utf-8"),
        ("HEAD", "/status", "200 OK", "application/json"),
        ("GET", "/nope", "404 Not Found", "text/plain; charset=utf-8"),
        ("POST", "/nope", "404 Not Found", "text/plain; charset=utf-8"),
        ("GET", "/status/", "404 Not Found", "text/plain; charset=utf-8"),
        ("POST", "/status", "405 Method Not Allowed", "text/plain; charset=utf-8"),
        ("DELETE", "/", "405 Method Not Allowed", "text/plain; charset=utf-8"),
    ];
    for (method, path, line, kind) in table {
        let reply = exchange(address, &format!("{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {reply:?}"));
        assert_eq!(head.lines().next(), Some(format!("HTTP/1.1 {line}").as_str()), "{method} {path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{method} {path}: {head}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
        assert_eq!(head.contains("allow: GET, HEAD"), line.starts_with("405"), "{method} {path}");
    }
    let reply = exchange(address, "GET /status HTTP/1.0\r\n\r\n").await;
    let body = reply.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<NodeStatus>(body).unwrap(), status());
    assert!(!server.is_finished());
}

#[tokio::test]
async fn nonsense_costs_one_connection() {
    let (address, _shutdown, server) = start(0).await;
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
async fn silent_connections_do_not_lock_others_out() {
    let (address, _shutdown, _server) = start(0).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 5 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // All places are taken by clients that say nothing; they lose them after `HEAD_PATIENCE`.
    let reply = exchange(address, "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(reply.ends_with("ok\n"), "{reply:?}");
}

#[tokio::test]
async fn a_gone_core_is_told_and_shutdown_ends_the_server() {
    let (address, shutdown, server) = start(0).await;
    let reply = exchange(address, "GET /status HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply:?}");
    shutdown.cancel();
    timeout(LONG, server).await.unwrap().unwrap();
}
