//! What is counted of questions and answers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Transport;
use crate::schema::DnsStatus;

/// Since the daemon started, but for what is said to be now.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that came in datagrams.
    pub udp: AtomicU64,
    /// Messages that came on connections.
    pub tcp: AtomicU64,
    /// Messages that were answered.
    pub answered: AtomicU64,
    /// Questions that were dropped since too many waited.
    pub dropped: AtomicU64,
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Connections that had to end for others.
    pub evicted: AtomicU64,
    /// Connections that are open now.
    pub open: AtomicU64,
    /// Questions from who may not ask that were refused,
    pub refused: AtomicU64,
    /// and ignored.
    pub ignored: AtomicU64,
    /// Questions beyond their sources' rates.
    pub limited: AtomicU64,
    /// Starts beyond their sources' rates.
    pub boots_limited: AtomicU64,
    /// Responses that were sent without content, for their network's rate.
    pub slipped: AtomicU64,
    /// Responses that were not sent, for their network's rate.
    pub suppressed: AtomicU64,
    /// Questions about what other servers know,
    pub forwarded: AtomicU64,
    /// those of them that the cache had the answer to,
    pub from_cache: AtomicU64,
    /// and those that nobody has answered.
    pub unanswered: AtomicU64,
    /// Messages to those servers.
    pub upstream: AtomicU64,
}

impl Counters {
    /// A message has come.
    pub fn message(&self, transport: Transport) {
        count(match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        });
    }

    /// The figures now.
    pub fn status(&self) -> DnsStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DnsStatus {
            udp: read(&self.udp),
            tcp: read(&self.tcp),
            answered: read(&self.answered),
            dropped: read(&self.dropped),
            connections: read(&self.connections),
            open_connections: read(&self.open),
            evicted_connections: read(&self.evicted),
            refused: read(&self.refused),
            ignored: read(&self.ignored),
            limited: read(&self.limited),
            boots_limited: read(&self.boots_limited),
            slipped: read(&self.slipped),
            suppressed: read(&self.suppressed),
            forwarded: read(&self.forwarded),
            from_cache: read(&self.from_cache),
            unanswered: read(&self.unanswered),
            upstream: read(&self.upstream),
        }
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
