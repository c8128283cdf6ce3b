//! Connections: messages with their lengths in front (RFC 1035, section 4.2.2), many at a time (RFC 7766).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connections::{self, Connection, Connections};
use super::{Front, MAX_MESSAGE, report};
use crate::directory::Moment;
use crate::dns::brief;
use crate::dns::counters::count;
use crate::dns::limits::Admission;
use crate::dns::reply::{Begun, Transport};
use crate::listener::Listener;

/// Bytes in front of a message.
const LENGTH: usize = 2;

/// Questions of one connection that wait for something; it is not read on before one has its answer.
const MOST_WAITING: usize = 64;

/// Bytes of replies that a client has not taken; it is not read on before it has.
const MOST_UNSENT: usize = 16 * 1024;

/// Accepts connections on all sockets and answers on them, for ever.
pub async fn serve(sockets: Vec<TcpListener>, front: &Arc<Front>) {
    let connections = Connections::default();
    join_all(sockets.into_iter().map(|socket| accept(socket, &connections, front))).await;
}

async fn accept(socket: TcpListener, connections: &Connections, front: &Arc<Front>) {
    // One more than there may be: the newest is accepted, and an older one ends.
    let listener = Listener::new(socket, connections::MOST + 1, "DNS over TCP");
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
        let (connection, crowded) = connections.add(peer.ip(), Moment::now());
        count(&front.counters.connections);
        if crowded {
            count(&front.counters.evicted);
        }
        let front = Arc::clone(front);
        tasks.spawn(async move {
            front.counters.open.fetch_add(1, Ordering::Relaxed);
            let ended = connection.ended.clone();
            if let Some(Err(error)) =
                ended.run_until_cancelled(converse(stream, peer, &connection, &front)).await
            {
                tracing::debug!(%peer, "DNS over TCP: {error}");
            }
            front.counters.open.fetch_sub(1, Ordering::Relaxed);
            drop((connection, permit));
        });
    }
}

/// What has come, and not been dealt with.
struct Input {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Input {
    /// The first message, if all of it is there.
    ///
    /// # Errors
    /// When it is too long for a question.
    fn message(&self) -> io::Result<Option<&[u8]>> {
        let Some(length) = self.bytes[..self.filled].first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {length} bytes is no question")));
        }
        Ok(self.bytes[..self.filled].get(LENGTH..LENGTH + length))
    }

    /// It has been dealt with.
    fn remove(&mut self, length: usize) {
        self.bytes.copy_within(LENGTH + length..self.filled, 0);
        self.filled -= LENGTH + length;
    }
}

/// Answers one connection's questions until the client closes it or is idle. Idle is who has no question under way and
/// has neither sent a whole one nor taken anything for a while.
async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    connection: &Connection,
    front: &Front,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?.ip();
    let (mut reader, mut writer) = stream.split();
    let mut input = Input { bytes: vec![0; LENGTH + MAX_MESSAGE].into(), filled: 0 };
    let mut unsent: Vec<u8> = Vec::new();
    let mut waiting = FuturesUnordered::new();
    let mut closed = false;
    let mut idle = pin!(sleep_until(Instant::now() + front.limits.tcp_idle));
    loop {
        let mut put_off = None;
        while waiting.len() < MOST_WAITING && unsent.len() < MOST_UNSENT {
            let Some(message) = input.message()? else { break };
            let (now, length) = (Moment::now(), message.len());
            match deal(front, message, peer, local, now) {
                Err(until) => {
                    put_off = Some(Instant::now() + until.since(now));
                    break;
                }
                Ok(Begun::Now(reply) | Begun::Always(reply, _)) => append(&mut unsent, &reply)?,
                Ok(Begun::Later(reply)) => waiting.push(reply),
                // Who sends what gets no reply is no client.
                Ok(Begun::Silence) => return Ok(()),
            }
            input.remove(length);
            connection.active(now);
            idle.as_mut().reset(Instant::now() + front.limits.tcp_idle);
        }
        let may_read = waiting.len() < MOST_WAITING && unsent.len() < MOST_UNSENT && put_off.is_none();
        if closed && waiting.is_empty() && unsent.is_empty() && put_off.is_none() {
            return Ok(());
        }
        let is_idle = !unsent.is_empty() || waiting.is_empty() && put_off.is_none();
        tokio::select! {
            written = writer.write(&unsent), if !unsent.is_empty() => {
                unsent.drain(..written?);
                idle.as_mut().reset(Instant::now() + front.limits.tcp_idle);
            }
            Some(reply) = waiting.next(), if !waiting.is_empty() => match reply {
                Some(reply) => {
                    append(&mut unsent, &reply)?;
                    idle.as_mut().reset(Instant::now() + front.limits.tcp_idle);
                }
                None => return Ok(()),
            },
            read = reader.read(&mut input.bytes[input.filled..]), if may_read && !closed => match read? {
                0 => closed = true,
                count => input.filled += count,
            },
            () = sleep_until(put_off.unwrap_or_else(Instant::now)), if put_off.is_some() => {}
            () = &mut idle, if is_idle => return Ok(()),
        }
    }
}

/// What becomes of a message; or when its source may ask again.
fn deal(
    front: &Front,
    message: &[u8],
    peer: SocketAddr,
    local: IpAddr,
    now: Moment,
) -> Result<Begun, Moment> {
    let dealt = match front.admit(peer, Some(local), Transport::Tcp, now) {
        Admission::Yes => front.begin(message, peer, Transport::Tcp, now),
        Admission::Refuse => brief::prohibited(message).map_or(Begun::Silence, Begun::Now),
        Admission::Ignore => Begun::Silence,
        Admission::TooMuch(until) => return Err(until),
    };
    if !matches!(dealt, Begun::Silence) {
        count(&front.counters.answered);
    }
    Ok(dealt)
}

/// Adds a reply with its length in front.
fn append(unsent: &mut Vec<u8>, reply: &[u8]) -> io::Result<()> {
    // Replies are encoded to fit the length's 16 bits.
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    unsent.extend_from_slice(&length.to_be_bytes());
    unsent.extend_from_slice(reply);
    Ok(())
}
