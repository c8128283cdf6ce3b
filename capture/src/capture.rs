//! The table of services and what is done about each frame, phase and point in time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol};

use crate::answer::{self, Link, OutOfReach};
use crate::bucket::{Bucket, SourceBuckets};
use crate::config::{self, ConfigError, Limits, Refusal, Service};
use crate::counters::{Counters, Fate};
use crate::frame::{self, Content, Kind, LONGEST, Packet, Unusable};
use crate::hold::{Hold, Kept};
use crate::moment::Moment;
use crate::phase::Phase;
use crate::source::{Key, flow_hash, source_hash};
use crate::verdict::{Verdict, verdict};

/// A service's index in the list that [`Capture::new`] was given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(pub u16);

/// Where the outcome goes.
pub trait Sink {
    /// A frame goes out to the network: written to the tap.
    fn send(&mut self, frame: &[u8]);

    /// A frame goes to a service's guest, after all that were delivered to it before.
    fn deliver(&mut self, service: ServiceId, frame: &[u8]);

    /// A service is to be started, or resumed, because `source` has sent it a packet. It is answered by
    /// [`Capture::phase`]; if it cannot be started, with [`Phase::Failed`].
    fn summon(&mut self, service: ServiceId, source: IpAddr);

    /// Another host, `mac`, claims an address of a service that is not up. At most once in 10 s for each service.
    fn conflict(&mut self, service: ServiceId, address: IpAddr, mac: EthernetAddress);
}

/// A service and how it is.
#[derive(Debug)]
pub(crate) struct Served {
    pub service: Service,
    pub phase: Phase,
    /// A summon has been asked for and not been answered by a phase.
    pub asked: Option<Moment>,
    /// When an address was last defended.
    pub defended: Option<Moment>,
}

/// SYN capture for all services of a node. See the crate's documentation.
#[derive(Debug)]
pub struct Capture {
    pub(crate) services: Vec<Served>,
    macs: HashMap<EthernetAddress, u16>,
    addresses: HashMap<IpAddr, u16>,
    limits: Limits,
    key: Key,
    hold: Hold,
    summons: Bucket,
    summons_by_source: SourceBuckets,
    refusals: Bucket,
    /// Summons that were put off, in order. A service is in it once.
    deferred: VecDeque<(u16, IpAddr)>,
    counters: Counters,
    buffer: Box<[u8; LONGEST]>,
}

impl Capture {
    /// All services are [`Phase::Down`]. `key` is a secret that others cannot guess.
    ///
    /// # Errors
    /// Services that share an address, and limits that cannot be kept to.
    pub fn new(services: Vec<Service>, limits: Limits, key: Key) -> Result<Self, ConfigError> {
        config::check(&services, &limits)?;
        let numbered = || services.iter().zip(0_u16..);
        let macs = numbered().map(|(service, index)| (service.mac, index)).collect();
        let addresses = numbered()
            .flat_map(|(service, index)| service.addresses.iter().map(move |address| (*address, index)));
        let addresses = addresses.collect();
        let hold = Hold::new(services.len(), &limits);
        let served = |service| Served { service, phase: Phase::default(), asked: None, defended: None };
        Ok(Capture {
            services: services.into_iter().map(served).collect(),
            macs,
            addresses,
            limits,
            key,
            hold,
            summons: Bucket::default(),
            summons_by_source: SourceBuckets::new(key),
            refusals: Bucket::default(),
            deferred: VecDeque::new(),
            counters: Counters::default(),
            buffer: Box::new([0; LONGEST]),
        })
    }

    /// A frame has come through the tap: any bytes whatever.
    pub fn frame(&mut self, now: Moment, frame: &[u8], sink: &mut impl Sink) -> Fate {
        let fate = self.look_at(now, frame, sink).unwrap_or_else(|unusable| match unusable {
            Unusable::Unknown => Fate::Unknown,
            Unusable::Malformed => Fate::Malformed,
        });
        self.counters.count(fate);
        fate
    }

    /// A service's phase is now this one. Also the answer to a summon.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn phase(&mut self, now: Moment, service: ServiceId, phase: Phase, sink: &mut impl Sink) {
        let index = service.0;
        let served = &mut self.services[usize::from(index)];
        served.phase = phase;
        if !phase.waits_for_summons() || matches!(phase, Phase::Failed { until } if until > now) {
            self.deferred.retain(|(deferred, _)| *deferred != index);
        }
        if !self.deferred.iter().any(|(deferred, _)| *deferred == index) {
            served.asked = None;
        }
        match phase {
            Phase::Failed { until } if until > now => self.give_up(now, index, sink),
            Phase::Up => _ = self.hand_out(service, usize::MAX, sink),
            _ => {}
        }
    }

    /// Delivers up to `most` of the frames held for a service that is [`Phase::Forwarding`], in the order in which
    /// they came. Returns how many are left.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn replay(&mut self, service: ServiceId, most: usize, sink: &mut impl Sink) -> usize {
        match self.services[usize::from(service.0)].phase {
            Phase::Forwarding => self.hand_out(service, most, sink),
            _ => self.held(service),
        }
    }

    /// When [`Capture::advance`] has something to do, if nothing else happens before.
    pub fn next(&self) -> Option<Moment> {
        let expiry = self.hold.oldest().map(|seen| seen.after(self.limits.hold));
        let summon = (!self.deferred.is_empty()).then(|| self.summons.next(&self.limits.summons));
        expiry.into_iter().chain(summon).min()
    }

    /// Time has passed: frames that are too old are let go, and summons that were put off are made.
    pub fn advance(&mut self, now: Moment, sink: &mut impl Sink) {
        let hold = Moment(0).after(self.limits.hold);
        if let Some(until) = now.0.checked_sub(hold.0) {
            self.counters.expired += self.hold.expire(Moment(until));
        }
        while let Some((index, source)) = self.deferred.front().copied() {
            if self.hold.frames(index) == 0 {
                // Nobody waits for it any more.
                self.services[usize::from(index)].asked = None;
            } else if self.summons.take(now, &self.limits.summons) {
                self.services[usize::from(index)].asked = Some(now);
                self.counters.summons += 1;
                sink.summon(ServiceId(index), source);
            } else {
                break;
            }
            self.deferred.pop_front();
        }
    }

    /// Frames held for a service.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn held(&self, service: ServiceId) -> usize {
        self.hold.frames(service.0) as usize
    }

    /// Memory that held frames take now, in bytes: at most [`Limits::bytes`].
    pub fn held_bytes(&self) -> usize {
        self.hold.bytes()
    }

    /// Figures since the start.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.evicted = self.hold.evicted;
        counters
    }

    fn look_at(&mut self, now: Moment, frame: &[u8], sink: &mut impl Sink) -> Result<Fate, Unusable> {
        let ethernet = frame::header(frame)?;
        if ethernet.dst_addr().is_multicast() {
            // All that is of interest in frames to many, the broadcast address among these.
            return match ethernet.ethertype() {
                EthernetProtocol::Arp | EthernetProtocol::Ipv6 => match frame::content(&ethernet)? {
                    Content::Arp(arp) => Ok(self.arp(now, None, &arp, sink)),
                    Content::Neighbour(neighbour) => {
                        Ok(self.neighbour(now, &ethernet, None, &neighbour, sink))
                    }
                    Content::Packet(_) => Ok(Fate::Unknown),
                },
                _ => Ok(Fate::Unknown),
            };
        }
        let Some(index) = self.macs.get(&ethernet.dst_addr()).copied() else { return Ok(Fate::Foreign) };
        let served = &self.services[usize::from(index)];
        if ethernet.src_addr() == served.service.mac || served.phase == Phase::Up {
            return Ok(Fate::Guest);
        }
        let forwarding = served.phase == Phase::Forwarding;
        if forwarding && self.hold.frames(index) == 0 {
            sink.deliver(ServiceId(index), frame);
            return Ok(Fate::Passed);
        }
        match frame::content(&ethernet)? {
            Content::Packet(packet) => Ok(self.packet(now, index, &ethernet, frame, &packet, sink)),
            // It need not keep to the order of packets.
            Content::Arp(_) | Content::Neighbour(_) if forwarding => {
                sink.deliver(ServiceId(index), frame);
                Ok(Fate::Passed)
            }
            Content::Arp(arp) => Ok(self.arp(now, Some(index), &arp, sink)),
            Content::Neighbour(neighbour) => {
                Ok(self.neighbour(now, &ethernet, Some(index), &neighbour, sink))
            }
        }
    }

    fn packet(
        &mut self,
        now: Moment,
        index: u16,
        ethernet: &EthernetFrame<&[u8]>,
        frame: &[u8],
        packet: &Packet<'_>,
        sink: &mut impl Sink,
    ) -> Fate {
        let served = &self.services[usize::from(index)];
        if !served.service.addresses.contains(&packet.destination) {
            return Fate::Foreign;
        }
        if served.service.addresses.contains(&packet.source) {
            return Fate::Malformed;
        }
        let expected = served.asked.is_some_and(|asked| now.since(asked) < self.limits.hold)
            || self.deferred.iter().any(|(deferred, _)| *deferred == index);
        match verdict(now, served, expected, packet) {
            Verdict::Hold => self.keep(now, index, frame, packet),
            Verdict::Wake
                if self.summons_by_source.take(now, &self.limits.summons_per_source, packet.source) =>
            {
                // First, so that a summon that is put off finds what waits for it.
                let fate = self.keep(now, index, frame, packet);
                self.summon(now, index, packet.source, sink);
                fate
            }
            Verdict::Wake => Fate::Limited,
            Verdict::Refuse(what) => match self.refuse(now, index, ethernet, packet, what, sink) {
                true => Fate::Refused,
                false => Fate::Silent,
            },
            Verdict::Ignore => Fate::Silent,
        }
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

    fn keep(&mut self, now: Moment, index: u16, frame: &[u8], packet: &Packet<'_>) -> Fate {
        let flow = match &packet.kind {
            Kind::Tcp(tcp) if tcp.syn() && !tcp.ack() => {
                let (from, to) =
                    ((packet.source, tcp.src_port()).into(), (packet.destination, tcp.dst_port()).into());
                Some(flow_hash(&self.key, from, to, tcp.seq_number().0 as u32))
            }
            _ => None,
        };
        match self.hold.keep(now, index, source_hash(&self.key, packet.source), flow, frame) {
            Kept::Held => Fate::Held,
            Kept::Already => Fate::Again,
            Kept::Full => Fate::Full,
        }
    }

    /// Answers a packet that nobody will take, if the service's policy, the protocols and the pace allow.
    fn refuse(
        &mut self,
        now: Moment,
        index: u16,
        ethernet: &EthernetFrame<&[u8]>,
        packet: &Packet<'_>,
        what: OutOfReach,
        sink: &mut impl Sink,
    ) -> bool {
        let Service { mac, refusal, .. } = self.services[usize::from(index)].service;
        let link = Link { from: mac, to: ethernet.src_addr() };
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

    fn hand_out(&mut self, service: ServiceId, most: usize, sink: &mut impl Sink) -> usize {
        for _ in 0..most {
            let Some(length) = self.hold.take(service.0, &mut self.buffer) else { break };
            self.counters.replayed += 1;
            sink.deliver(service, &self.buffer[..length]);
        }
        self.held(service)
    }

    /// Refuses all that is held for a service.
    fn give_up(&mut self, now: Moment, index: u16, sink: &mut impl Sink) {
        let mut frame = [0; LONGEST];
        while let Some(length) = self.hold.take(index, &mut frame) {
            self.counters.given_up += 1;
            // It has been taken apart before it was held.
            if let Ok(ethernet) = frame::header(&frame[..length])
                && let Ok(Content::Packet(packet)) = frame::content(&ethernet)
            {
                self.refuse(now, index, &ethernet, &packet, OutOfReach::Host, sink);
            }
        }
    }

    /// Whose address this is.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<u16> {
        self.addresses.get(&address).copied()
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}
