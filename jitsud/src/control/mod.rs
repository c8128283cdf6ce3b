//! The control socket: how an administrator who is root on the node, by way of `jitsuctl`, sees and changes what the
//! daemon does. [`protocol`] has the messages.
//!
//! Bounded: connections (who comes when there are too many is told so), the length of a request, the time for it, and
//! the time in which a client takes what it is sent. Who follows something is a connection like any other; what it does
//! not take in time is lost, and it is told how much.

mod answer;
pub mod protocol;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Problem;
use crate::logging::Ring;
use crate::store::SharedStore;
use crate::summoner::Summoner;
use protocol::{ErrorKind, LONGEST_REQUEST, Reply, Request, VERSION};

/// Most connections at a time.
const CONNECTIONS: usize = 32;

/// How long a client may take to send a request, and to take a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause after an `accept` that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What an administrator can see and change.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The way to the core.
    pub summoner: Summoner,
    /// The services' names, in their order.
    pub services: Arc<[String]>,
    /// The log.
    pub log: Ring,
    /// XenStore; there is none where domains are only pretended.
    pub store: Option<SharedStore>,
    /// Who reads the configuration anew.
    pub reload: mpsc::Sender<Reload>,
}

/// The configuration is to be read anew.
#[derive(Debug)]
pub struct Reload {
    /// From a file that replaces the present one, if any.
    pub file: Option<PathBuf>,
    /// Where the outcome goes: if the configuration is good, what is cancelled for the daemon to begin anew.
    pub answer: oneshot::Sender<Result<CancellationToken, Refusal>>,
}

/// Why the configuration is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has mistakes.
    Problems(Vec<Problem>),
    /// Something else has failed.
    Failed(String),
}

/// Serves until `shutdown`.
pub async fn serve(listener: UnixListener, desk: Desk, shutdown: CancellationToken) {
    let _cancelled = shutdown.run_until_cancelled(accept(listener, desk)).await;
}

async fn accept(listener: UnixListener, desk: Desk) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (desk, place) = (desk.clone(), places.clone().try_acquire_owned().ok());
                    if place.is_none() && tasks.len() > 2 * CONNECTIONS {
                        // Not even told: telling takes a place, too.
                        continue;
                    }
                    tasks.spawn(async move {
                        match converse(stream, desk, place.is_some()).await {
                            Ok(()) => {}
                            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                                tracing::warn!("a client at the control socket is too slow, and is dropped");
                            }
                            Err(error) => tracing::debug!(%error, "the control socket"),
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket: a connection cannot be accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the control socket: a task ended badly");
                }
            }
        }
    }
}

/// Answers one client's requests until it hangs up.
async fn converse(stream: UnixStream, desk: Desk, has_place: bool) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let (mut reader, mut client) = (BufReader::new(reader), Client(writer));
    loop {
        let request = match timeout(PATIENCE, read_line(&mut reader)).await? {
            Ok(Some(line)) => parse(&line),
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        if !has_place {
            let message = format!("{CONNECTIONS} clients are connected already; close some of them");
            return client.send(&Reply::Error { kind: ErrorKind::Busy, message }).await;
        }
        match request {
            Ok(request) => tokio::select! {
                answered = answer::answer(request.command, &desk, &mut client) => answered?,
                () = hung_up(&mut reader) => return Ok(()),
            },
            Err(message) => {
                return client.send(&Reply::Error { kind: ErrorKind::Request, message }).await;
            }
        }
    }
}

/// One line; `None` at the end. One that is too long is an error ([`io::ErrorKind::InvalidData`]), and nothing can be
/// read after it.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = reader.take(LONGEST_REQUEST as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if length > LONGEST_REQUEST => {
            let message = format!("a request has {LONGEST_REQUEST} bytes at most");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What is asked for, or what is wrong with it.
fn parse(line: &[u8]) -> Result<Request, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let version = serde_json::from_slice::<Version>(line).map_err(|error| format!("no request: {error}"))?;
    if version.version != VERSION {
        return Err(format!("version {} is not known; this jitsud has {VERSION}", version.version));
    }
    serde_json::from_slice(line).map_err(|error| format!("no request: {error}"))
}

/// Waits until the client is gone. What it sends meanwhile waits its turn.
async fn hung_up(reader: &mut BufReader<OwnedReadHalf>) {
    match reader.fill_buf().await {
        Ok([]) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

/// Where messages to a client go.
struct Client(OwnedWriteHalf);

impl Client {
    /// Sends a message.
    ///
    /// # Errors
    /// The client is gone, or takes nothing for too long.
    async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        timeout(PATIENCE, self.0.write_all(&line)).await?
    }

    async fn done(&mut self) -> io::Result<()> {
        self.send(&Reply::Done {}).await
    }

    async fn error(&mut self, kind: ErrorKind, message: impl Into<String>) -> io::Result<()> {
        self.send(&Reply::Error { kind, message: message.into() }).await
    }
}
