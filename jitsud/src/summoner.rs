//! The one door between what faces the network (DNS, status) and the node's core.
//!
//! Everything behind it may touch Xen; nothing in front of it does. It is small and asynchronous so
//! that the front can become an unprivileged process of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::schema::NodeStatus;

/// A service's index in the configuration's list of usable services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServiceId(pub usize);

/// A service that runs, or will: what is sent to its address is kept for it until it accepts connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summoned {
    /// Where it answers.
    pub address: Ipv4Addr,
    /// How long the answer may be cached: for so long the service is kept, or packets start it anew.
    pub ttl: Duration,
}

/// Why a service could not be summoned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SummonError {
    /// Its last start failed and it is not tried again before `retry_in`.
    #[error("{reason}; next try in {} s", whole_seconds(retry_in))]
    Failed {
        /// What went wrong, for people.
        reason: String,
        /// Time left in the back-off.
        retry_in: Duration,
    },
    /// There is no room for it, and none can be made. It is not tried again before `retry_in`.
    #[error("{reason}; next try in {} s", whole_seconds(retry_in))]
    NoRoom {
        /// What there is too little of, for people.
        reason: String,
        /// Time left.
        retry_in: Duration,
    },
    /// Only an administrator starts it.
    #[error("the service is off, and only an administrator starts it")]
    Manual,
    /// More requests wait than the node keeps.
    #[error("too many requests wait for this service")]
    Busy,
    /// The node is going down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Rounded up: who comes again then is not too early.
fn whole_seconds(time: &Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// What the front asks of the core.
#[derive(Debug)]
pub enum Request {
    /// Make the service run and answer when its address can be used.
    Summon {
        /// Which.
        service: ServiceId,
        /// When the query arrived, nanoseconds of `CLOCK_MONOTONIC`.
        received: u64,
        /// Where the outcome goes. A dropped receiver is fine: the boot goes on.
        answer: oneshot::Sender<Result<Summoned, SummonError>>,
    },
    /// Describe the node.
    Status {
        /// Where the description goes.
        answer: oneshot::Sender<NodeStatus>,
    },
}

/// Handle to the core; cheap to clone.
#[derive(Clone, Debug)]
pub struct Summoner(mpsc::Sender<Request>);

impl Summoner {
    /// A handle and the queue that the core reads. `depth` bounds the requests not yet looked at.
    pub fn new(depth: usize) -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(depth);
        (Summoner(sender), receiver)
    }

    /// Waits until the service's address can be used, starting it if need be.
    ///
    /// `received` is when the question arrived, nanoseconds of `CLOCK_MONOTONIC`; it starts the
    /// timeline of a cold start.
    ///
    /// # Errors
    /// [`SummonError::Busy`] at once when the core's queue is full.
    pub async fn summon(&self, service: ServiceId, received: u64) -> Result<Summoned, SummonError> {
        let (answer, outcome) = oneshot::channel();
        self.0.try_send(Request::Summon { service, received, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SummonError::Busy,
            mpsc::error::TrySendError::Closed(_) => SummonError::ShuttingDown,
        })?;
        outcome.await.unwrap_or(Err(SummonError::ShuttingDown))
    }

    /// The node's state now; `None` when the core is gone.
    pub async fn status(&self) -> Option<NodeStatus> {
        let (answer, status) = oneshot::channel();
        self.0.send(Request::Status { answer }).await.ok()?;
        status.await.ok()
    }
}
