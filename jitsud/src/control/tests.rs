//! Over a real socket, with a directory behind it whose domains are only pretended.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use xen_sys::DomId;
use xenstore::{Change, Limits};

use super::{CONNECTIONS, Desk, Refusal, Reload, serve};
use crate::config::{LogLevel, Problem};
use crate::console::ConsoleLog;
use crate::directory::{Directory, Effect, Input, Moment, tests::config};
use crate::logging::{Line, Ring};
use crate::schema::{EventStatus, ServiceStatus};
use crate::store::{SharedStore, socket};
use crate::summoner::{Request, Summoner};

/// Longer than any of these answers takes.
const LONG: Duration = Duration::from_secs(20);

struct Node {
    folder: TempDir,
    log: Ring,
    console: mpsc::UnboundedSender<ConsoleLog>,
    reloads: mpsc::Receiver<Reload>,
}

/// A node with two services, s0 and s1; the second cannot be built.
fn node() -> Node {
    let folder = tempfile::tempdir().expect("a directory");
    let listener = socket::listen(&folder.path().join("control")).expect("a socket");
    let (summoner, mut requests) = Summoner::new(8);
    let (reload, reloads) = mpsc::channel(1);
    let (log, (console, mut consoles)) = (Ring::default(), mpsc::unbounded_channel());
    let store = SharedStore::new(Limits::default());
    store.commit(&[Change::write("/a/b", "x\u{1b}y"), Change::write("/a/c", "z")]).expect("nodes");
    let configuration = config(2);
    let services = configuration.services.iter().map(|service| service.name.clone()).collect();
    let desk = Desk { summoner, services, log: log.clone(), store: Some(store), reload };
    tokio::spawn(serve(listener, desk, CancellationToken::new()));
    tokio::spawn(async move {
        let mut directory = Directory::new(&configuration, Moment::now());
        let mut said: Option<ConsoleLog> = None;
        loop {
            requests.changed(directory.serial());
            let mut inputs = Vec::new();
            tokio::select! {
                Some(next) = consoles.recv() => said = Some(next),
                request = requests.recv() => match request {
                    Some(Request::Start { service, answer }) => {
                        inputs = directory.handle(Moment::now(), Input::Start { service });
                        let _ = answer.send(ServiceStatus::new(&directory.entries()[service.0]));
                    }
                    Some(Request::Stop { service, answer }) => {
                        inputs = directory.handle(Moment::now(), Input::Stop { service });
                        let _ = answer.send(ServiceStatus::new(&directory.entries()[service.0]));
                    }
                    Some(Request::Service { service, answer }) => {
                        let _ = answer.send(ServiceStatus::new(&directory.entries()[service.0]));
                    }
                    Some(Request::Events { after, answer }) => {
                        let newer = directory.events().filter(|event| event.serial > after);
                        let _ = answer.send(newer.map(|event| EventStatus::new(event, &directory)).collect());
                    }
                    Some(Request::Console { answer, .. }) => {
                        let _ = answer.send(said.as_ref().map(ConsoleLog::follow));
                    }
                    Some(_) => {}
                    None => return,
                },
            }
            while let Some(effect) = inputs.pop() {
                let now = Moment::now();
                let input = match effect {
                    Effect::Build { incarnation } if incarnation.service.0 == 1 => {
                        Input::BuildFailed { incarnation, reason: "on purpose".to_owned() }
                    }
                    Effect::Build { incarnation } => {
                        directory.handle(now, Input::Built { incarnation, domid: DomId(7) });
                        Input::Ready { incarnation, at: now }
                    }
                    Effect::Destroy { incarnation, .. } => Input::Stopped { incarnation },
                    _ => continue,
                };
                inputs.extend(directory.handle(now, input));
            }
        }
    });
    Node { folder, log, console, reloads }
}

impl Node {
    async fn connect(&self) -> Peer {
        let stream = UnixStream::connect(self.folder.path().join("control")).await.expect("connected");
        Peer(BufReader::new(stream))
    }
}

struct Peer(BufReader<UnixStream>);

impl Peer {
    async fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).await.expect("sent");
    }

    async fn ask(&mut self, mut request: Value) {
        request["version"] = json!(1);
        self.send(&format!("{request}\n")).await;
    }

    /// The next message; `None` when the other end has hung up.
    async fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match timeout(LONG, self.0.read_line(&mut line)).await.expect("in time") {
            // It has hung up on something that it had not read to its end.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            read => drop(read.expect("read")),
        }
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("JSON"))
    }

    /// All messages up to the last one for a request.
    async fn all(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let next = self.next().await.expect("a message");
            let last = next.get("done").is_some() || next.get("error").is_some();
            all.push(next);
            if last {
                return all;
            }
        }
    }
}

fn line(message: &str) -> Line {
    Line { number: 0, at_ns: 1, level: LogLevel::Info, message: message.to_owned(), fields: Vec::new() }
}

#[tokio::test]
async fn services_are_started_and_stopped_and_that_is_waited_for() {
    let node = node();
    let mut peer = node.connect().await;
    peer.ask(json!({ "do": "start", "service": "s0" })).await;
    let all = peer.all().await;
    let states: Vec<_> = all.iter().filter_map(|reply| reply["service"]["state"].as_str()).collect();
    assert_eq!(states.last(), Some(&"ready"), "{all:?}");
    assert_eq!(all.last(), Some(&json!({ "done": {} })));
    peer.ask(json!({ "do": "stop", "service": "s0" })).await;
    let all = peer.all().await;
    assert_eq!(
        (&all[all.len() - 2]["service"]["state"], &all[all.len() - 1]),
        (&json!("off"), &json!({ "done": {} }))
    );
    peer.ask(json!({ "do": "start", "service": "s1" })).await;
    let all = peer.all().await;
    let error = json!({ "error": { "kind": "state", "message": "s1 is failed: on purpose" } });
    assert_eq!(all.last(), Some(&error));
    peer.ask(json!({ "do": "stop", "service": "s9" })).await;
    let error =
        json!({ "error": { "kind": "not_found", "message": "there is no service \"s9\"; there is s0, s1" } });
    assert_eq!(peer.all().await, [error]);
    peer.ask(json!({ "do": "events", "last": 2 })).await;
    let all = peer.all().await;
    assert_eq!((all.len(), &all[1]["event"]["to"]), (3, &json!("failed")));
}

#[tokio::test]
async fn events_are_followed() {
    let node = node();
    let (mut follower, mut other) = (node.connect().await, node.connect().await);
    follower.ask(json!({ "do": "events", "follow": true })).await;
    other.ask(json!({ "do": "start", "service": "s0" })).await;
    other.all().await;
    let mut serial = 0;
    for to in ["building", "booting", "ready"] {
        let event = follower.next().await.expect("an event")["event"].clone();
        assert_eq!((&event["service"], &event["to"]), (&json!("s0"), &json!(to)));
        assert!(event["serial"].as_u64() > Some(serial));
        serial = event["serial"].as_u64().expect("a number");
    }
}

#[tokio::test]
async fn the_log_is_followed_and_what_a_reader_misses_is_counted() {
    let node = node();
    (1..=5).for_each(|number| node.log.push(line(&number.to_string())));
    let mut peer = node.connect().await;
    peer.ask(json!({ "do": "logs", "last": 2 })).await;
    let all = peer.all().await;
    assert_eq!((all.len(), &all[0]["line"]["message"]), (3, &json!("4")));
    peer.ask(json!({ "do": "logs", "after": 4, "follow": true })).await;
    assert_eq!(peer.next().await.expect("a line")["line"]["number"], json!(5));
    // In one go: nobody can read along meanwhile.
    (0..10_000).for_each(|_| node.log.push(line("more")));
    let lost = peer.next().await.expect("a word")["lost"]["count"].as_u64().expect("a number");
    assert_eq!(peer.next().await.expect("a line")["line"]["number"], json!(5 + lost + 1));
}

#[tokio::test]
async fn a_console_is_followed_over_lives() {
    let node = node();
    let mut peer = node.connect().await;
    peer.ask(json!({ "do": "console", "service": "s0" })).await;
    assert_eq!(peer.all().await[0]["error"]["kind"], json!("state"));
    let first = ConsoleLog::private();
    first.push(b"one\ntwo\nthr");
    node.console.send(first.clone()).expect("told");
    yield_now().await;
    peer.ask(json!({ "do": "console", "service": "s0", "last": 2, "follow": true })).await;
    let said = |number: u64, text: &str, unfinished: bool| {
        Some(json!({ "said": { "number": number, "text": text, "unfinished": unfinished } }))
    };
    assert_eq!(peer.next().await, said(1, "one", false));
    assert_eq!(peer.next().await, said(2, "two", false));
    first.push(b"ee\nthe e");
    assert_eq!(peer.next().await, said(3, "three", false));
    first.push(b"nd");
    let second = ConsoleLog::private();
    second.push(b"again\n");
    node.console.send(second).expect("told");
    yield_now().await;
    drop(first);
    assert_eq!(peer.next().await, said(4, "the end", true));
    // A change of the service's state brings the next life.
    let mut other = node.connect().await;
    other.ask(json!({ "do": "start", "service": "s0" })).await;
    other.all().await;
    assert_eq!(peer.next().await, said(1, "again", false));
}

#[tokio::test]
async fn the_store_is_listed_with_nothing_that_could_steer_a_terminal() {
    let node = node();
    let mut peer = node.connect().await;
    peer.ask(json!({ "do": "xenstore", "path": "/a/" })).await;
    let of = |path: &str, value: &str| json!({ "node": { "path": path, "value": value } });
    assert_eq!(peer.all().await, [of("/a", ""), of("/a/b", "x y"), of("/a/c", "z"), json!({ "done": {} })]);
    peer.ask(json!({ "do": "xenstore", "path": "/nowhere" })).await;
    assert_eq!(peer.all().await[0]["error"]["kind"], json!("not_found"));
}

#[tokio::test]
async fn a_bad_configuration_is_told_line_by_line() {
    let mut node = node();
    let mut peer = node.connect().await;
    peer.ask(json!({ "do": "reload", "file": "/tmp/x" })).await;
    let Reload { file, answer } = node.reloads.recv().await.expect("an order");
    assert_eq!(file, Some(PathBuf::from("/tmp/x")));
    let problem = Problem { file: "f".into(), line: 7, service: None, what: "w".into(), fix: "x".into() };
    answer.send(Err(Refusal::Problems(vec![problem]))).expect("somebody waits");
    let all = peer.all().await;
    assert_eq!((&all[0]["problem"]["line"], &all[1]["error"]["kind"]), (&json!(7), &json!("configuration")));
    peer.ask(json!({ "do": "reload" })).await;
    let begin = CancellationToken::new();
    let order = node.reloads.recv().await.expect("an order");
    order.answer.send(Ok(begin.clone())).expect("somebody waits");
    assert_eq!(peer.next().await, Some(json!({ "reloading": {} })));
    timeout(LONG, begin.cancelled()).await.expect("it begins anew when the client has been told");
}

#[tokio::test]
async fn nonsense_costs_one_connection() {
    let node = node();
    let long = format!("{{\"version\":1,\"do\":\"{}\"}}\n", "x".repeat(20_000));
    let version = "version 2 is not known; this jitsud has 1";
    for (request, wanted) in [
        ("\n", "no request"),
        ("\0\u{1}\n", "no request"),
        ("[]\n", "no request"),
        ("{\"version\":2,\"do\":\"status\"}\n", version),
        ("{\"version\":1,\"do\":\"dance\"}\n", "dance"),
        ("{\"version\":1}\n", "no request"),
        (long.as_str(), "8192 bytes at most"),
    ] {
        let mut peer = node.connect().await;
        peer.send(request).await;
        let error = peer.next().await.expect("a word")["error"].clone();
        assert_eq!(error["kind"], json!("request"), "{request:.40}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(wanted)), "{error}");
        assert_eq!(peer.next().await, None);
    }
}

#[tokio::test]
async fn too_many_are_told_so_and_places_are_given_back() {
    let node = node();
    let mut followers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut peer = node.connect().await;
        node.log.push(line("x"));
        peer.ask(json!({ "do": "logs", "last": 1, "follow": true })).await;
        peer.next().await.expect("a line");
        followers.push(peer);
    }
    let mut one_more = node.connect().await;
    one_more.ask(json!({ "do": "logs" })).await;
    assert_eq!(one_more.next().await.expect("a word")["error"]["kind"], json!("busy"));
    assert_eq!(one_more.next().await, None);
    drop(followers);
    // They are gone when their tasks have noticed.
    loop {
        let mut peer = node.connect().await;
        peer.ask(json!({ "do": "logs" })).await;
        if peer.next().await.is_some_and(|first| first.get("error").is_none()) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_dropped_and_holds_nobody_up() {
    let node = node();
    let mut slow = node.connect().await;
    slow.ask(json!({ "do": "logs", "follow": true })).await;
    // More than the kernel keeps for it.
    for _ in 0..100 {
        (0..100).for_each(|_| node.log.push(line(&"x".repeat(1000))));
        yield_now().await;
    }
    let mut other = node.connect().await;
    other.ask(json!({ "do": "events" })).await;
    assert_eq!(other.all().await, [json!({ "done": {} })]);
    tokio::time::sleep(2 * super::PATIENCE).await;
    let mut messages = 0;
    while slow.next().await.is_some() {
        messages += 1;
    }
    assert!(messages < 10_000, "{messages} messages were kept for one that did not read");
}
