//! Accepts TCP connections, a bounded number at a time, for servers that face the network.
//!
//! A failing `accept` (no file descriptors left, a client that is gone already) must neither end a server nor
//! make it spin: it is tried again after a growing pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Pause after the first failed `accept`; doubled after each further one in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket that hands out connections as long as earlier ones are given back.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    permits: Arc<Semaphore>,
    purpose: &'static str,
}

impl Listener {
    /// `limit` connections at a time; clients beyond it wait in the kernel's queue. `purpose` is for the log.
    pub fn new(socket: TcpListener, limit: usize, purpose: &'static str) -> Self {
        Listener { socket, permits: Arc::new(Semaphore::new(limit)), purpose }
    }

    /// The next connection. It counts against the limit until the permit is dropped.
    ///
    /// `None` never comes from a live listener: its semaphore is not closed. Cancel safe.
    pub async fn accept(&self) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, permit)),
                Err(error) => {
                    tracing::warn!("{}: cannot accept a connection: {error}", self.purpose);
                    sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
