//! The forward table's sockets and its clock.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::core::{Asked, AttemptId, Core, Effect, Figures, Ticket, Via};
use super::numbers::Numbers;
use super::question::Question;
use crate::directory::Moment;
use crate::dns::Counters;
use crate::random;

/// Longest datagram that is looked at: more than we have said that we take.
const MAX_DATAGRAM: usize = 4096;

/// Bytes that the kernel keeps for a socket, doubled by it and with its bookkeeping: a few messages. By default a server
/// could have it keep 200 KiB for each of hundreds.
const RECEIVE_BUFFER: usize = 8 * 1024;

/// What becomes of a question.
pub enum Forwarded {
    /// This is the reply.
    Now(Vec<u8>),
    /// The reply comes when an upstream server has answered, or none has.
    Later(Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>),
}

/// Asks others. Cheap to clone; when the last one is dropped, everything that is on its way ends.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    counters: Arc<Counters>,
    /// There is an earlier deadline, or nobody who could want anything any more.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    core: Core,
    waiting: HashMap<Ticket, oneshot::Sender<Vec<u8>>>,
    sockets: HashMap<AttemptId, AbortHandle>,
}

impl Forwarder {
    /// Asks these servers, the most preferred first. Needs a tokio runtime. `counters` is where it is counted what it does.
    pub fn new(upstreams: &[SocketAddr], counters: Arc<Counters>) -> Self {
        let core = Core::new(upstreams, Numbers::new(&random::secret()));
        let state = State { core, waiting: HashMap::new(), sockets: HashMap::new() };
        let changed = Arc::new(Notify::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), counters, changed: Arc::clone(&changed) });
        tokio::spawn(keep_time(Arc::downgrade(&shared), changed));
        Forwarder(shared)
    }

    /// Asks these from now on.
    pub fn replace_upstreams(&self, upstreams: &[SocketAddr]) {
        self.0.lock().core.replace_upstreams(upstreams);
    }

    /// What there is, and what there has been.
    pub fn figures(&self) -> Figures {
        self.0.lock().core.figures()
    }

    /// Forwards a message that is a query with one question; `None` if it is none.
    pub fn forward(&self, message: &[u8], client: IpAddr, over_tcp: bool) -> Option<Forwarded> {
        let question = Question::read(message, client, over_tcp)?;
        let mut state = self.0.lock();
        let mut effects = Vec::new();
        let asked = state.core.ask(question, Moment::now(), &mut effects);
        let forwarded = match asked {
            Asked::Now(reply) => Forwarded::Now(reply),
            Asked::Later(ticket) => {
                let (sender, receiver) = oneshot::channel();
                state.waiting.insert(ticket, sender);
                Forwarded::Later(Box::pin(async move { receiver.await.ok() }))
            }
        };
        self.0.carry_out(&mut state, effects);
        Some(forwarded)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between would have cost one message; the table is whole between any two steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open { attempt, server, via, message } => {
                    let shared = Arc::downgrade(self);
                    let task = tokio::spawn(converse(shared, attempt, server, via, message));
                    state.sockets.insert(attempt, task.abort_handle());
                }
                Effect::Close(attempt) => {
                    if let Some(task) = state.sockets.remove(&attempt) {
                        task.abort();
                    }
                }
                Effect::Reply(ticket, reply) => {
                    if let Some(client) = state.waiting.remove(&ticket) {
                        let _gone = client.send(reply);
                    }
                }
            }
        }
        let Figures { questions, from_cache, unanswered, sent, .. } = state.core.figures();
        self.counters.forwarded.store(questions, Ordering::Relaxed);
        self.counters.from_cache.store(from_cache, Ordering::Relaxed);
        self.counters.unanswered.store(unanswered, Ordering::Relaxed);
        self.counters.upstream.store(sent, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn step(self: &Arc<Self>, step: impl FnOnce(&mut Core, &mut Vec<Effect>)) {
        let mut state = self.lock();
        let mut effects = Vec::new();
        step(&mut state.core, &mut effects);
        self.carry_out(&mut state, effects);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in self.lock().sockets.values() {
            task.abort();
        }
        self.changed.notify_one();
    }
}

async fn keep_time(shared: Weak<Shared>, changed: Arc<Notify>) {
    loop {
        let Some(deadline) = shared.upgrade().map(|shared| shared.lock().core.deadline()) else { return };
        let wait = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline.since(Moment::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = changed.notified() => continue,
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.step(|core, effects| core.tick(Moment::now(), effects));
    }
}

/// One attempt: its socket is its own, so its port is new, and nobody's but the server's messages come in.
async fn converse(shared: Weak<Shared>, attempt: AttemptId, server: SocketAddr, via: Via, message: Vec<u8>) {
    let received = |message: &[u8]| {
        if let Some(shared) = shared.upgrade() {
            shared.step(|core, effects| core.received(attempt, message, Moment::now(), effects));
        }
    };
    let outcome = match via {
        Via::Udp => over_udp(server, &message, received).await,
        Via::Tcp => over_tcp(server, &message).await.map(|reply| received(&reply)),
    };
    if let Err(error) = outcome {
        tracing::debug!(%server, "no answer: {error}");
        if let Some(shared) = shared.upgrade() {
            shared.step(|core, effects| core.failed(attempt, Moment::now(), effects));
        }
    }
}

async fn over_udp(server: SocketAddr, message: &[u8], received: impl Fn(&[u8])) -> io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Linux takes a port at random for port 0.
    let socket = UdpSocket::bind((any, 0)).await?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    socket.connect(server).await?;
    socket.send(message).await?;
    loop {
        // That the port is closed there, or no way leads to it, comes as an error and without anything to read.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            let error = || Err(socket.take_error()?.unwrap_or(io::ErrorKind::WouldBlock.into()));
            match socket.try_io(Interest::ERROR, error) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
        // Not a part of the task: there may be hundreds of them.
        let mut buffer = [0; MAX_DATAGRAM];
        match socket.try_recv(&mut buffer) {
            Ok(length) => received(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn over_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    // RFC 7766, section 8: length and message in one write.
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = Vec::new();
    // Memory is taken for what comes, not for what is announced.
    (&mut stream).take(length.into()).read_to_end(&mut reply).await?;
    if reply.len() < usize::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(reply)
}
