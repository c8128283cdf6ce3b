//! Turns this process into another host: a network namespace of its own, and a cable to the node's bridge.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

use crate::netlink::Netlink;

/// How the cable's end at the bridge begins. Both ends vanish with this process, but some time after it: so the number of
/// the process follows.
const BRIDGE_END: &str = "probe";
/// The cable's end here.
const OWN_END: &str = "eth0";

/// `CLOCK_MONOTONIC` in nanoseconds.
///
/// # Errors
/// When the kernel does not tell.
pub fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading CLOCK_MONOTONIC")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Moves this process into a network of its own, which is a port of `bridge` and has `address`.
///
/// # Errors
/// When it is not root, or there is no such bridge.
pub fn become_one(bridge: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
    let port_of = if_nametoindex(bridge).with_context(|| format!("there is no bridge {bridge}"))?;
    // A socket stays in the namespace that it was made in.
    let mut node = Netlink::open()?;
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (are we root?)")?;
    node.request(RouteNetlinkMessage::NewLink(cable(port_of, address)), true)
        .with_context(|| format!("connecting to {bridge}"))?;

    let mut own = Netlink::open()?;
    let mut up = LinkMessage::default();
    up.header.index = if_nametoindex(OWN_END).with_context(|| format!("no {OWN_END} arrived"))?;
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    let index = up.header.index;
    own.request(RouteNetlinkMessage::SetLink(up), false).with_context(|| format!("bringing up {OWN_END}"))?;
    own.request(RouteNetlinkMessage::NewAddress(owner(index, address, prefix)), true)
        .with_context(|| format!("taking the address {address}/{prefix}"))
}

/// A pair of veth devices, one end a port of the bridge and up, the other one in this process's namespace.
/// The Ethernet address is made of the other one, so that who has met this host knows it when it comes again.
fn cable(bridge: u32, address: Ipv4Addr) -> LinkMessage {
    let [a, b, c, d] = address.octets();
    let mut own_end = LinkMessage::default();
    own_end.attributes = vec![
        LinkAttribute::IfName(OWN_END.into()),
        // Locally administered (IEEE 802).
        LinkAttribute::Address(vec![0x02, 0x00, a, b, c, d]),
        LinkAttribute::NetNsPid(std::process::id()),
    ];
    let mut bridge_end = LinkMessage::default();
    bridge_end.header.flags = LinkFlags::Up;
    bridge_end.header.change_mask = LinkFlags::Up;
    bridge_end.attributes = vec![
        LinkAttribute::IfName(format!("{BRIDGE_END}{}", std::process::id())),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(own_end))),
        ]),
    ];
    bridge_end
}

fn owner(index: u32, address: Ipv4Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    let address = IpAddr::V4(address);
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}
