//! Questions and answers.

use serde::{Deserialize, Serialize};

/// Figures since the daemon began, but for what is said to be now. `[node.dns]` has the rates that are meant.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DnsStatus {
    /// Messages that came in datagrams.
    pub udp: u64,
    /// Messages that came on connections.
    pub tcp: u64,
    /// Messages that were answered.
    pub answered: u64,
    /// Questions in datagrams that were dropped since too many waited for services or other servers.
    pub dropped: u64,
    /// TCP connections that were accepted.
    pub connections: u64,
    /// TCP connections that are open now.
    pub open_connections: u64,
    /// TCP connections that had to end for others.
    pub evicted_connections: u64,
    /// Questions from who may not ask that were refused.
    pub refused: u64,
    /// Questions from who may not ask that got no reply.
    pub ignored: u64,
    /// Questions beyond their sources' rates: dropped over UDP, put off over TCP.
    pub limited: u64,
    /// Questions that would have started a service beyond their sources' rates.
    pub boots_limited: u64,
    /// Responses beyond their network's rate that were sent without content, so that who asked comes again by TCP.
    pub slipped: u64,
    /// Responses beyond their network's rate that were not sent.
    pub suppressed: u64,
    /// Questions about what other servers know.
    pub forwarded: u64,
    /// Those of them that the cache had the answer to.
    pub from_cache: u64,
    /// Those of them that nobody has answered, or whose place was given to others.
    pub unanswered: u64,
    /// Messages to other servers.
    pub upstream: u64,
}
