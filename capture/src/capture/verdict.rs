//! Which packets are held, which wake, which are refused: the rule, without what follows from it.
//!
//! | packet for a service that is       | down, stopping      | starting | paused   | failed  |
//! |-------------------------------------|---------------------|----------|----------|---------|
//! | SYN, UDP, ICMP echo                 | wakes, held         | held     | wakes, held | refused |
//! | the same, to no port of interest    | refused             | held     | refused  | refused |
//! | the same, from whom it does not wake | refused            | held     | refused  | refused |
//! | TCP without SYN                     | reset; stopping: nothing | reset | wakes, held | reset |
//! | first fragment of a UDP datagram    | wakes, held         | held     | wakes, held | nothing |
//! | other fragments, other protocols    | nothing             | held     | held     | nothing |
//!
//! A service that no packets wake ([`crate::Service::wake`]) goes on when it is paused, as others do: it has been started
//! before. *Starting* is everything from the summon on. *Reset* is what a host says of a segment of no connection (RFC 9293,
//! section 3.10.7.1): the peer of a connection that died with its guest learns of it. While a guest closes its
//! connections nobody else says anything about them.

use smoltcp::wire::TcpPacket;

use super::Served;
use crate::answer::OutOfReach;
use crate::frame::{Kind, Packet};
use crate::moment::Moment;
use crate::phase::Phase;

/// What is to be done about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is held.
    Hold,
    /// It is held, and the service is summoned.
    Wake,
    /// Nobody will take it, and its sender may be told.
    Refuse(OutOfReach),
    /// Nothing is done.
    Ignore,
}

/// Decides about a packet to one of the service's addresses. `expected`: the service has been summoned.
pub(super) fn verdict(now: Moment, served: &Served, expected: bool, packet: &Packet<'_>) -> Verdict {
    let phase = served.phase;
    let stale = matches!(&packet.kind, Kind::Tcp(tcp) if !opens(tcp));
    if stale && !phase.has_connections() {
        return if phase == Phase::Stopping { Verdict::Ignore } else { Verdict::Refuse(OutOfReach::Port) };
    }
    if expected || !phase.waits_for_summons() {
        return Verdict::Hold;
    }
    if matches!(phase, Phase::Failed { until } if until > now) {
        return Verdict::Refuse(OutOfReach::Host);
    }
    let (wakes, of_interest) = match &packet.kind {
        Kind::Tcp(tcp) => (!tcp.rst(), stale || served.service.tcp.contain(tcp.dst_port())),
        Kind::Udp(port) | Kind::Fragment(Some(port)) => (true, served.service.udp.contain(*port)),
        Kind::Echo => (true, true),
        Kind::Fragment(None) | Kind::Other => (false, true),
    };
    // What is paused has been started, for whomever: its connections are served, and whoever may use it may open more.
    let starts = phase != Phase::Paused;
    let unwelcome = starts && !served.service.wake
        || !stale && served.service.not_from.iter().any(|net| net.contains_addr(&packet.source.into()));
    match (wakes, of_interest) {
        (false, _) if phase == Phase::Paused => Verdict::Hold,
        (false, _) => Verdict::Ignore,
        (true, _) if unwelcome => Verdict::Refuse(OutOfReach::Host),
        (true, false) => Verdict::Refuse(OutOfReach::Port),
        (true, true) => Verdict::Wake,
    }
}

/// Whether a segment asks for a connection, and nothing else.
pub(super) fn opens(tcp: &TcpPacket<&[u8]>) -> bool {
    tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin()
}
