//! What somebody on the network can do to the HTTP port, and what becomes of others meanwhile.

use super::{Rehearsal, Test};
use crate::client::Resolver;
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use probe::dns::ResponseCode;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The tests, in order.
pub const TESTS: [Test; 1] = [(
    "silent, slow, greedy and nonsensical clients of the HTTP port leave DNS, summons and memory alone",
    others_are_served,
)];

/// Connections that say nothing.
const SILENT: usize = 1000;
/// Most memory that the HTTP port may take, whoever asks for whatever.
const MOST_MEMORY: u64 = 1 << 20;
/// Questions for a service that is up, before and during the attack.
const QUESTIONS: usize = 500;
/// How often each path is asked for during the attack.
const ROUNDS: usize = 5;
/// Services that are summoned during the attack.
const SUMMONED: usize = 20;
/// How long a client waits for an answer before it asks again; none does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of each of the other kinds.
const SLOW: usize = 50;
const GREEDY: usize = 16;
const NONSENSICAL: usize = 8;
/// Clients that are ended come again, with a pause between two of them.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two bytes of a slow client.
const BYTE: Duration = Duration::from_millis(50);
/// Bytes of a head that is too large.
const HEAD: usize = 64 << 10;
/// How many addresses they come from: each may have as many connections as it takes for all places.
const SOURCES: u16 = 250;

/// An attack on an HTTP port that goes on until it is dropped.
pub struct Attack {
    over: Arc<AtomicBool>,
    /// Connections that were opened.
    opened: Arc<AtomicU64>,
    attackers: Vec<JoinHandle<()>>,
}

/// What one attacking client does.
#[derive(Clone, Copy)]
enum Kind {
    /// Says nothing.
    Silent,
    /// Sends a request's head, one byte at a time.
    Slow,
    /// Asks for much, and does not read it.
    Greedy,
    /// Sends a head without an end.
    Nonsensical,
}

impl Attack {
    /// Begins one with so many silent connections, beside those of other kinds; returns when all of them are open. Who is
    /// ended comes again if it `returns`.
    ///
    /// # Errors
    /// When this process cannot have so many files, or the port cannot be reached at all.
    pub fn begin(target: SocketAddr, silent: usize, returns: bool) -> Result<Self> {
        let (_, most) =
            getrlimit(Resource::RLIMIT_NOFILE).context("looking up how many files may be open")?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most).context("having more files open")?;
        let SocketAddr::V4(target) = target else { anyhow::bail!("{target} is no IPv4 address") };
        let mut attack = Attack { over: Arc::default(), opened: Arc::default(), attackers: Vec::new() };
        let kinds = [
            (Kind::Silent, silent),
            (Kind::Slow, SLOW),
            (Kind::Greedy, GREEDY),
            (Kind::Nonsensical, NONSENSICAL),
        ];
        for (kind, count) in kinds {
            let clients = (0..count).map(|index| Client::connect(target, kind, index as u16));
            let clients: Vec<Client> = clients.collect::<Result<_>>()?;
            attack.opened.fetch_add(count as u64, Ordering::Relaxed);
            let (over, opened) = (Arc::clone(&attack.over), Arc::clone(&attack.opened));
            attack.attackers.push(thread::spawn(move || go_on(clients, returns, &over, &opened)));
        }
        Ok(attack)
    }

    /// How many connections it has opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.attackers.drain(..).for_each(|attacker| drop(attacker.join()));
    }
}

/// One attacking client.
struct Client {
    target: SocketAddrV4,
    kind: Kind,
    index: u16,
    stream: TcpStream,
    /// Bytes of its request that it has sent.
    sent: usize,
}

impl Client {
    fn connect(target: SocketAddrV4, kind: Kind, index: u16) -> Result<Self> {
        let open = || -> nix::Result<TcpStream> {
            let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            if target.ip().is_loopback() {
                let [_, low] = (index % SOURCES + 1).to_be_bytes();
                bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(127, 0, 1, low, 0))?;
            }
            if matches!(kind, Kind::Greedy) {
                setsockopt(&fd, sockopt::RcvBuf, &4096)?;
            }
            connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(target))?;
            Ok(TcpStream::from(fd))
        };
        let stream = open().with_context(|| format!("an attacker connecting to {target}"))?;
        stream.set_nonblocking(true).context("an attacker's connection")?;
        Ok(Client { target, kind, index, stream, sent: 0 })
    }

    /// Does what it does; whether its connection lives on.
    fn act(&mut self) -> bool {
        let alive = |result: std::io::Result<usize>| match result {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        let said: &[u8] = match self.kind {
            Kind::Silent => b"",
            Kind::Slow => b"GET / HTTP/1.1\r\nHost: a-name-that-does-not-come-to-an-end",
            Kind::Greedy => b"GET /status HTTP/1.1\r\nHost: node\r\n\r\n",
            Kind::Nonsensical => &[b'x'; HEAD],
        };
        let rest = &said[self.sent..];
        let piece = match self.kind {
            Kind::Slow => &rest[..rest.len().min(1)],
            _ => rest,
        };
        if !piece.is_empty() {
            let written = self.stream.write(piece);
            self.sent += *written.as_ref().unwrap_or(&0);
            return alive(written);
        }
        // Who is greedy does not read what it has asked for, but sees a reset.
        match self.kind {
            Kind::Greedy => self.stream.take_error().is_ok_and(|error| error.is_none()),
            _ => alive(self.stream.read(&mut [0; 64])),
        }
    }
}

/// Attacks until it is over. Whoever is ended comes again, or is gone.
fn go_on(mut clients: Vec<Client>, returns: bool, over: &AtomicBool, opened: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        clients.retain_mut(|client| {
            if over.load(Ordering::Relaxed) || client.act() {
                return true;
            }
            if returns && let Ok(next) = Client::connect(client.target, client.kind, client.index) {
                thread::sleep(PAUSE);
                *client = next;
                opened.fetch_add(1, Ordering::Relaxed);
            }
            returns
        });
        thread::sleep(BYTE);
    }
}

/// The time that half of the answers about a service that is up have come in.
pub fn median_answer(resolver: &Resolver, name: &str, questions: usize) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..questions {
        let begun = Instant::now();
        resolver.a_within(name, PATIENCE)?.address()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn others_are_served() -> Result<String> {
    let service = |index: usize| {
        format!("[[service]]\nname = \"s{index}\"\naddress = \"192.168.1.{}\"\nkernel = \"k\"\n", 20 + index)
    };
    let services: String = (0..=SUMMONED).map(service).collect();
    let config = format!("[node]\naddress = \"192.168.1.10/24\"\n{services}");
    let mut node = Rehearsal::start("attacks", &config, &[])?;
    let (resolver, warm) = (node.resolver(), "s0.jitsu.test");
    let before = median_answer(&resolver, warm, QUESTIONS)?;
    let resident = node.resident()?;

    let attack = Attack::begin(node.at.http, SILENT, true)?;
    let during = median_answer(&resolver, warm, QUESTIONS)?;
    let mut most = node.resident()?;
    for path in ["/healthz", "/", "/service/s1", "/metrics", "/status"].repeat(ROUNDS) {
        let answer = ureq::get(node.url(path)).call().with_context(|| format!("{path} during the attack"))?;
        ensure!(answer.status() == 200, "{path} during the attack: {}", answer.status());
        most = most.max(node.resident()?);
    }
    // Each guest's console takes memory of its own.
    let grown = most.saturating_sub(resident);
    for index in 1..=SUMMONED {
        let answer = resolver.a_within(&format!("s{index}.jitsu.test"), PATIENCE)?;
        ensure!(answer.code == ResponseCode::NoError, "s{index}: {}", answer.code);
    }
    let all: Vec<String> = (0..=SUMMONED).map(|index| format!("s{index}")).collect();
    node.await_states("ready", &all.iter().map(String::as_str).collect::<Vec<_>>())?;
    let opened = attack.opened();
    drop(attack);
    node.ensure_alive()?;
    ensure!(grown < MOST_MEMORY, "the HTTP port has taken {} KiB", grown >> 10);
    Ok(format!(
        "{opened} connections, {} KiB; half of the answers within {:.0} µs, {:.0} µs before",
        grown >> 10,
        during.as_secs_f64() * 1e6,
        before.as_secs_f64() * 1e6
    ))
}
