//! Connections: a fixed number of them, each bounded in memory and in time.
//!
//! A client may send one request after the other, without waiting for responses. One that sends nothing, sends slowly,
//! takes too little of what it has asked for, or never closes is cut off when its time is up. Where connections are
//! scarce they do not persist: a response then says that its own ends, and those that nobody has used for a moment are
//! closed. What becomes of a client that comes when every connection is in use, and of those that do not finish opening
//! one, whoever polls the network decides (`jitsu-rt-core`'s `backlog`).

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};

use self::answer::Answer;
use crate::request::{self, MAX_HEAD, Received, Request};
use crate::response::{Connection, Response, Status};

mod answer;

/// Connections at a time.
pub const CONNECTIONS: usize = 16;
/// Bytes received and not yet read, and so the window. A longer request comes in pieces.
pub const RECEIVE_BUFFER: usize = 2048;
/// Bytes of a connection that are sent and not yet acknowledged: at least, and at most.
const SEND_BUFFER: (usize, usize) = (16 << 10, 64 << 10);
/// Connections that are to be free for others; while there are less, none persists.
const RESERVE: usize = 4;
/// How long a connection may be unused then.
const MOMENT: Duration = Duration::from_millis(500);
/// As little as this is no progress: a client must take more in [`Patience::response`].
const LITTLE: usize = 1024;

/// How long a client may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From when its connection is open, or from a further request's first byte, until that request is complete.
    pub request: Duration,
    /// From when it has everything until it asks for more.
    pub idle: Duration,
    /// For each KiB of a response.
    pub response: Duration,
    /// From when it has everything until it closes its side, too.
    pub close: Duration,
}

impl Default for Patience {
    /// 5 s, 5 s, 10 s and 2 s.
    fn default() -> Self {
        let [request, idle, response, close] = [5, 5, 10, 2].map(Duration::from_secs);
        Patience { request, idle, response, close }
    }
}

/// An HTTP server on one port. What it serves is in memory for `'s`.
#[derive(Debug)]
pub struct Server<'s> {
    port: u16,
    patience: Patience,
    clients: Vec<Client<'s>>,
}

/// A connection.
#[derive(Debug)]
struct Client<'s> {
    socket: SocketHandle,
    phase: Phase<'s>,
    /// What has come and was not answered yet.
    received: Vec<u8>,
}

#[derive(Debug)]
enum Phase<'s> {
    /// No connection is open: another client's may be half open at any time.
    Listening,
    /// A request comes, until then at the latest.
    Receiving(Instant),
    /// The request before has been answered, and TCP has what is said; when the client took of it last.
    Idle(Progress),
    /// A response goes out, and may be the last one.
    Sending(Answer<'s>, Progress, Connection),
    /// This side is closed.
    Closing(Progress),
    /// It has been cut off; TCP still has to say so.
    Aborted,
}

/// How far a client has come with what it is sent.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// When it had taken enough.
    since: Instant,
    /// Bytes that were left of all then.
    left: usize,
}

/// What a step needs to know of the server.
#[derive(Clone, Copy)]
struct Terms {
    port: u16,
    patience: Patience,
    now: Instant,
    /// Whether connections are scarce.
    scarce: bool,
}

impl<'s> Server<'s> {
    /// Opens the sockets; they listen on `port`. There are `memory` bytes for everything: the more there are, the more is
    /// on the way to a client at a time.
    pub fn listen(sockets: &mut SocketSet<'static>, port: u16, memory: usize) -> Self {
        Server::patient(sockets, port, memory, Patience::default())
    }

    /// The same, with another patience.
    pub fn patient(sockets: &mut SocketSet<'static>, port: u16, memory: usize, patience: Patience) -> Self {
        // An eighth for all.
        let send_buffer = (memory / 8 / CONNECTIONS).clamp(SEND_BUFFER.0, SEND_BUFFER.1);
        let open = |_| {
            let receive = SocketBuffer::new(vec![0; RECEIVE_BUFFER]);
            let send = SocketBuffer::new(vec![0; send_buffer]);
            let mut socket = Socket::new(receive, send);
            // Responses are sent whole; waiting would only hold their ends back.
            socket.set_nagle_enabled(false);
            listen(&mut socket, port);
            Client { socket: sockets.add(socket), phase: Phase::Listening, received: Vec::new() }
        };
        Server { port, patience, clients: (0..CONNECTIONS).map(open).collect() }
    }

    /// Looks after every connection. `respond` turns a request into its response.
    ///
    /// Returns when to come back at the latest.
    pub fn poll(
        &mut self,
        sockets: &mut SocketSet<'static>,
        now: Instant,
        mut respond: impl FnMut(&Request<'_, '_>) -> Response<'s>,
    ) -> Option<Instant> {
        let mut free = self.clients.iter().filter(|client| matches!(client.phase, Phase::Listening)).count();
        let mut next = None;
        for client in &mut self.clients {
            let socket = sockets.get_mut::<Socket<'_>>(client.socket);
            let was_free = matches!(client.phase, Phase::Listening);
            let scarce = free < RESERVE;
            let terms = Terms { port: self.port, patience: self.patience, now, scarce };
            let deadline = client.step(socket, &terms, &mut respond);
            next = [next, deadline].into_iter().flatten().min();
            match (was_free, matches!(client.phase, Phase::Listening)) {
                (true, false) => free -= 1,
                (false, true) => free += 1,
                _ => {}
            }
        }
        next
    }
}

impl<'s> Client<'s> {
    /// Goes on as far as possible. Returns when its time is up.
    fn step(
        &mut self,
        socket: &mut Socket<'_>,
        terms: &Terms,
        respond: &mut impl FnMut(&Request<'_, '_>) -> Response<'s>,
    ) -> Option<Instant> {
        if matches!(socket.state(), State::Closed | State::TimeWait) {
            // Nothing of an ended connection is worth a socket: should the peer miss our last
            // acknowledgement, a reset tells it the same.
            socket.abort();
            listen(socket, terms.port);
            self.phase = Phase::Listening;
            self.received = Vec::new();
        }
        if matches!(self.phase, Phase::Listening)
            && !matches!(socket.state(), State::Listen | State::SynReceived)
        {
            self.phase = Phase::Receiving(terms.now + terms.patience.request);
        }
        // Each turn hands something to TCP, which has room for so much, or is the last one.
        while self.advance(socket, terms, respond) {}
        let deadline = self.deadline(socket, terms)?;
        if terms.now < deadline {
            return Some(deadline);
        }
        self.expire(socket, terms);
        Some(terms.now)
    }

    /// Does what can be done in this phase. Says whether there is a next one to look at.
    fn advance(
        &mut self,
        socket: &mut Socket<'_>,
        terms: &Terms,
        respond: &mut impl FnMut(&Request<'_, '_>) -> Response<'s>,
    ) -> bool {
        match &mut self.phase {
            Phase::Listening | Phase::Aborted => false,
            Phase::Receiving(_) => {
                receive(socket, &mut self.received);
                if let Some((answer, connection)) = self.answer(terms, respond) {
                    self.phase = Phase::Sending(answer, Progress::new(terms.now, socket), connection);
                    return true;
                }
                if !socket.may_recv() && !socket.can_recv() {
                    // The client will send no more, and this is no request.
                    self.close(socket, terms);
                }
                false
            }
            Phase::Idle(progress) => {
                progress.note(terms.now, socket.send_queue());
                receive(socket, &mut self.received);
                if self.received.is_empty() && socket.may_recv() {
                    return false;
                }
                self.phase = Phase::Receiving(terms.now + terms.patience.request);
                true
            }
            Phase::Sending(answer, progress, connection) => {
                answer.send(socket);
                progress.note(terms.now, socket.send_queue() + answer.left());
                let closes = *connection == Connection::Close;
                if closes {
                    discard(socket);
                }
                if answer.left() > 0 {
                    return false;
                }
                if closes {
                    self.close(socket, terms);
                    return false;
                }
                self.phase = Phase::Idle(Progress::new(terms.now, socket));
                true
            }
            Phase::Closing(progress) => {
                discard(socket);
                progress.note(terms.now, socket.send_queue());
                false
            }
        }
    }

    /// The answer to the first request that has been received, if it is there as a whole.
    fn answer(
        &mut self,
        terms: &Terms,
        respond: &mut impl FnMut(&Request<'_, '_>) -> Response<'s>,
    ) -> Option<(Answer<'s>, Connection)> {
        if self.received.is_empty() {
            return None;
        }
        let mut room = request::NO_FIELDS;
        let (response, is_head, connection, length) = match request::parse(&self.received, &mut room) {
            Received::Incomplete => return None,
            Received::Refused(status) => {
                (Response::plain(status), false, Connection::Close, self.received.len())
            }
            Received::Message(message) => {
                let last = self.received.len() == message.length;
                let connection = match (message.persists && !(terms.scarce && last), message.is_old) {
                    (false, _) => Connection::Close,
                    (true, false) => Connection::Persistent,
                    (true, true) => Connection::KeepAlive,
                };
                let response = match &message.request {
                    Ok(request) => respond(request),
                    Err(status) => Response::plain(*status),
                };
                (response, message.is_head, connection, message.length)
            }
        };
        self.received.drain(..length);
        Some((Answer::new(response.into_pieces(is_head, connection)), connection))
    }

    fn close(&mut self, socket: &mut Socket<'_>, terms: &Terms) {
        socket.close();
        self.received = Vec::new();
        self.phase = Phase::Closing(Progress::new(terms.now, socket));
    }

    /// When the client's time is up.
    fn deadline(&self, socket: &Socket<'_>, terms: &Terms) -> Option<Instant> {
        let Patience { idle, response, close, .. } = terms.patience;
        let is_done = socket.send_queue() == 0;
        match &self.phase {
            Phase::Listening | Phase::Aborted => None,
            Phase::Receiving(deadline) => Some(*deadline),
            Phase::Sending(_, progress, _) => Some(progress.since + response),
            Phase::Idle(progress) if is_done && terms.scarce => Some(progress.since + idle.min(MOMENT)),
            Phase::Idle(progress) if is_done => Some(progress.since + idle),
            Phase::Closing(progress) if is_done => Some(progress.since + close),
            Phase::Idle(progress) | Phase::Closing(progress) => Some(progress.since + response),
        }
    }

    /// Its time is up.
    fn expire(&mut self, socket: &mut Socket<'_>, terms: &Terms) {
        match &self.phase {
            // It has begun a request and may want to know what has become of it.
            Phase::Receiving(_) if !self.received.is_empty() => {
                let pieces = Response::plain(Status::RequestTimeout).into_pieces(false, Connection::Close);
                let mut answer = Answer::new(pieces);
                answer.send(socket);
                self.close(socket, terms);
            }
            Phase::Receiving(_) => self.close(socket, terms),
            Phase::Idle(_) if socket.send_queue() == 0 => self.close(socket, terms),
            _ => {
                socket.abort();
                self.phase = Phase::Aborted;
            }
        }
    }
}

impl Progress {
    fn new(now: Instant, socket: &Socket<'_>) -> Self {
        Progress { since: now, left: socket.send_queue() }
    }

    /// Time runs anew when the client has taken more than a little, or everything.
    fn note(&mut self, now: Instant, left: usize) {
        if left > self.left {
            // The response has been made since.
            self.left = left;
        } else if self.left - left >= LITTLE || (left == 0 && self.left > 0) {
            *self = Progress { since: now, left };
        }
    }
}

fn listen(socket: &mut Socket<'_>, port: u16) {
    socket.listen(port).expect("a closed socket can listen on a port other than 0");
}

/// Moves what has come to what was received before, up to the limit.
fn receive(socket: &mut Socket<'_>, received: &mut Vec<u8>) {
    while received.len() < MAX_HEAD && socket.can_recv() {
        // `can_recv` says that there is something; what does not fit stays where it is.
        let _received = socket.recv(|data| {
            let count = data.len().min(MAX_HEAD - received.len());
            received.extend_from_slice(&data[..count]);
            (count, ())
        });
    }
}

/// Forgets what a client sends after its last request.
fn discard(socket: &mut Socket<'_>) {
    while socket.can_recv() {
        let _received = socket.recv(|data| (data.len(), ()));
    }
}

#[cfg(test)]
mod tests;
