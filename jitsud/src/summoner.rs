//! The one door between what faces the network (DNS, status) and the node's core.
//!
//! Everything behind it may touch Xen; nothing in front of it does. It is small and asynchronous so
//! that the front can become an unprivileged process of its own.

mod warm;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::console::Follower;
use crate::directory::Moment;
use crate::dns::{Counters, Limits};
use crate::schema::{EventStatus, NodeStatus, ServiceStatus};
pub use warm::{Temperature, Told, Warm};

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
    /// All instances of a service are in use, each for another host name.
    #[error("all {count} instances are in use for other host names")]
    NoInstance {
        /// How many there are.
        count: usize,
    },
    /// It is an instance of a service, and nobody's.
    #[error("the instance is not bound to a host name, and has nobody to run for")]
    NoHost,
    /// Who asks has started too many services.
    #[error("this client has started too many services; next try in {} s", whole_seconds(retry_in))]
    TooMany {
        /// When it may start one again.
        retry_in: Duration,
    },
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
    /// As `Summon`, for a host name that has an instance of a service for itself.
    SummonForHost {
        /// Any of the instances.
        instance: ServiceId,
        /// The host name: lower case, without the final dot.
        host: String,
        /// As above.
        received: u64,
        /// As above.
        answer: oneshot::Sender<Result<Summoned, SummonError>>,
    },
    /// Describe the node.
    Status {
        /// Where the description goes.
        answer: oneshot::Sender<NodeStatus>,
    },
    /// An administrator wants the service to run; also ends a back-off. For the control socket alone.
    Start {
        /// Which.
        service: ServiceId,
        /// Where it is said what has become of it so far.
        answer: oneshot::Sender<ServiceStatus>,
    },
    /// An administrator wants the service off. For the control socket alone.
    Stop {
        /// Which.
        service: ServiceId,
        /// As for [`Request::Start`].
        answer: oneshot::Sender<ServiceStatus>,
    },
    /// Describe a service, but for its console.
    Service {
        /// Which.
        service: ServiceId,
        /// Where the description goes.
        answer: oneshot::Sender<ServiceStatus>,
    },
    /// Tell the changes of state that are newer than one of them.
    Events {
        /// Its serial number; 0 for all that are remembered.
        after: u64,
        /// Where they go, oldest first.
        answer: oneshot::Sender<Vec<EventStatus>>,
    },
    /// Let somebody read along what the service's guest says, or read what its last one has said.
    Console {
        /// Which.
        service: ServiceId,
        /// Where that is to be read; `None` when nothing is there of any.
        answer: oneshot::Sender<Option<Follower>>,
    },
}

/// Handle to the core; cheap to clone.
#[derive(Clone, Debug)]
pub struct Summoner {
    requests: mpsc::Sender<Request>,
    changes: watch::Receiver<u64>,
    warm: Arc<Warm>,
    /// How many services who may start; no bound without.
    limits: Option<Arc<Limits>>,
    dns: Arc<Counters>,
    asking: Arc<watch::Sender<usize>>,
}

/// The core's end of all [`Summoner`]s.
#[derive(Debug)]
pub struct Requests {
    queue: mpsc::Receiver<Request>,
    changes: watch::Sender<u64>,
    warm: Arc<Warm>,
    asking: watch::Receiver<usize>,
}

/// Somebody in front waits for an answer, of whomever. No more when this is dropped.
#[derive(Debug)]
pub struct Asking(Arc<watch::Sender<usize>>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.send_modify(|asking| *asking -= 1);
    }
}

impl Requests {
    /// The next request; `None` when there can be none any more. Cancel safe.
    pub async fn recv(&mut self) -> Option<Request> {
        self.queue.recv().await
    }

    /// The next request, if one waits.
    ///
    /// # Errors
    /// None waits, or there can be none any more.
    pub fn try_recv(&mut self) -> Result<Request, mpsc::error::TryRecvError> {
        self.queue.try_recv()
    }

    /// Whether no request waits, and nobody in front for an answer.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && *self.asking.borrow() == 0
    }

    /// How many wait in front, for whoever wants to know when none does.
    pub fn asking(&self) -> watch::Receiver<usize> {
        self.asking.clone()
    }

    /// What the front may answer without a request.
    pub fn warm(&self) -> Arc<Warm> {
        Arc::clone(&self.warm)
    }

    /// Tells whoever waits for it that services have changed; `serial` is that of the last event.
    pub fn changed(&self, serial: u64) {
        self.changes.send_if_modified(|last| std::mem::replace(last, serial) != serial);
    }
}

impl Summoner {
    /// A handle and the queue that the core reads. `depth` bounds the requests not yet looked at.
    pub fn new(depth: usize) -> (Self, Requests) {
        let (sender, queue) = mpsc::channel(depth);
        let (changes, told) = watch::channel(0);
        let warm = Arc::default();
        let asking = watch::Sender::new(0);
        let requests = Requests { queue, changes, warm: Arc::clone(&warm), asking: asking.subscribe() };
        let asking = Arc::new(asking);
        (
            Summoner { requests: sender, changes: told, warm, limits: None, dns: Arc::default(), asking },
            requests,
        )
    }

    /// The same handle, for those who may start only so many services.
    pub fn limited(self, limits: Arc<Limits>) -> Self {
        Summoner { limits: Some(limits), ..self }
    }

    /// Notes that somebody waits for an answer, which nobody but this process can give.
    pub fn asks(&self) -> Asking {
        self.asking.send_modify(|asking| *asking += 1);
        Asking(Arc::clone(&self.asking))
    }

    /// What is known of the services that run.
    pub fn warm(&self) -> Arc<Warm> {
        Arc::clone(&self.warm)
    }

    /// What can be answered at once about a service that is ready. Who answers so says it with [`Self::told`].
    pub fn at_once(&self, service: ServiceId, received: Moment) -> Option<Summoned> {
        self.warm.look(service, received)
    }

    /// Notes that a question has been answered as [`Self::at_once`] said.
    pub fn told(&self, service: ServiceId, received: Moment) {
        self.warm.tell(service, received);
    }

    /// The instance that a host name is bound to.
    pub fn bound_to(&self, host: &str) -> Option<ServiceId> {
        self.warm.bound_to(host)
    }

    /// Whether a question from there may summon the service.
    ///
    /// # Errors
    /// [`SummonError::TooMany`] when it would start it, and that source has started too many.
    pub fn may_start(&self, service: ServiceId, received: Moment, source: IpAddr) -> Result<(), SummonError> {
        let Some(limits) = self.limits.as_ref().filter(|_| self.warm.would_start(service, received)) else {
            return Ok(());
        };
        limits
            .may_start(received, source)
            .map_err(|until| SummonError::TooMany { retry_in: until.since(received) })
    }

    /// Waits until the service's address can be used, starting it if need be.
    ///
    /// `received` is when the question arrived, nanoseconds of `CLOCK_MONOTONIC`; it starts the
    /// timeline of a cold start.
    ///
    /// # Errors
    /// [`SummonError::Busy`] at once when the core's queue is full.
    pub async fn summon(&self, service: ServiceId, received: u64) -> Result<Summoned, SummonError> {
        self.wait_for(|answer| Request::Summon { service, received, answer }).await
    }

    /// As [`Self::summon`], for a host name: that which has one of the instances for itself, or is bound to one that is
    /// free. `instance` is any of them.
    ///
    /// # Errors
    /// As above, and [`SummonError::NoInstance`] when none is free.
    pub async fn summon_for_host(
        &self,
        instance: ServiceId,
        host: String,
        received: u64,
    ) -> Result<Summoned, SummonError> {
        self.wait_for(|answer| Request::SummonForHost { instance, host, received, answer }).await
    }

    async fn wait_for(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<Summoned, SummonError>>) -> Request,
    ) -> Result<Summoned, SummonError> {
        let (answer, outcome) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SummonError::Busy,
            mpsc::error::TrySendError::Closed(_) => SummonError::ShuttingDown,
        })?;
        outcome.await.unwrap_or(Err(SummonError::ShuttingDown))
    }

    /// The serial number of the last change of a service's state, for whoever wants to wait for the next one. That a
    /// service was asked for which is ready changes nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Where those who answer questions count them.
    pub fn dns_counters(&self) -> Arc<Counters> {
        Arc::clone(&self.dns)
    }

    /// The node's state now; `None` when the core is gone.
    pub async fn status(&self) -> Option<NodeStatus> {
        let status = self.ask(|answer| Request::Status { answer }).await?;
        Some(NodeStatus { dns: self.dns.status(), ..status })
    }

    /// Starts a service for an administrator; what has become of it at once, or `None` when the core is gone.
    pub async fn start(&self, service: ServiceId) -> Option<ServiceStatus> {
        self.ask(|answer| Request::Start { service, answer }).await
    }

    /// Stops a service for an administrator, as [`Self::start`].
    pub async fn stop(&self, service: ServiceId) -> Option<ServiceStatus> {
        self.ask(|answer| Request::Stop { service, answer }).await
    }

    /// How a service is now; `None` when the core is gone.
    pub async fn service(&self, service: ServiceId) -> Option<ServiceStatus> {
        self.ask(|answer| Request::Service { service, answer }).await
    }

    /// The changes of state after that one; `None` when the core is gone.
    pub async fn events(&self, after: u64) -> Option<Vec<EventStatus>> {
        self.ask(|answer| Request::Events { after, answer }).await
    }

    /// What the service's guest says, or its last one has said; `None` when nothing is there of any, and when the core
    /// is gone.
    pub async fn console(&self, service: ServiceId) -> Option<Follower> {
        self.ask(|answer| Request::Console { service, answer }).await.flatten()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}
