//! The table of services and what is done about each frame, phase and point in time.

mod neighbours;
mod packets;
mod verdict;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use handover::Record;
use smoltcp::wire::{EthernetAddress, EthernetProtocol};

use self::packets::Arrived;
use crate::bucket::{Bucket, SourceBuckets};
use crate::config::{self, ConfigError, Limits, Service};
use crate::counters::{Counters, Fate};
use crate::frame::{self, Content, LONGEST, Unusable};
use crate::handshake::Handshakes;
use crate::hold::Hold;
use crate::moment::Moment;
use crate::phase::Phase;
use crate::source::Key;

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

    /// This is what is kept of a connection from now on, before its client is told. Who puts it away can have it
    /// [`Capture::adopt`]ed when this process has ended.
    fn kept(&mut self, _: &Record) {}
}

/// A service and how it is.
#[derive(Debug)]
struct Served {
    service: Service,
    phase: Phase,
    /// A summon has been asked for and not been answered by a phase.
    asked: Option<Moment>,
    /// When an address was last defended.
    defended: Option<Moment>,
}

/// SYN capture for all services of a node. See the crate's documentation.
#[derive(Debug)]
pub struct Capture {
    services: Vec<Served>,
    macs: HashMap<EthernetAddress, u16>,
    addresses: HashMap<IpAddr, u16>,
    limits: Limits,
    key: Key,
    hold: Hold,
    handshakes: Handshakes,
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
        let handshakes = Handshakes::new(key, services.len(), &limits);
        let served = |service| Served { service, phase: Phase::default(), asked: None, defended: None };
        Ok(Capture {
            services: services.into_iter().map(served).collect(),
            macs,
            addresses,
            limits,
            key,
            hold,
            handshakes,
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
        if phase.has_connections() || matches!(phase, Phase::Failed { until } if until > now) {
            // Nobody has taken them, and nobody will.
            while let Some(reset) = self.handshakes.give_up_one(index) {
                self.send(&reset, sink);
            }
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

    /// A service's guest takes over the connections that were opened on its behalf ([`Service::handshake`]), in the
    /// order in which they were. From now on their segments are held for it: the service is [`Phase::Resuming`], until
    /// the guest has what is returned here and the driver goes on to [`Phase::Forwarding`]. A guest that goes there
    /// without taking them over lets their clients have an RST.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn hand_over(&mut self, now: Moment, service: ServiceId, sink: &mut impl Sink) -> Vec<Record> {
        let records = self.handshakes.hand_over(service.0);
        self.phase(now, service, Phase::Resuming, sink);
        records
    }

    /// Goes on with a connection that an earlier process has kept. Returns its service; it may have to be summoned. `None`
    /// if no guest can be promised for any more, or the service has all the connections that it can take over.
    pub fn adopt(&mut self, now: Moment, record: Record) -> Option<ServiceId> {
        let index = self.owner(record.local.ip())?;
        let Served { service, phase, .. } = &self.services[usize::from(index)];
        let offer = service.handshake.filter(|offer| offer.serves(record.local.port()))?;
        let adopted = !phase.has_connections() && self.handshakes.adopt(now, index, record, &offer);
        adopted.then_some(ServiceId(index))
    }

    /// Whether any connections are kept.
    pub fn keeps_any(&self) -> bool {
        self.handshakes.keeps_any()
    }

    /// The connections that are kept, in the order in which they were opened.
    pub fn kept(&self) -> impl Iterator<Item = &Record> {
        self.handshakes.kept()
    }

    /// When [`Capture::advance`] has something to do, if nothing else happens before.
    pub fn next(&self) -> Option<Moment> {
        let expiry = self.hold.oldest().map(|seen| seen.after(self.limits.hold));
        let summon = (!self.deferred.is_empty()).then(|| self.summons.next(&self.limits.summons));
        expiry.into_iter().chain(summon).chain(self.handshakes.next()).min()
    }

    /// Time has passed: frames that are too old are let go, and summons that were put off are made.
    pub fn advance(&mut self, now: Moment, sink: &mut impl Sink) {
        let hold = Moment(0).after(self.limits.hold);
        if let Some(until) = now.0.checked_sub(hold.0) {
            self.counters.expired += self.hold.expire(Moment(until));
        }
        while let Some(segment) = self.handshakes.advance(now) {
            self.send(&segment, sink);
        }
        while let Some((index, source)) = self.deferred.front().copied() {
            if self.hold.frames(index) == 0 && self.handshakes.count(index) == 0 {
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
        counters.handshakes = self.handshakes.counters;
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
            Content::Packet(packet) => {
                let from = ethernet.src_addr();
                Ok(self.packet(now, &Arrived { index, from, frame, packet: &packet }, sink))
            }
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

    fn hand_out(&mut self, service: ServiceId, most: usize, sink: &mut impl Sink) -> usize {
        for _ in 0..most {
            let Some(length) = self.hold.take(service.0, &mut self.buffer) else { break };
            self.counters.replayed += 1;
            sink.deliver(service, &self.buffer[..length]);
        }
        self.held(service)
    }

    /// Whose address this is.
    fn owner(&self, address: IpAddr) -> Option<u16> {
        self.addresses.get(&address).copied()
    }
}
