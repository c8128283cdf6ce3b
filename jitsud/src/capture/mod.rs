//! The driver of SYN capture: packets for services that are not up come here, wake them, and are kept until the guest
//! is there.
//!
//! What is to become of a frame is decided by the `capture` crate, whose header says what it needs to be told and
//! when. Here are the parts of Linux that carry it out: a tap that is a port of the bridge ([`tap`]), the bridge's
//! forwarding entry of each service, which points at the tap or at the guest's interface ([`bridge`]), and a packet
//! socket on each guest's interface ([`port`]), by which held frames go to the guest while the bridge still sends new
//! ones here: so they keep their order.
//!
//! Guests that can go on with connections that were opened on their behalf are given these ([`handover`]) when they are
//! ready, before they are given their frames. Until then they are in a file, too ([`journal`]): the next daemon goes on
//! with them.
//!
//! Everything here is done at once, by calls that do not wait; the node's task owns it.
//!
//! ```text
//!            bridge ── uplink
//!              │ │
//!   not up ┌───┘ └───┐ up
//!         tap      vif3.0 ── guest
//!          │          ▲
//!          └─ here ───┘ what was held
//! ```

mod bridge;
mod connections;
pub mod handover;
mod journal;
mod port;
mod probe;
mod sys;
mod tap;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use ::handover::{Offer, Record};
use capture::{Capture, EthernetAddress, LONGEST, Phase, Sink};
use tokio::task::AbortHandle;

use crate::config::{Config, Mac, capture_services};
use crate::directory::{Moment, State};
use crate::net::{Network, Vif};
use crate::random::{self, Random};
use crate::schema::PacketStatus;
use crate::succession::Succession;
use crate::summoner::ServiceId;
use crate::text::chain;
use bridge::ForwardingTable;
use connections::Connections;
use journal::Journal;
use port::Port;
use probe::Probe;
use tap::Tap;

/// The tap's name. The paper calls this part of a node Synjitsu.
pub const TAP: &str = "synjitsu";

/// Frames that are taken from the tap at a time, before anything else has its turn.
const BATCH: usize = 64;

/// Frames that the kernel keeps at most until they are taken from the tap: its queue's usual length. With so many taken, all
/// have been that were there at the beginning.
const QUEUE: usize = 500;

/// Frames replayed at a time.
const PORTION: usize = 64;

/// Ports from which guests are asked whether they listen: those for such purposes (RFC 6335, section 6) that Linux does
/// not use by itself (`ip_local_port_range`).
const SHORT_LIVED: u16 = 61_000;
const SHORT_LIVED_COUNT: u16 = 4535;

/// Why packets cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no tap.
    #[error("the tap {TAP} cannot be made: is the kernel's module `tun` loaded?")]
    Tap(#[source] io::Error),
    /// The tap is no port of the bridge.
    #[error("the tap {TAP}")]
    Network(#[from] crate::net::Error),
    /// The bridge does not forward a service's frames to the tap.
    #[error("the bridge's forwarding entries")]
    Bridge(#[source] io::Error),
    /// The configuration has let something through that cannot be.
    #[error(transparent)]
    Services(#[from] capture::ConfigError),
}

/// Whether a service has been used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idleness {
    /// Nobody uses it, and its frames come here from now on.
    Withdrawn,
    /// It is in use.
    Busy {
        /// Its last packet.
        last: Moment,
        /// Its open connections.
        open: usize,
    },
}

/// SYN capture for all services.
#[derive(Debug)]
pub struct Captor {
    core: Capture,
    outside: Outside,
    forwarding: ForwardingTable,
    buffer: Box<[u8; LONGEST + 1]>,
    /// The node itself, which asks guests.
    node: (Mac, Ipv4Addr),
    random: Random,
    /// Connections that an earlier daemon has opened on guests' behalf.
    left: Vec<Record>,
}

/// Where the core's decisions go.
#[derive(Debug)]
struct Outside {
    tap: Tap,
    services: Vec<Service>,
    /// Services that packets are to wake.
    woken: Vec<ServiceId>,
    connections: Connections,
    journal: Journal,
}

/// What [`Captor::work`] has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Services that packets wake; each is answered by [`Captor::follow`].
    pub woken: Vec<ServiceId>,
    /// Services whose guests have had their last connection.
    pub closed: Vec<ServiceId>,
    /// Services whose guests have been found to listen, after [`Captor::ask`].
    pub listening: Vec<ServiceId>,
}

/// A service's place on the bridge.
#[derive(Debug)]
struct Service {
    name: String,
    mac: Mac,
    address: Ipv4Addr,
    /// Its guest's interface, while there is one, and who watches it.
    port: Option<(Arc<Port>, AbortHandle)>,
    /// The bridge sends its frames to the guest.
    forwarded: bool,
    /// The guest is ready, and taking its connections over.
    takes_over: bool,
}

impl Captor {
    /// Makes what it takes. `offers` are what guests promise of connections that are opened on their behalf, `folder` is
    /// where the next daemon finds these, and which guests have connections. Services whose guests an earlier daemon has left are [`Self::attach`]ed and
    /// [`Self::reach`]ed, then [`Self::begin`] does the rest.
    ///
    /// # Errors
    /// Linux refuses something.
    pub async fn open(
        network: &Network,
        config: &Config,
        offers: impl IntoIterator<Item = Option<Offer>>,
        folder: &Path,
        succession: &Succession,
    ) -> Result<Self, Error> {
        let tap = Tap::open(TAP, succession).map_err(Error::Tap)?;
        network.add_tap(tap.index(), TAP).await?;
        let forwarding = ForwardingTable::of(network.bridge_index()).map_err(Error::Bridge)?;
        let (mut captured, limits) = capture_services(config);
        for (service, offer) in captured.iter_mut().zip(offers) {
            service.handshake = offer;
        }
        let core = Capture::new(captured, limits, random::secret())?;
        let service = |service: &crate::config::Service| Service {
            name: service.name.clone(),
            mac: service.mac,
            address: service.address,
            port: None,
            forwarded: false,
            takes_over: false,
        };
        let services = config.services.iter().map(service).collect();
        let (journal, left) = Journal::open(&folder.join("connections"));
        let connections = Connections::new(&folder.join("in-use"));
        let outside = Outside { tap, services, woken: Vec::new(), connections, journal };
        Ok(Captor {
            core,
            outside,
            forwarding,
            buffer: Box::new([0; LONGEST + 1]),
            node: (network.mac(), config.node.address),
            random: Random::from_system(),
            left,
        })
    }

    /// Frames of all services whose guests are not up come here from now on, and connections that an earlier daemon has
    /// opened on their behalf are kept on.
    ///
    /// # Errors
    /// The bridge refuses.
    pub fn begin(&mut self, now: Moment) -> Result<(), Error> {
        for record in std::mem::take(&mut self.left) {
            let (client, service) = (record.remote, record.local);
            if let Some(adopted) = self.core.adopt(at(now), record) {
                tracing::info!(%client, %service, "a connection is kept on that the daemon before has opened");
                // Its client waits for an answer, and need not say anything that would wake it.
                self.outside.woken.push(ServiceId(usize::from(adopted.0)));
            }
        }
        self.outside.journal.rewrite(self.core.kept());
        for service in self.outside.services.iter().filter(|service| !service.forwarded) {
            self.forwarding.point(service.mac, self.outside.tap.index()).map_err(Error::Bridge)?;
        }
        Ok(())
    }

    /// Waits until there are frames, or the time for [`Self::work`] has come otherwise. Cancelling it loses nothing.
    pub async fn ready(&self) {
        if !self.outside.woken.is_empty() {
            return;
        }
        let due = async {
            match self.core.next().into_iter().chain(self.outside.connections.next()).min() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = self.outside.tap.readable() => if result.is_err() { std::future::pending().await },
            () = self.outside.connections.changed() => {}
            () = due => {}
        }
    }

    /// Does what there is to do, some of it if there is much.
    pub fn work(&mut self, now: Moment) -> Found {
        let now = at(now);
        self.take_in(now, BATCH);
        if self.core.next().is_some_and(|next| next <= now) {
            self.core.advance(now, &mut self.outside);
        }
        self.tidy();
        let services = |of: Vec<capture::ServiceId>| {
            of.into_iter().map(|service| ServiceId(usize::from(service.0))).collect()
        };
        Found {
            woken: std::mem::take(&mut self.outside.woken),
            closed: services(self.outside.connections.closed(now)),
            listening: services(self.outside.connections.listening(now)),
        }
    }

    /// Forgets in the journal what is not kept any more, when that is worth while.
    fn tidy(&mut self) {
        let journal = &mut self.outside.journal;
        if journal.is_long() || !journal.is_empty() && !self.core.keeps_any() {
            journal.rewrite(self.core.kept());
        }
    }

    /// Takes in frames that have come, at most so many.
    fn take_in(&mut self, now: capture::Moment, most: usize) {
        for _ in 0..most {
            let Some(length) = self.outside.tap.read(&mut self.buffer[..]) else { break };
            self.core.frame(now, &self.buffer[..length], &mut self.outside);
        }
    }

    /// A service is in this state now, and has just been or is as before. One that has become ready is
    /// [`Self::reach`]ed instead.
    pub fn follow(&mut self, now: Moment, service: ServiceId, state: &State) {
        let phase = match state {
            State::Off => Phase::Down,
            State::Building { .. } | State::AwaitingRoom { .. } | State::Booting { .. } => Phase::Starting,
            State::Ready { .. } => return,
            State::Paused { .. } => Phase::Paused,
            State::ShuttingDown { .. } | State::Stopping { .. } => Phase::Stopping,
            State::Failed { until, .. } => Phase::Failed { until: at(*until) },
        };
        self.core.phase(at(now), id(service), phase, &mut self.outside);
    }

    /// A guest's interface is there. May be said more than once.
    pub fn attach(&mut self, service: ServiceId, vif: Vif) {
        let Some(place) = self.outside.services.get_mut(service.0) else { return };
        if place.port.as_ref().is_some_and(|(port, _)| port.vif() == vif) {
            return;
        }
        match Port::open(vif) {
            Ok(port) => {
                let port = Arc::new(port);
                self.outside.connections.begin(id(service), vif.domid);
                let watch = self.outside.connections.clone().watch(port.clone(), id(service), place.mac);
                place.port = Some((port, tokio::spawn(watch).abort_handle()));
            }
            // It can be gone again already. Without it, what is held is lost, and clients send it again.
            Err(error) => tracing::warn!(service = place.name, %vif, %error, "nothing can be sent to it"),
        }
    }

    /// Asks a guest whose interface is there whether it listens at a TCP port, until it does.
    pub fn ask(&mut self, now: Moment, service: ServiceId, port: u16) {
        let place = &self.outside.services[service.0];
        let Some((vif, _)) = &place.port else { return };
        let own = SHORT_LIVED + (self.random.number() % u32::from(SHORT_LIVED_COUNT)) as u16;
        let node = probe::End { mac: self.node.0.0, address: self.node.1, port: own };
        let guest = probe::End { mac: place.mac.0, address: place.address, port };
        let probe = Probe::new(at(now), node, guest, self.random.number());
        self.outside.connections.ask(id(service), probe, vif.clone());
    }

    /// A guest of an earlier daemon may have connections of which that daemon alone knew.
    pub fn suspect(&mut self, now: Moment, service: ServiceId) {
        self.outside.connections.suspect(at(now), id(service));
    }

    /// A service's guest is ready. Returns the connections that were opened on its behalf, if there are any; it gets
    /// nothing else until [`Self::taken`].
    pub fn hand_over(&mut self, now: Moment, service: ServiceId) -> Vec<Record> {
        let place = &self.outside.services[service.0];
        if place.forwarded || place.takes_over {
            return Vec::new();
        }
        // What has been said already goes with them.
        self.take_in(at(now), QUEUE);
        let records = self.core.hand_over(at(now), id(service), &mut self.outside);
        self.outside.services[service.0].takes_over = !records.is_empty();
        self.outside.connections.handed_over(at(now), id(service), &records);
        records
    }

    /// A service's guest goes on with the connections that it was handed.
    pub fn taken(&mut self, now: Moment, service: ServiceId) {
        if std::mem::take(&mut self.outside.services[service.0].takes_over) {
            self.reach(now, service);
            // They are the guest's now, and must not be anybody else's.
            self.outside.journal.rewrite(self.core.kept());
        }
    }

    /// A service's guest is ready: it gets what was held for it, and everything from now on.
    pub fn reach(&mut self, now: Moment, service: ServiceId) {
        let place = &self.outside.services[service.0];
        if place.forwarded || place.takes_over {
            return;
        }
        let (now, captured) = (at(now), id(service));
        // Who has asked for its address before the bridge forwarded to it is not answered by the guest.
        self.take_in(now, QUEUE);
        self.core.phase(now, captured, Phase::Forwarding, &mut self.outside);
        while self.core.replay(captured, PORTION, &mut self.outside) > 0 {}
        let place = &mut self.outside.services[service.0];
        let Some((port, _)) = &place.port else {
            return tracing::error!(service = place.name, "it is ready, but not on the bridge");
        };
        match self.forwarding.point(place.mac, port.index()) {
            Ok(()) => place.forwarded = true,
            // What comes goes through here, then, for as long as the guest lives.
            Err(error) => {
                return tracing::error!(service = place.name, %error, "the bridge does not forward to it");
            }
        }
        // What came here in the meantime goes first.
        self.take_in(now, QUEUE);
        self.core.phase(now, captured, Phase::Up, &mut self.outside);
    }

    /// A service's guest is going to be ended or paused: its frames come here from now on.
    pub fn leave(&mut self, service: ServiceId) {
        let place = &mut self.outside.services[service.0];
        place.takes_over = false;
        if !std::mem::take(&mut place.forwarded) {
            return;
        }
        if let Err(error) = self.forwarding.point(place.mac, self.outside.tap.index()) {
            tracing::error!(service = place.name, %error, "its packets are lost until it is up again");
        }
    }

    /// Takes a service's frames from its guest if it has been quiet since `quiet_since`, and, unless they are to be
    /// ignored, has no open connections: they come here from now on, and are held, until [`Self::reach`] gives them
    /// back. None is lost in between.
    ///
    /// # Errors
    /// Linux does not say whether it is in use; it is left as it is.
    pub fn withdraw(
        &mut self,
        now: Moment,
        service: ServiceId,
        quiet_since: Moment,
        ignore_connections: bool,
    ) -> io::Result<Idleness> {
        let Some((port, _)) = self.outside.services[service.0].port.clone() else {
            return Ok(Idleness::Withdrawn);
        };
        let (last, open) = self.traffic(now, service)?;
        if last > quiet_since || (open > 0 && !ignore_connections) {
            return Ok(Idleness::Busy { last, open });
        }
        let sent = port.sent()?;
        self.leave(service);
        sys::let_packets_pass();
        // The counter is netback's, which takes a packet from its queue some time after the bridge has put it there. What
        // opens a connection is seen at once.
        let seen = self.outside.connections.look(&port, id(service), self.outside.services[service.0].mac);
        if seen == 0 && port.sent()? == sent {
            self.core.phase(at(now), id(service), Phase::Stopping, &mut self.outside);
            return Ok(Idleness::Withdrawn);
        }
        // One more was on its way to the guest. What has come here since is held until it has got that.
        self.core.phase(at(now), id(service), Phase::Resuming, &mut self.outside);
        self.reach(now, service);
        Ok(Idleness::Busy { last: now, open: self.outside.connections.open(id(service)) })
    }

    /// When a guest's last packet came or went, and how many of its connections are open.
    ///
    /// # Errors
    /// Linux does not say.
    pub fn traffic(&self, now: Moment, service: ServiceId) -> io::Result<(Moment, usize)> {
        let (place, connections) = (&self.outside.services[service.0], &self.outside.connections);
        let quiet = self.forwarding.quiet_for(place.mac)?;
        if let Some((port, _)) = &place.port {
            connections.look(port, id(service), place.mac);
        }
        Ok((now.before(quiet), connections.open(id(service))))
    }

    /// What has become of packets.
    pub fn status(&self) -> PacketStatus {
        PacketStatus::new(&self.core.counters(), self.core.held_bytes())
    }

    /// A service's guest is gone.
    pub fn detach(&mut self, service: ServiceId) {
        self.outside.connections.forget(id(service));
        if let Some(place) = self.outside.services.get_mut(service.0)
            && let Some((port, watcher)) = place.port.take()
        {
            place.takes_over = false;
            watcher.abort();
            // Linux waits for all packets that are under way before it has closed a packet socket.
            tokio::task::spawn_blocking(move || drop(port));
        }
    }
}

impl Sink for Outside {
    fn send(&mut self, frame: &[u8]) {
        if let Err(error) = self.tap.send(frame) {
            tracing::debug!(error = %chain(&error), "a frame could not be sent");
        }
    }

    fn deliver(&mut self, service: capture::ServiceId, frame: &[u8]) {
        let place = &self.services[usize::from(service.0)];
        self.connections.delivered(at(Moment::now()), service, frame);
        let sent = place.port.as_ref().map(|(port, _)| port.send(frame));
        if let Some(Err(error)) = sent {
            tracing::debug!(service = place.name, %error, "a frame was not taken");
        }
    }

    fn kept(&mut self, record: &Record) {
        self.journal.add(record);
    }

    fn summon(&mut self, service: capture::ServiceId, _: IpAddr) {
        self.woken.push(ServiceId(usize::from(service.0)));
    }

    fn conflict(&mut self, service: capture::ServiceId, address: IpAddr, mac: EthernetAddress) {
        let name = &self.services[usize::from(service.0)].name;
        tracing::warn!(
            service = name,
            "another host, {mac}, uses its address {address}: give one of them another"
        );
    }
}

fn id(service: ServiceId) -> capture::ServiceId {
    // There are no more than `Capture::new` has counted.
    capture::ServiceId(service.0 as u16)
}

fn at(moment: Moment) -> capture::Moment {
    capture::Moment(moment.0)
}

/// Waits for a deadline of the core's.
async fn sleep_until(moment: capture::Moment) {
    tokio::time::sleep(moment.since(at(Moment::now()))).await;
}
