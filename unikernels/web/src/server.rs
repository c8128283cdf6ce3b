//! Connections: a fixed number of them, each bounded in memory and in time.
//!
//! A client that sends nothing, sends slowly or never closes is cut off when its time is up. What becomes of one that
//! comes when every connection is in use, and of those that do not finish opening one, whoever polls the network decides
//! (`jitsu-rt-core`'s `backlog`).

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};

use crate::http::{self, MAX_REQUEST, Request, Status};

/// Connections at a time.
pub const CONNECTIONS: usize = 16;
/// Bytes received and not yet read, and so the window: a request fits.
pub const RECEIVE_BUFFER: usize = MAX_REQUEST;
/// Bytes sent and not yet acknowledged.
const SEND_BUFFER: usize = 4096;
/// From when a client's connection is open until its request is complete.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// From then on until the connection is closed on both sides.
const RESPONSE_TIME: Duration = Duration::from_secs(10);

/// How long a client may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From when its connection is open until its request is complete.
    pub request: Duration,
    /// From then on until the connection is closed on both sides.
    pub response: Duration,
}

impl Default for Patience {
    /// 5 s and 10 s.
    fn default() -> Self {
        Patience { request: REQUEST_TIME, response: RESPONSE_TIME }
    }
}

/// An HTTP server on one port.
#[derive(Debug)]
pub struct Server {
    port: u16,
    patience: Patience,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: SocketHandle,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// No connection is open: another client's may be half open at any time.
    Listening,
    /// The request so far.
    Receiving(Vec<u8>, Instant),
    /// The response, and how much of it has been handed to TCP.
    Sending(Vec<u8>, usize, Instant),
    /// It has been cut off; TCP still has to say so.
    Aborted,
}

impl Server {
    /// Opens the sockets; they listen on `port`.
    pub fn listen(sockets: &mut SocketSet<'static>, port: u16) -> Self {
        Server::patient(sockets, port, Patience::default())
    }

    /// The same, with another patience.
    pub fn patient(sockets: &mut SocketSet<'static>, port: u16, patience: Patience) -> Self {
        let open = |_| {
            let receive = SocketBuffer::new(vec![0; RECEIVE_BUFFER]);
            let send = SocketBuffer::new(vec![0; SEND_BUFFER]);
            let mut socket = Socket::new(receive, send);
            listen(&mut socket, port);
            Connection { socket: sockets.add(socket), phase: Phase::Listening }
        };
        Server { port, patience, connections: (0..CONNECTIONS).map(open).collect() }
    }

    /// Looks after every connection. `respond` turns a request into a whole response.
    ///
    /// Returns when to come back at the latest.
    pub fn poll(
        &mut self,
        sockets: &mut SocketSet<'static>,
        now: Instant,
        mut respond: impl FnMut(&Result<Request, Status>) -> Vec<u8>,
    ) -> Option<Instant> {
        let (port, patience) = (self.port, self.patience);
        self.connections
            .iter_mut()
            .filter_map(|connection| {
                let socket = sockets.get_mut::<Socket<'_>>(connection.socket);
                connection.phase.step(socket, port, patience, now, &mut respond)
            })
            .min()
    }
}

impl Phase {
    /// Goes on as far as possible. Returns when its time is up.
    fn step(
        &mut self,
        socket: &mut Socket<'_>,
        port: u16,
        patience: Patience,
        now: Instant,
        respond: &mut impl FnMut(&Result<Request, Status>) -> Vec<u8>,
    ) -> Option<Instant> {
        if matches!(socket.state(), State::Closed | State::TimeWait) {
            // Nothing of an ended connection is worth a socket: should the peer miss our last
            // acknowledgement, a reset tells it the same.
            socket.abort();
            listen(socket, port);
            *self = Phase::Listening;
        }
        if matches!(self, Phase::Listening) && !matches!(socket.state(), State::Listen | State::SynReceived) {
            *self = Phase::Receiving(Vec::new(), now + patience.request);
        }
        if let Phase::Receiving(request, _) = self {
            receive(socket, request);
            if let Some(outcome) = http::parse(request) {
                *self = Phase::Sending(respond(&outcome), 0, now + patience.response);
            } else if socket.state() == State::CloseWait {
                // The client will send no more, and this is no request.
                socket.close();
            }
        }
        if let Phase::Sending(response, sent, _) = self {
            discard(socket);
            if *sent < response.len() {
                // An error means that the client has reset the connection, which its state says too.
                *sent += socket.send_slice(&response[*sent..]).unwrap_or(0);
                if *sent == response.len() {
                    socket.close();
                }
            }
        }
        match self {
            Phase::Receiving(_, deadline) | Phase::Sending(_, _, deadline) if now >= *deadline => {
                socket.abort();
                *self = Phase::Aborted;
                Some(now)
            }
            Phase::Receiving(_, deadline) | Phase::Sending(_, _, deadline) => Some(*deadline),
            Phase::Listening | Phase::Aborted => None,
        }
    }
}

fn listen(socket: &mut Socket<'_>, port: u16) {
    socket.listen(port).expect("a closed socket can listen on a port other than 0");
}

/// Moves what has come to the end of the request, up to the limit.
fn receive(socket: &mut Socket<'_>, request: &mut Vec<u8>) {
    let room = MAX_REQUEST - request.len();
    if room > 0 && socket.can_recv() {
        // `can_recv` says that there is something; what does not fit stays where it is.
        let _received = socket.recv(|data| {
            let count = data.len().min(room);
            request.extend_from_slice(&data[..count]);
            (count, ())
        });
    }
}

/// Forgets what a client sends after its request.
fn discard(socket: &mut Socket<'_>) {
    while socket.can_recv() {
        let _received = socket.recv(|data| (data.len(), ()));
    }
}

#[cfg(test)]
mod tests;
