//! Sockets in, sockets out.
//!
//! What is bounded, and what happens at the bound: questions in progress over UDP (further ones are dropped;
//! clients ask again), TCP connections (further ones wait in the kernel's queue), the time a TCP client may
//! take (its connection is closed). Only a question that has to wait becomes a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Zone;
use super::reply::{Begun, Transport, begin, reply};
use crate::directory::Moment;
use crate::listener::Listener;
use crate::summoner::Summoner;

/// Most UDP questions in progress. More than what may wait for one service
/// ([`crate::directory::MAX_WAITING`]), so that one slow service leaves room for the others.
const MAX_QUESTIONS: usize = 1024;

/// Most TCP connections.
const MAX_CONNECTIONS: usize = 64;

/// Longest question in bytes. A real one has at most some 300.
const MAX_MESSAGE: usize = 4096;

/// How long a TCP client may take to send a question or to take a reply (RFC 7766 recommends a few seconds).
const TCP_PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a failed `recv`, lest a broken network makes a busy loop.
const RECEIVE_PAUSE: Duration = Duration::from_millis(20);

/// Answers on both sockets until `shutdown`; then questions in progress are dropped.
///
/// Nothing that arrives can end it: errors are logged, and cost one message or one connection.
pub async fn serve(
    udp: UdpSocket,
    tcp: TcpListener,
    zone: Arc<Zone>,
    summoner: Summoner,
    shutdown: CancellationToken,
) {
    let listener = Listener::new(tcp, MAX_CONNECTIONS, "DNS over TCP");
    let serve_all = async {
        tokio::join!(serve_udp(udp, &zone, &summoner), serve_tcp(&listener, &zone, &summoner));
    };
    let _cancelled = shutdown.run_until_cancelled(serve_all).await;
}

async fn serve_udp(socket: UdpSocket, zone: &Arc<Zone>, summoner: &Summoner) {
    let socket = Arc::new(socket);
    let permits = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let (length, peer) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!("DNS over UDP: cannot receive: {error}");
                    sleep(RECEIVE_PAUSE).await;
                    continue;
                }
            },
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(%peer, "DNS over UDP: {MAX_QUESTIONS} questions wait; one is dropped");
            continue;
        };
        let message = &buffer[..length];
        match begin(message, peer, Transport::Udp, Moment::now(), zone, summoner) {
            Begun::Silence => {}
            Begun::Now(reply) => send(&socket, &reply, peer).await,
            Begun::Later(reply) => {
                let socket = Arc::clone(&socket);
                tasks.spawn(async move {
                    let _permit = permit;
                    if let Some(reply) = reply.await {
                        send(&socket, &reply, peer).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(reply, peer).await {
        tracing::debug!(%peer, "DNS over UDP: cannot send: {error}");
    }
}

async fn serve_tcp(listener: &Listener, zone: &Arc<Zone>, summoner: &Summoner) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
        };
        let (zone, summoner) = (Arc::clone(zone), summoner.clone());
        tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = converse(stream, peer, &zone, &summoner).await {
                tracing::debug!(%peer, "DNS over TCP: {error}");
            }
        });
    }
}

/// Answers one connection's questions in their order until the client closes it or is too slow.
async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    zone: &Arc<Zone>,
    summoner: &Summoner,
) -> io::Result<()> {
    loop {
        let message = match timeout(TCP_PATIENCE, read_message(&mut stream)).await?? {
            Some(message) => message,
            None => return Ok(()),
        };
        let received = Moment::now();
        let Some(bytes) = reply(&message, peer, Transport::Tcp, received, zone, summoner).await else {
            return Ok(());
        };
        // Replies are encoded to fit the length's 16 bits.
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        timeout(TCP_PATIENCE, stream.write_all(&framed)).await??;
    }
}

/// One message with its length in front (RFC 1035, section 4.2.2); `None` when the client has closed.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_MESSAGE {
        return Err(io::Error::other(format!("a message of {length} bytes is no question")));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("DNS: a task ended badly: {error}");
    }
}
