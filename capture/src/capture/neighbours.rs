//! Questions for link addresses, answered for guests that are not up.
//!
//! ARP (RFC 826): whoever wants to send to an IPv4 address asks all hosts of the link for it, and the one that has it
//! answers. A host that is about to take an address asks first whether anybody has it, with no address of its own
//! (a *probe*, RFC 5227); the owner has to answer, or loses it. Whoever *says* that he has a service's address
//! causes a conflict. The owner may defend it with an announcement, once in [`DEFEND_INTERVAL`] (RFC 5227, section
//! 2.4 (c)): everybody then knows better. A service never gives its address up: it is configured, or leased.
//!
//! Neighbour discovery (RFC 4861) does the same for IPv6: solicitations, and for an address about to be taken
//! solicitations without a source (RFC 4862, section 5.4), whose answer goes to all nodes.
//!
//! A guest that boots makes sure of its own addresses. It must not be answered, or it would think them taken.

use std::net::IpAddr;
use std::time::Duration;

use smoltcp::wire::{EthernetAddress, EthernetFrame};

use super::{Capture, ServiceId, Sink};
use crate::answer;
use crate::counters::Fate;
use crate::frame::{Arp, Neighbour};
use crate::moment::Moment;

/// RFC 5227, section 1.1.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Capture {
    /// `to` is the service to whose guest alone the frame went.
    pub(super) fn arp(&mut self, now: Moment, to: Option<u16>, arp: &Arp, sink: &mut impl Sink) -> Fate {
        let claimed = self.owner(arp.sender.into());
        if let Some(index) = claimed.filter(|index| self.is_impostor(*index, arp.sender_mac)) {
            return self.conflict(now, index, arp.sender.into(), arp.sender_mac, sink);
        }
        let Some(index) = self.owner(arp.target.into()).filter(|index| to.is_none_or(|to| to == *index))
        else {
            return Fate::Foreign;
        };
        let served = &self.services[usize::from(index)];
        let mac = served.service.mac;
        if !arp.request || !served.phase.is_stood_in_for() || arp.sender_mac == mac {
            return Fate::Guest;
        }
        sink.send(answer::arp_reply(&mut [0; answer::ROOM], mac, arp));
        Fate::Answered
    }

    pub(super) fn neighbour(
        &mut self,
        now: Moment,
        ethernet: &EthernetFrame<&[u8]>,
        to: Option<u16>,
        neighbour: &Neighbour,
        sink: &mut impl Sink,
    ) -> Fate {
        let sender = neighbour.mac.unwrap_or(ethernet.src_addr());
        let claim = if neighbour.solicitation { neighbour.source } else { neighbour.target };
        if let Some(index) = self.owner(claim.into()).filter(|index| self.is_impostor(*index, sender)) {
            return self.conflict(now, index, claim.into(), sender, sink);
        }
        let owner = self.owner(neighbour.target.into());
        let Some(index) = owner.filter(|index| to.is_none_or(|to| to == *index)) else {
            return Fate::Foreign;
        };
        let served = &self.services[usize::from(index)];
        let mac = served.service.mac;
        if !neighbour.solicitation || !served.phase.is_stood_in_for() || sender == mac {
            return Fate::Guest;
        }
        sink.send(answer::advertisement(&mut [0; answer::ROOM], mac, neighbour, sender));
        Fate::Answered
    }

    /// Whether somebody with this link address has no right to a service's addresses. While the guest is up, it
    /// sees to that itself.
    fn is_impostor(&self, index: u16, mac: EthernetAddress) -> bool {
        let served = &self.services[usize::from(index)];
        served.phase.is_stood_in_for() && served.service.mac != mac
    }

    fn conflict(
        &mut self,
        now: Moment,
        index: u16,
        address: IpAddr,
        mac: EthernetAddress,
        sink: &mut impl Sink,
    ) -> Fate {
        let served = &mut self.services[usize::from(index)];
        if served.defended.is_some_and(|before| now.since(before) < DEFEND_INTERVAL) {
            return Fate::Conflict;
        }
        served.defended = Some(now);
        sink.conflict(ServiceId(index), address, mac);
        if let IpAddr::V4(address) = address {
            let own = served.service.mac;
            self.counters.defences += 1;
            sink.send(answer::arp_announcement(&mut [0; answer::ROOM], own, address));
        }
        Fate::Conflict
    }
}
