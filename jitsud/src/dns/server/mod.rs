//! Sockets in, sockets out.
//!
//! Datagrams are taken from the kernel several at a time, and what can be answered at once is, without a task, and goes
//! out several at a time. A task begins only for a question that has to wait for something. On a connection, questions
//! are answered as soon as they can be, in any order (RFC 7766, section 6.2.1.1).
//!
//! What is bounded, and what happens at the bound:
//!
//! | what                                   | beyond it                                             |
//! |----------------------------------------|-------------------------------------------------------|
//! | questions of a source ([`Limits`])     | dropped over UDP, put off over TCP                    |
//! | datagrams that wait for an answer, of all and of one source (`waiting.rs`) | dropped: clients ask again |
//! | connections (`connections.rs`)         | one is closed, of the source that has the most        |
//! | a connection's questions and replies (`tcp.rs`) | it is not read on                             |
//! | a connection's idle time               | it is closed                                          |

mod batch;
mod connections;
mod known;
mod sockets;
mod tcp;
mod udp;
mod waiting;

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::limits::{Admission, Limits};
use super::reply::{Begun, Transport, begin};
use super::zone::Zone;
use crate::directory::Moment;
use crate::summoner::{Summoner, Warm};
pub use known::{Key, Known};
pub use sockets::Sockets;

/// Longest question in bytes that is read. A real one has at most some 300.
const MAX_MESSAGE: usize = 4096;

/// What all sockets have in common.
#[derive(Debug)]
pub struct Front {
    zone: Arc<Zone>,
    summoner: Summoner,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    warm: Arc<Warm>,
}

impl Front {
    /// What answers from `zone`, within `limits`, with what `summoner` starts.
    pub fn new(zone: Arc<Zone>, summoner: Summoner, limits: Arc<Limits>) -> Self {
        let counters = summoner.dns_counters();
        let summoner = summoner.limited(Arc::clone(&limits));
        let warm = summoner.warm();
        Front { zone, summoner, limits, counters, warm }
    }

    /// Answers on all sockets until `shutdown`; then questions in progress are dropped.
    ///
    /// Nothing that arrives can end it: errors are logged, and cost one message or one connection.
    pub async fn serve(self: Arc<Self>, sockets: Sockets, shutdown: CancellationToken) {
        let udp = join_all(sockets.udp.into_iter().map(|socket| udp::serve(socket, &self)));
        let tcp = tcp::serve(sockets.tcp, &self);
        let serve_all = async { tokio::join!(udp, tcp) };
        let _cancelled = shutdown.run_until_cancelled(serve_all).await;
    }

    /// Whether a message is dealt with that has come to the node's address `local`.
    fn admit(&self, peer: SocketAddr, local: Option<IpAddr>, transport: Transport, now: Moment) -> Admission {
        let admission = self.limits.admit(now, peer.ip(), local);
        // What is put off comes here again.
        if !matches!((transport, admission), (Transport::Tcp, Admission::TooMuch(_))) {
            self.counters.message(transport);
        }
        admission
    }

    /// Deals with a message as far as that takes no waiting.
    fn begin(&self, message: &[u8], peer: SocketAddr, transport: Transport, received: Moment) -> Begun {
        let begin = || begin(message, peer, transport, received, &self.zone, &self.summoner);
        // A fault over one message costs that message alone.
        catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|_| {
            tracing::error!(%peer, "a DNS message is to blame for a panic: {message:02x?}");
            Begun::Silence
        })
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("DNS: a task ended badly: {error}");
    }
}
