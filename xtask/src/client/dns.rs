//! Questions to the node's name server over UDP.

use anyhow::{Context, Result, bail};
use probe::dns::{Answer, MAX_UDP, Question, RecordType};
use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take. The node itself gives a service up earlier (`boot_timeout`).
const PATIENCE: Duration = Duration::from_secs(30);

/// When a first question is repeated.
const REPEAT: Duration = Duration::from_millis(250);

/// The node's name server, as it can be reached from the host.
#[derive(Clone, Copy, Debug)]
pub struct Resolver {
    server: SocketAddr,
}

/// An answer, and when it came.
#[derive(Debug)]
pub struct Reply {
    /// What was answered.
    pub answer: Answer,
    /// When the question was handed to the kernel.
    pub sent: Instant,
    /// When the answer was read.
    pub received: Instant,
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server)
    }
}

impl Resolver {
    /// The name server at `server`.
    pub fn new(server: SocketAddr) -> Self {
        Resolver { server }
    }

    /// Where the server is, as seen from this host.
    pub fn address(&self) -> SocketAddr {
        self.server
    }

    /// Returns when questions from this host reach the node and are answered. They may not at first, although
    /// the daemon is ready: a bridge's port that has just come up forwards when Linux next looks at its
    /// carrier, up to a second later. As any resolver, this one repeats its question. It summons nothing.
    ///
    /// # Errors
    /// When no answer comes within half a minute.
    pub fn settle(&self) -> Result<()> {
        let question = Question::new("settle.invalid", RecordType::A)?;
        for _ in 0..PATIENCE.as_millis() / REPEAT.as_millis() {
            if let Some((_, _, reply)) = self.exchange(question.as_bytes(), REPEAT)? {
                return question.read(&reply).map(drop).context("the first answer of all");
            }
        }
        bail!("no question reaches the node over {} in {} s", self.server, PATIENCE.as_secs())
    }

    /// Asks once and waits for the answer, from a socket of its own.
    ///
    /// # Errors
    /// When no answer comes within half a minute, or it is no answer to the question.
    pub fn ask(&self, name: &str, kind: RecordType) -> Result<Reply> {
        self.ask_within(name, kind, PATIENCE)
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// As [`Resolver::ask`].
    pub fn ask_within(&self, name: &str, kind: RecordType, patience: Duration) -> Result<Reply> {
        let question = Question::new(name, kind)?;
        let (sent, received, bytes) = self.exchange(question.as_bytes(), patience)?.with_context(|| {
            format!("asking for {kind} of {name}: no answer from {} in {} s", self.server, patience.as_secs())
        })?;
        let answer = question.read(&bytes).with_context(|| format!("asking for {kind} of {name}"))?;
        Ok(Reply { answer, sent, received })
    }

    /// Asks for the addresses of `name`.
    ///
    /// # Errors
    /// As [`Resolver::ask`].
    pub fn a(&self, name: &str) -> Result<Answer> {
        Ok(self.ask(name, RecordType::A)?.answer)
    }

    /// As [`Resolver::a`], of a service that takes its time to get ready.
    ///
    /// # Errors
    /// When no answer comes within `patience`.
    pub fn a_within(&self, name: &str, patience: Duration) -> Result<Answer> {
        Ok(self.ask_within(name, RecordType::A, patience)?.answer)
    }

    /// Sends any bytes; `None` when nothing comes back within `patience`.
    ///
    /// # Errors
    /// When the host's network fails.
    pub fn send_raw(&self, message: &[u8], patience: Duration) -> Result<Option<Vec<u8>>> {
        Ok(self.exchange(message, patience)?.map(|(_, _, bytes)| bytes))
    }

    fn exchange(&self, message: &[u8], patience: Duration) -> Result<Option<(Instant, Instant, Vec<u8>)>> {
        let what = || format!("speaking UDP to {}", self.server);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("opening a UDP socket")?;
        socket.connect(self.server).with_context(what)?;
        socket.set_read_timeout(Some(patience)).with_context(what)?;
        let sent = Instant::now();
        socket.send(message).with_context(what)?;
        let mut buffer = vec![0; MAX_UDP];
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some((sent, Instant::now(), buffer)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => bail!("speaking UDP to {}: {error}", self.server),
        }
    }
}
