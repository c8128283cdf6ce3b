//! SYN capture ("Synjitsu") without I/O: what becomes of the frames for services that are not up.
//!
//! While a service is down or boots, its frames come to a tap: the node's bridge sends there what is for the MAC of
//! a service without a guest. This crate decides about each. It answers questions for the service's addresses, so
//! that nobody thinks it gone; a packet wakes the service, and is held; when the guest is ready it gets all that was
//! held, in order, and neither guest nor client need know. A client whose SYN is simply lost sends the next after a
//! second (RFC 6298, section 2), a hundred times as long as a unikernel takes to boot.
//!
//! It does no I/O and has no clock: frames, phases and the time come in ([`Capture::frame`], [`Capture::phase`],
//! [`Capture::advance`]), frames and summons go out ([`Sink`]). Whatever the network sends, it does not panic, and
//! keeps within its [`Limits`]. Nothing is allocated for an answer, and for a held frame only while tables grow.
//!
//! ```
//! # use std::net::IpAddr;
//! # use capture::{Capture, EthernetAddress, Limits, Moment, Phase, Service, ServiceId, Sink};
//! # #[derive(Default)]
//! # struct Driver { delivered: usize }
//! # impl Sink for Driver {
//! #     fn send(&mut self, _: &[u8]) {}
//! #     fn deliver(&mut self, _: ServiceId, _: &[u8]) { self.delivered += 1 }
//! #     fn summon(&mut self, _: ServiceId, _: IpAddr) {}
//! #     fn conflict(&mut self, _: ServiceId, _: IpAddr, _: EthernetAddress) {}
//! # }
//! let www = Service::new(EthernetAddress([0, 0x16, 0x3e, 0, 0, 1]), [IpAddr::from([10, 0, 0, 20])]);
//! let mut capture = Capture::new(vec![www], Limits::default(), *b"a secret 16 byte")?;
//! let mut driver = Driver::default();
//! let www = ServiceId(0);
//!
//! // What the tap has for us. A SYN would now lead to `Sink::summon`.
//! # let frame_from_the_tap = [0; 60];
//! capture.frame(Moment(1_000), &frame_from_the_tap, &mut driver);
//! capture.phase(Moment(2_000), www, Phase::Starting, &mut driver);
//! // The guest is ready, and the bridge sends its frames to its vif.
//! capture.phase(Moment(9_000_000), www, Phase::Forwarding, &mut driver);
//! while capture.replay(www, 64, &mut driver) > 0 {}
//! // The tap has been read empty since.
//! capture.phase(Moment(9_100_000), www, Phase::Up, &mut driver);
//! # Ok::<(), capture::ConfigError>(())
//! ```
//!
//! # Two ways
//! Any guest gets the client's own SYN, late, and answers it. For a guest that can take connections over
//! ([`Service::handshake`]) the SYN is answered at once, and what the client sends is kept and acknowledged; when the
//! guest claims its address, [`Capture::hand_over`] gives it the connections ([`Record`]), and it goes on with them.
//! That saves the client a round trip, and its impatience; the guest is ready no sooner. When it cannot be done, for
//! want of room, the SYN is held as any other.
//!
//! # What the driver sees to
//! - The tap is a port of the bridge that learns nothing and floods nothing to it but what is for many; it has no
//!   offloads, so that all checksums are filled in, and frames are of at most [`LONGEST`] bytes. All multicast goes
//!   to it (solicitations of neighbours do).
//! - A service's FDB entry is static, and *sticky*: Linux otherwise moves even a static entry to the port from which
//!   the guest's first frame comes, and that is before the guest accepts connections.
//! - A start: [`Phase::Starting`] when it begins; when the guest is ready [`Phase::Forwarding`], [`Capture::replay`]
//!   until nothing is left, the FDB entry moved to the vif, the tap read empty once after that, [`Phase::Up`].
//!   So nothing is reordered if [`Sink::deliver`] goes straight to the vif (a packet socket bound to it). If it goes
//!   through the tap, the entry has to be moved first, for the bridge sends no frame back to the port that it came
//!   from; then a flow's newer packets may overtake those that are replayed. TCP's SYNs do not mind.
//! - If the guest takes connections over: [`Capture::hand_over`] when it claims them, before all that; their segments
//!   are then held like other frames, and replayed when the guest has the records.
//! - An end: [`Phase::Stopping`], then the entry back to the tap, then the domain's end, then [`Phase::Down`].
//! - Every [`Sink::summon`] is answered by a phase. [`Capture::advance`] is called at [`Capture::next`].
//!
//! # Where to find what
//! - `capture/neighbours.rs`: ARP and neighbour discovery; `capture/verdict.rs`: which packet wakes, is held, is refused;
//! - [`hold`]: who has to go when there is no room, and why;
//! - `handshake/`: connections on guests' behalf: the part of TCP that is needed, the bounds, and the record's bytes;
//! - `flows.rs`: [`Flows`], the open connections of guests that are up; the driver asks before it takes their frames;
//! - `frame.rs`: what strangers send is checked there and nowhere else; `answer.rs`: what is sent in a guest's stead.
//!
//! Not here: VLAN tags (such frames are none of ours), reassembly (fragments are held as they are), and the guest's
//! own bounds: in a flood it gets more SYNs than its backlog takes, and may be replayed to in portions.

mod answer;
mod bucket;
mod capture;
mod config;
mod counters;
mod flows;
mod frame;
mod handshake;
mod hold;
mod moment;
mod phase;
mod source;

pub use smoltcp::wire::{EthernetAddress, IpCidr};

pub use bucket::Bucket;
pub use capture::{Capture, ServiceId, Sink};
pub use config::{ConfigError, Limits, Ports, Rate, Refusal, Service};
pub use counters::{Counters, Fate};
pub use flows::{CONNECTION_LIFE, Direction, FlowBounds, Flows, HALF_OPEN};
pub use frame::LONGEST;
pub use handover::{NotARecord, Offer, Record, State, Timestamps, WindowScales};
pub use handshake::HandshakeCounters;
pub use moment::Moment;
pub use phase::Phase;
pub use source::Key;
