//! XenStore's Unix socket, at which the standard tools look for it (`xenstore-ls`, `xl`, everything that uses
//! libxenstore).
//!
//! Whoever may open it has the control domain's privilege, so only root may: it lies in a directory of its own
//! that nobody else can enter. There is no second, read-only socket: xenstored has had none since Xen 4.13.
//!
//! The peers are trusted to mean well, not to be well: one that sends garbage is dropped, and one that does not
//! read its replies is not listened to until it does. Only what it has subscribed to can pile up, and the store
//! bounds that ([`Limits::socket_output`](xenstore::Limits::socket_output)).

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::WriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use xenstore::ConnId;

use super::{SharedStore, State};

/// Where tools look: `XEN_RUN_STORED` of Xen's configure, below `/run`, which `/var/run` points to.
pub const SOCKET: &str = "/run/xenstored/socket";

/// Tools that may be connected at a time; more wait in the kernel's queue. A daemon has 1,024 file descriptors.
const CONNECTIONS: usize = 256;

/// Bytes taken from a peer at a time: the largest message fits.
const CHUNK: usize = 8 << 10;

/// Pause after an `accept` that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a conversation has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it has hung up")]
    HungUp,
    #[error(transparent)]
    Protocol(#[from] xenstore::Broken),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens the socket at `path`, in a directory that is made for it; one that an earlier daemon has left is replaced.
///
/// # Errors
/// Names the path.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let open = || {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    open().map_err(|error| io::Error::new(error.kind(), format!("the socket {}: {error}", path.display())))
}

/// Serves whoever connects, for as long as it is polled.
pub async fn serve(store: SharedStore, listener: UnixListener) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let store = store.clone();
                tokio::spawn(async move {
                    match converse(&store, stream).await {
                        Ended::HungUp => {}
                        why => tracing::debug!("a tool at XenStore's socket is dropped: {why}"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "XenStore's socket: a connection cannot be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Carries bytes both ways until the peer ends it. Nothing is lost when the future is dropped but what the peer
/// has not been sent: bytes go from the socket to the store, and back, without an await between.
async fn converse(store: &SharedStore, mut stream: UnixStream) -> Ended {
    let connection = store.connect_socket();
    let id = connection.id;
    let mut chunk = [0; CHUNK];
    let mut received = 0;
    let (mut reader, writer) = stream.split();
    loop {
        let exchanged = store.with_state(|state| state.exchange(id, &chunk[..received], &writer));
        let (waiting, listening) = match exchanged {
            Ok(next) => next,
            Err(ended) => return ended,
        };
        received = 0;
        tokio::select! {
            read = reader.read(&mut chunk), if listening => match read {
                Ok(0) => return Ended::HungUp,
                Ok(length) => received = length,
                Err(error) => return error.into(),
            },
            ready = writer.ready(Interest::WRITABLE), if waiting => {
                if let Err(error) = ready {
                    return error.into();
                }
            }
            () = connection.output.notified() => {}
        }
    }
}

impl State {
    /// Hands what the peer has sent to the store, and sends as much as the peer has room for. In one go: what is
    /// answered at once wakes nobody. Returns whether something waits to be sent, and whether the peer may send
    /// more.
    fn exchange(
        &mut self,
        id: ConnId,
        received: &[u8],
        writer: &WriteHalf<'_>,
    ) -> Result<(bool, bool), Ended> {
        if !received.is_empty() {
            self.store.receive(id, received)?;
        }
        loop {
            // What a reply promises is kept before it is let out.
            self.put_away();
            let output = self.store.output(id);
            if output.is_empty() {
                return Ok((false, self.store.wants_input(id)));
            }
            match writer.try_write(output) {
                Ok(sent) => self.store.consume_output(id, sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((true, self.store.wants_input(id)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
