//! What is done about a packet: it is held, answered on the guest's behalf, refused; and it wakes.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{EthernetAddress, TcpPacket};

use super::verdict::{Verdict, opens, verdict};
use super::{Capture, Served, ServiceId, Sink};
use crate::answer::{self, Addresses, Link, OutOfReach};
use crate::config::{Refusal, Service};
use crate::counters::Fate;
use crate::frame::{self, Content, Kind, LONGEST, Packet};
use crate::handshake::Outgoing;
use crate::hold::Kept;
use crate::moment::Moment;
use crate::source::{flow_hash, source_hash};

/// A packet to a service.
pub(super) struct Arrived<'a> {
    pub index: u16,
    /// Who has sent it on the link.
    pub from: EthernetAddress,
    pub frame: &'a [u8],
    pub packet: &'a Packet<'a>,
}

impl Capture {
    /// What becomes of a packet.
    pub(super) fn packet(&mut self, now: Moment, arrived: &Arrived<'_>, sink: &mut impl Sink) -> Fate {
        let Arrived { index, packet, .. } = *arrived;
        let served = &self.services[usize::from(index)];
        if !served.service.addresses.contains(&packet.destination) {
            return Fate::Foreign;
        }
        if served.service.addresses.contains(&packet.source) {
            return Fate::Malformed;
        }
        let expected = served.asked.is_some_and(|asked| now.since(asked) < self.limits.hold)
            || self.deferred.iter().any(|(deferred, _)| *deferred == index);
        if let Kind::Tcp(tcp) = &packet.kind
            && let ends = ends_of(packet, tcp)
            && self.handshakes.knows(ends)
        {
            let waits = served.phase.waits_for_summons() && !expected;
            let (answer, changed) = self.handshakes.segment(now, ends, tcp);
            changed.into_iter().for_each(|record| sink.kept(record));
            answer.into_iter().for_each(|answer| self.send(&answer, sink));
            // If a start was given up: somebody still waits.
            if waits && self.handshakes.knows(ends) && self.may_summon(now, packet.source) {
                self.summon(now, index, packet.source, sink);
            }
            return Fate::Kept;
        }
        match verdict(now, served, expected, packet) {
            Verdict::Hold if self.shakes_hands(now, arrived, sink) => Fate::Kept,
            Verdict::Hold => self.keep(now, arrived),
            Verdict::Wake if self.may_summon(now, packet.source) => {
                // First, so that a summon that is put off finds what waits for it.
                let fate = match self.shakes_hands(now, arrived, sink) {
                    true => Fate::Kept,
                    false => self.keep(now, arrived),
                };
                self.summon(now, index, packet.source, sink);
                fate
            }
            Verdict::Wake => Fate::Limited,
            Verdict::Refuse(what) => match self.refuse(now, arrived, what, sink) {
                true => Fate::Refused,
                false => Fate::Silent,
            },
            Verdict::Ignore => Fate::Silent,
        }
    }

    fn may_summon(&mut self, now: Moment, source: IpAddr) -> bool {
        self.summons_by_source.take(now, &self.limits.summons_per_source, source)
    }

    fn summon(&mut self, now: Moment, index: u16, source: IpAddr, sink: &mut impl Sink) {
        self.services[usize::from(index)].asked = Some(now);
        if self.deferred.is_empty() && self.summons.take(now, &self.limits.summons) {
            self.counters.summons += 1;
            sink.summon(ServiceId(index), source);
        } else {
            self.counters.deferred += 1;
            self.deferred.push_back((index, source));
        }
    }

    fn keep(&mut self, now: Moment, arrived: &Arrived<'_>) -> Fate {
        let Arrived { index, frame, packet, .. } = *arrived;
        let flow = self.flow(packet);
        match self.hold.keep(now, index, source_hash(&self.key, packet.source), flow, frame) {
            Kept::Held => Fate::Held,
            Kept::Already => Fate::Again,
            Kept::Full => Fate::Full,
        }
    }

    /// The name of a SYN.
    fn flow(&self, packet: &Packet<'_>) -> Option<u64> {
        match &packet.kind {
            Kind::Tcp(tcp) if opens(tcp) => {
                let (from, to) = ends_of(packet, tcp);
                Some(flow_hash(&self.key, from, to, tcp.seq_number().0 as u32))
            }
            _ => None,
        }
    }

    /// Answers a SYN on the guest's behalf, if that is agreed, and possible now. One that is held is not answered
    /// as well: the guest gets it.
    fn shakes_hands(&mut self, now: Moment, arrived: &Arrived<'_>, sink: &mut impl Sink) -> bool {
        let Arrived { index, from, packet, .. } = *arrived;
        let Served { service, phase, .. } = &self.services[usize::from(index)];
        let (Some(offer), Kind::Tcp(tcp)) = (&service.handshake, &packet.kind) else { return false };
        let agreed = !phase.has_connections() && offer.serves(tcp.dst_port());
        if !agreed || self.flow(packet).is_none_or(|flow| self.hold.holds(flow)) {
            return false;
        }
        let (remote, local) = ends_of(packet, tcp);
        let ends = (from, remote, local);
        let Some((answer, record)) = self.handshakes.open(now, index, ends, tcp, offer) else { return false };
        sink.kept(record);
        self.send(&answer, sink);
        true
    }

    pub(super) fn send(&self, outgoing: &Outgoing, sink: &mut impl Sink) {
        let Outgoing { to, service, source, destination, ref segment } = *outgoing;
        let link = Link { from: self.services[usize::from(service)].service.mac, to };
        sink.send(answer::segment(&mut [0; answer::ROOM], link, Addresses { source, destination }, segment));
    }

    /// Answers a packet that nobody will take, if the service's policy, the protocols and the pace allow.
    fn refuse(&mut self, now: Moment, arrived: &Arrived<'_>, what: OutOfReach, sink: &mut impl Sink) -> bool {
        let Arrived { index, from, packet, .. } = *arrived;
        let Service { mac, refusal, .. } = self.services[usize::from(index)].service;
        let link = Link { from: mac, to: from };
        let mut buffer = [0; answer::ROOM];
        let answer = match (refusal, &packet.kind) {
            (Refusal::Silence, _) | (_, Kind::Fragment(_) | Kind::Other) => None,
            (Refusal::Unreachable, Kind::Tcp(tcp)) if what == OutOfReach::Host && !tcp.rst() => {
                Some(answer::unreachable(&mut buffer, link, packet, what))
            }
            (_, Kind::Tcp(tcp)) => answer::reset(&mut buffer, link, packet, tcp),
            (_, Kind::Udp(_) | Kind::Echo) => Some(answer::unreachable(&mut buffer, link, packet, what)),
        };
        match answer {
            Some(answer) if self.refusals.take(now, &self.limits.refusals) => {
                self.counters.refusals += 1;
                sink.send(answer);
                true
            }
            _ => false,
        }
    }

    /// Refuses all that is held for a service.
    pub(super) fn give_up(&mut self, now: Moment, index: u16, sink: &mut impl Sink) {
        let mut frame = [0; LONGEST];
        while let Some(length) = self.hold.take(index, &mut frame) {
            self.counters.given_up += 1;
            // It has been taken apart before it was held.
            let frame = &frame[..length];
            if let Ok(ethernet) = frame::header(frame)
                && let Ok(Content::Packet(packet)) = frame::content(&ethernet)
            {
                let from = ethernet.src_addr();
                self.refuse(now, &Arrived { index, from, frame, packet: &packet }, OutOfReach::Host, sink);
            }
        }
    }
}

/// Both ends of a segment: whom it is from, and whom it is to.
fn ends_of(packet: &Packet<'_>, tcp: &TcpPacket<&[u8]>) -> (SocketAddr, SocketAddr) {
    ((packet.source, tcp.src_port()).into(), (packet.destination, tcp.dst_port()).into())
}
