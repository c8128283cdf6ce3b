//! The node as this client sees it: its name server, its status, its services.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::dns::{Answer, MAX_UDP, Question, RecordType};
use probe::host::{self, now};
use probe::http;
use serde::Deserialize;

/// Longest wait for a single thing.
const PATIENCE: Duration = Duration::from_secs(30);
/// When a first question is repeated, and for how often.
const REPEAT: Duration = Duration::from_millis(500);
const TRIES: u32 = 40;
/// Between two looks at the status: nothing tells another host of its changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Longest page.
const MAX_REPLY: u64 = 1 << 20;
/// Where this host is.
const BRIDGE: &str = "br0";
const OWN: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 200), 22);
/// "At once": long before a client would ask again, and more than any answer takes.
pub const AT_ONCE: Duration = Duration::from_millis(300);

pub struct Node {
    address: Ipv4Addr,
    resolver: UdpSocket,
}

#[derive(Debug, Deserialize)]
pub struct Status {
    pub boot: Boot,
    pub services: Vec<Service>,
    pub events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub struct Boot {
    pub jitsud_started_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    pub name: String,
    pub address: Ipv4Addr,
    pub memory_mib: u32,
    pub state: String,
    pub reason: Option<String>,
    pub domid: Option<u16>,
    pub starts: u64,
    pub requests: u64,
    pub wakes: u64,
    pub failures: u64,
    pub ready_since_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub at_ns: u64,
    pub service: String,
    pub from: String,
    pub to: String,
    pub why: String,
}

impl Node {
    /// Becomes another host on the node's network. Returns when its questions are answered.
    pub fn meet(address: Ipv4Addr) -> Result<Self> {
        host::become_one(BRIDGE, OWN.0, OWN.1)?;
        let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
        resolver.connect((address, 53))?;
        let node = Node { address, resolver };
        node.answers()?;
        Ok(node)
    }

    /// Its own address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns when the node answers questions.
    fn answers(&self) -> Result<()> {
        let question = Question::new("lives.invalid", RecordType::A)?;
        self.resolver.set_read_timeout(Some(REPEAT))?;
        let mut buffer = [0; MAX_UDP];
        for _ in 0..TRIES {
            // Nobody may listen just now, which the kernel says at the next call.
            let sent = self.resolver.send(question.as_bytes());
            match sent.and_then(|_| self.resolver.recv(&mut buffer)) {
                Ok(length) if question.read(&buffer[..length]).is_ok() => {
                    self.resolver.set_read_timeout(Some(PATIENCE))?;
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => sleep(LOOK_AGAIN),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("waiting for the node's name server"),
            }
        }
        bail!("the node's name server did not answer in {TRIES} tries")
    }

    /// Asks for the addresses of a name in the zone, with EDNS.
    pub fn ask(&self, name: &str) -> Result<Answer> {
        let question = Question::with_edns(&format!("{name}.jitsu.test"), RecordType::A)?;
        let mut buffer = [0; MAX_UDP];
        self.resolver.send(question.as_bytes()).context("sending the question")?;
        let received = self.resolver.recv(&mut buffer);
        let length = received.with_context(|| format!("waiting for the address of {name}"))?;
        question.read(&buffer[..length])
    }

    pub fn status(&self) -> Result<Status> {
        let fetch = || -> Result<Status> {
            let reply = page(self.connect(self.address)?, "/status")?;
            Ok(serde_json::from_slice(http::body(&reply))?)
        };
        fetch().context("reading the node's status")
    }

    pub fn service(&self, name: &str) -> Result<Service> {
        let found = self.status()?.services.into_iter().find(|service| service.name == name);
        found.with_context(|| format!("there is no service {name}"))
    }

    /// Waits until a service is in a state, for so long at the most.
    pub fn once(&self, name: &str, state: &str, limit: Duration) -> Result<Service> {
        self.once_it(name, limit, |service| service.state == state)
            .with_context(|| format!("waiting until {name} is {state}"))
    }

    /// Waits until a service is as wanted.
    pub fn once_it(&self, name: &str, limit: Duration, wanted: impl Fn(&Service) -> bool) -> Result<Service> {
        let begin = now()?;
        loop {
            let service = self.service(name)?;
            if wanted(&service) {
                return Ok(service);
            }
            ensure!(since(begin)? < limit, "after {limit:?} it is {service:?}");
            sleep(LOOK_AGAIN);
        }
    }

    /// The last change of a service's state from one to another.
    pub fn last_event(&self, name: &str, from: &str, to: &str) -> Result<Event> {
        let mut events = self.status()?.events;
        events.retain(|event| event.service == name && event.from == from && event.to == to);
        events.pop().with_context(|| format!("{name} has not gone from {from} to {to} lately"))
    }

    pub fn connect(&self, address: Ipv4Addr) -> Result<TcpStream> {
        let peer = SocketAddrV4::new(address, 80);
        let stream = TcpStream::connect_timeout(&peer.into(), PATIENCE)
            .with_context(|| format!("connecting to {peer}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Asks for a service, and fetches its page.
    pub fn visit(&self, name: &str) -> Result<Service> {
        let visit = || -> Result<Service> {
            let address = self.ask(name)?.address()?;
            is_a_page(&page(self.connect(address)?, "/")?)?;
            let service = self.service(name)?;
            ensure!(service.address == address, "its name is answered with {address}");
            Ok(service)
        };
        visit().with_context(|| format!("visiting {name}"))
    }

    /// Fails unless a packet to a service is refused, at once.
    pub fn is_refused(&self, service: &Service) -> Result<()> {
        let begin = now()?;
        let peer = SocketAddrV4::new(service.address, 80);
        let kind = TcpStream::connect_timeout(&peer.into(), PATIENCE).map(drop).map_err(|error| error.kind());
        let took = since(begin)?;
        ensure!(
            kind == Err(ErrorKind::ConnectionRefused),
            "connecting to {} ended with {kind:?}",
            service.name
        );
        ensure!(took < AT_ONCE, "{} was refused after {took:?}", service.name);
        Ok(())
    }

    /// Has the daemon end and another one take everything over.
    pub fn restart(&self) -> Result<()> {
        let old = self.status()?.boot.jitsud_started_ns;
        // There is no other way from here to there than a process.
        let killed = std::process::Command::new("killall").args(["-HUP", "jitsud"]).status();
        ensure!(killed.context("running killall")?.success(), "killall failed");
        for _ in 0..TRIES {
            self.answers()?;
            match self.status() {
                Ok(status) if status.boot.jitsud_started_ns != old => return Ok(()),
                // Still, or not yet.
                Ok(_) | Err(_) => sleep(REPEAT),
            }
        }
        bail!("no other jitsud came up")
    }
}

/// How long ago that was.
pub fn since(then: u64) -> Result<Duration> {
    Ok(Duration::from_nanos(now()?.saturating_sub(then)))
}

/// Sends a request on an open connection, and reads until its end.
pub fn page(mut stream: TcpStream, path: &str) -> Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: lives\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(|| format!("asking for {path}"))?;
    let mut reply = Vec::new();
    stream.take(MAX_REPLY).read_to_end(&mut reply).with_context(|| format!("reading {path}"))?;
    Ok(reply)
}

pub fn is_a_page(reply: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(reply);
    ensure!(text.starts_with("HTTP/1.1 200 OK\r\n"), "no page: {text:?}");
    Ok(())
}
