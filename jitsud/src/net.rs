//! The node's network, by netlink: the bridge that uplink and guests are ports of.
//!
//! netback announces a guest's interface as `vifDOMID.HANDLE` when its XenStore nodes appear; one message makes
//! it a port of its bridge and brings it up, and nothing waits for a script.

mod announcements;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{
    BridgeMulticastRouterType, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkInfo, LinkLayerType,
    LinkMessage, State,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, MulticastGroup, RouteMessageBuilder,
    new_connection, new_multicast_connection,
};
use tokio::time::timeout;
use xen_sys::DomId;

use crate::capture::TAP;
use crate::config::{Addressing, Interface, InterfaceKind, Mac};
use crate::text::chain;
use announcements::{Announced, Announcements};

/// After so long without a link, the cable is likely not in. Linux looks at links once a second, and Ethernet takes
/// up to 3 s to agree on a speed.
const CABLE: Duration = Duration::from_secs(4);

/// A network step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{step}")]
    Netlink {
        /// What was being done, and to which interface.
        step: String,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// No netlink socket.
    #[error("netlink socket")]
    Socket(#[from] io::Error),
    /// There is nothing to connect the bridge to.
    #[error("no network interface named {0}: name an existing one as `uplink` in [node]; there are: {1}")]
    NoUplink(String, String),
    /// The uplink has no Ethernet address.
    #[error("network interface {0} has no Ethernet address: name another one as `uplink` in [node]")]
    NoMac(String),
}

/// The node's interfaces as they are found.
pub struct Interfaces {
    handle: Handle,
    links: Vec<LinkMessage>,
    messages: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
}

impl Interfaces {
    /// Looks for interfaces, and waits until one is there that may lead out: its driver may still be starting.
    pub async fn find() -> Result<Self, Error> {
        let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        let mut messages = messages.map(|(message, _)| message).boxed();
        loop {
            // Messages about changes have been coming in since before this.
            let links = links(&handle).await?;
            if links.iter().any(|link| kind(link) == InterfaceKind::Ethernet) {
                return Ok(Interfaces { handle, links, messages });
            }
            tracing::info!("no Ethernet interface: waiting for one");
            if messages.next().await.is_none() {
                return Err(closed());
            }
        }
    }

    /// What there is.
    pub fn list(&self) -> Vec<Interface> {
        let named = |link: &LinkMessage| Some(Interface { name: name(link)?.to_owned(), kind: kind(link) });
        self.links.iter().filter_map(named).collect()
    }
}

/// The bridge, and the guests' interfaces as they come.
pub struct Network {
    handle: Handle,
    bridge: u32,
    /// The bridge was there already, and may have addresses of an earlier daemon.
    used: bool,
    bridge_name: String,
    /// Those that guests' interfaces are ports of: the node's own, and others that lead nowhere else.
    bridges: HashMap<String, u32>,
    uplink: String,
    mac: Mac,
    messages: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
}

impl Network {
    /// Creates the bridge (or takes an existing one over), moves the uplink into it and brings both up, without
    /// an address. Doing it again changes nothing. `uplink` is the interface that leads out, if it matters which.
    /// `others` are bridges that have nothing but guests' interfaces as ports.
    pub async fn set_up(
        interfaces: Interfaces,
        bridge_name: &str,
        uplink: Option<&str>,
        others: &[String],
    ) -> Result<Self, Error> {
        let Interfaces { handle, links, messages } = interfaces;
        // Guests' interfaces are ports and nothing else: the node itself must not speak IPv6 on them.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");

        let uplink = choose_uplink(&links, uplink)?;
        let (bridge, used) = bridge(&handle, &links, bridge_name).await?;
        // It is new, and as the others. On a kernel without IPv6 there is no such file.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{bridge_name}/disable_ipv6"), "0");
        let port = LinkUnspec::new_with_index(uplink.header.index).controller(bridge).up();
        set(&handle, port, || format!("making the uplink a port of {bridge_name}")).await?;
        set(&handle, LinkUnspec::new_with_name("lo").up(), || "bringing up lo".into()).await?;

        // The bridge keeps the uplink's address on the link, whatever ports come and go.
        let mac = mac(uplink).ok_or_else(|| Error::NoMac(name(uplink).unwrap_or_default().to_owned()))?;
        let up = LinkUnspec::new_with_index(bridge).up().address(mac.0.to_vec());
        set(&handle, up, || format!("bringing up {bridge_name}")).await?;

        let mut bridges = HashMap::from([(bridge_name.to_owned(), bridge)]);
        for other in others {
            let (index, _) = self::bridge(&handle, &links, other).await?;
            set(&handle, LinkUnspec::new_with_index(index).up(), || format!("bringing up {other}")).await?;
            bridges.insert(other.clone(), index);
        }
        Ok(Network {
            handle,
            bridge,
            used,
            bridge_name: bridge_name.to_owned(),
            bridges,
            uplink: name(uplink).unwrap_or_default().to_owned(),
            mac,
            messages,
        })
    }

    /// The node's address on the link: its uplink's.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The name of the interface that leads out.
    pub fn uplink(&self) -> &str {
        &self.uplink
    }

    /// The bridge's name.
    pub fn bridge(&self) -> &str {
        &self.bridge_name
    }

    /// The bridge's number.
    pub fn bridge_index(&self) -> u32 {
        self.bridge
    }

    /// Makes a tap a port of the bridge: it learns nothing from it, and sends there what is for the tap's own
    /// forwarding entries and what is for everybody.
    pub async fn add_tap(&self, tap: u32, name: &str) -> Result<(), Error> {
        let port = LinkUnspec::new_with_index(tap).controller(self.bridge).up();
        set(&self.handle, port, || format!("making {name} a port of {}", self.bridge_name)).await?;
        let settings = LinkBridgePort::new(tap)
            .learning(false)
            .flood(false)
            // Neighbour solicitations are multicast.
            .mcast_router(BridgeMulticastRouterType::Permanent);
        let step = |source| Error::Netlink { step: format!("setting {name} up as a port"), source };
        self.handle.link().set_port(settings.build()).execute().await.map_err(step)
    }

    /// Waits until packets can leave through the bridge: until the uplink's cable is in, that is. With the cable in,
    /// Linux may still take a second to notice.
    pub async fn connected(&mut self) -> Result<(), Error> {
        let uplink = self.uplink.clone();
        let up = self.up();
        tokio::pin!(up);
        match timeout(CABLE, &mut up).await {
            Ok(result) => result,
            Err(_) => {
                tracing::info!("no link on {uplink}: waiting for its cable");
                up.await
            }
        }
    }

    async fn up(&mut self) -> Result<(), Error> {
        let up = |link: &LinkMessage| link.attributes.contains(&LinkAttribute::OperState(State::Up));
        // Messages about changes have been coming in since before this.
        if links(&self.handle).await?.iter().any(|link| link.header.index == self.bridge && up(link)) {
            return Ok(());
        }
        while let Some(message) = self.messages.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload
                && link.header.index == self.bridge
                && up(&link)
            {
                return Ok(());
            }
        }
        Err(closed())
    }

    /// Gives the bridge the node's address, and nothing but that, and the node its way out.
    pub async fn assign(&self, addressing: &Addressing) -> Result<(), Error> {
        let Addressing { address, prefix, gateway } = *addressing;
        if self.used {
            self.remove_addresses(addressing).await?;
        }
        let step = |source| Error::Netlink {
            step: format!("giving {address}/{prefix} to {}", self.bridge_name),
            source,
        };
        let new = self.handle.address().add(self.bridge, IpAddr::V4(address), prefix);
        new.replace().execute().await.map_err(step)?;
        if let Some(gateway) = gateway {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
            let step = |source| Error::Netlink { step: format!("default route via {gateway}"), source };
            self.handle.route().add(route).replace().execute().await.map_err(step)?;
        }
        Ok(())
    }

    /// Gives the bridge this IPv6 address beside those of its own making (RFC 4862), and takes from it what an earlier
    /// daemon has given it. Nobody else is asked whether he has the address: who is configured has it at once.
    pub async fn assign6(&self, own: Option<(Ipv6Addr, u8)>) -> Result<(), Error> {
        let step =
            |source| Error::Netlink { step: format!("IPv6 addresses of {}", self.bridge_name), source };
        if self.used {
            let listed = self.handle.address().get().set_link_index_filter(self.bridge).execute();
            let addresses: Vec<AddressMessage> = listed.try_collect().await.map_err(step)?;
            // Those that are made of a router's announcements are for a time.
            let given = |address: &AddressMessage| {
                address.header.family == AddressFamily::Inet6
                    && address.header.scope == AddressScope::Universe
                    && address.header.flags.contains(AddressHeaderFlags::Permanent)
            };
            let is_own = |address: &AddressMessage| {
                own.is_some_and(|(own, prefix)| {
                    let own = AddressAttribute::Address(IpAddr::V6(own));
                    address.header.prefix_len == prefix && address.attributes.contains(&own)
                })
            };
            for old in addresses.into_iter().filter(|address| given(address) && !is_own(address)) {
                self.handle.address().del(old).execute().await.map_err(step)?;
            }
        }
        if let Some((address, prefix)) = own {
            let mut new = self.handle.address().add(self.bridge, IpAddr::V6(address), prefix).replace();
            new.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            new.execute().await.map_err(step)?;
        }
        Ok(())
    }

    /// Takes the addresses of an earlier daemon from the bridge, but for this one.
    async fn remove_addresses(&self, keep: &Addressing) -> Result<(), Error> {
        let step =
            |source| Error::Netlink { step: format!("clearing addresses of {}", self.bridge_name), source };
        let listed = self.handle.address().get().set_link_index_filter(self.bridge).execute();
        let addresses: Vec<AddressMessage> = listed.try_collect().await.map_err(step)?;
        for old in addresses {
            let kept = AddressAttribute::Address(IpAddr::V4(keep.address));
            let is_kept = old.header.prefix_len == keep.prefix && old.attributes.contains(&kept);
            if old.header.family == AddressFamily::Inet && !is_kept {
                self.handle.address().del(old).execute().await.map_err(step)?;
            }
        }
        Ok(())
    }

    /// Makes guests' interfaces ports of bridges as the kernel announces them, and calls `forwards` when one
    /// forwards: from then on no packet to it is lost. `bridge_of` names an interface's bridge; without a name, the
    /// interface is left to whoever has made its domain.
    pub async fn run(self, bridge_of: impl Fn(Vif) -> Option<String>, forwards: impl Fn(Vif)) {
        let Network { handle, messages, bridges, bridge: own, .. } = self;
        // Its connection takes all announcements apart, for as long as it is there.
        drop((handle, messages));
        let open = || -> io::Result<_> {
            let (connection, handle, _) = new_connection()?;
            tokio::spawn(connection);
            Ok((handle, Announcements::listen()?))
        };
        let (handle, mut announcements) = match open() {
            Ok(open) => open,
            Err(error) => return tracing::error!(%error, "guests' interfaces are not seen"),
        };
        let bridge = |vif| Some(bridges.get(&bridge_of(vif)?).copied().unwrap_or(own));
        // Those that came while there was no daemon, or while nobody listened.
        let mut announced = None;
        loop {
            let some = match announced {
                Some(some) => some,
                None => match links(&handle).await {
                    Ok(there) => there.iter().map(Announced::of).collect(),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "guests' interfaces are not seen");
                        Vec::new()
                    }
                },
            };
            for link in &some {
                attend(&handle, &bridge, link).await.map(&forwards);
            }
            announced = match announcements.next().await {
                Ok(next) => next,
                Err(error) => return tracing::error!(%error, "guests' interfaces are not seen any more"),
            };
        }
    }
}

/// Makes an interface a port of its bridge if it is that of a guest of ours and not one yet. Returns it once the
/// bridge forwards to it.
async fn attend(handle: &Handle, bridge: &impl Fn(Vif) -> Option<u32>, link: &Announced) -> Option<Vif> {
    let vif = Vif::parse(&link.name)?;
    if link.is_port {
        // The bridge hears of the carrier before netlink does, and without spanning tree a port with
        // a carrier forwards.
        return link.is_up.then_some(vif);
    }
    let port = LinkUnspec::new_with_index(link.index).controller(bridge(vif)?).up();
    if let Err(error) = set(handle, port, || format!("making {vif} a port of its bridge")).await {
        // The interface can be gone again already; a boot that misses it times out and says so.
        tracing::warn!(%vif, error = %chain(&error), "interface not connected");
    }
    None
}

/// How many guests' interfaces there are now.
pub fn count_vifs() -> usize {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return 0 };
    entries.flatten().filter(|entry| entry.file_name().to_str().and_then(Vif::parse).is_some()).count()
}

/// A guest's interface in dom0. `vif3.1` is domain 3's second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vif {
    /// Whose it is.
    pub domid: DomId,
    /// Which of that domain's, counted from 0.
    pub handle: u32,
}

impl Vif {
    fn parse(name: &str) -> Option<Self> {
        let (domid, handle) = name.strip_prefix("vif")?.split_once('.')?;
        Some(Vif { domid: DomId(domid.parse().ok()?), handle: handle.parse().ok()? })
    }
}

impl fmt::Display for Vif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vif{}.{}", self.domid, self.handle)
    }
}

async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, Error> {
    let step = |source| Error::Netlink { step: "listing network interfaces".into(), source };
    handle.link().get().execute().try_collect().await.map_err(step)
}

/// The bridge of that name, and whether it was there already.
async fn bridge(handle: &Handle, links: &[LinkMessage], name: &str) -> Result<(u32, bool), Error> {
    match links.iter().find(|link| self::name(link) == Some(name)) {
        Some(link) => Ok((link.header.index, true)),
        None => Ok((add_bridge(handle, name).await?, false)),
    }
}

async fn add_bridge(handle: &Handle, bridge: &str) -> Result<u32, Error> {
    let step = |source| Error::Netlink { step: format!("creating {bridge}"), source };
    // Without spanning tree there is no listening phase: a port forwards as soon as it has a carrier.
    let options = InfoData::Bridge(vec![InfoBridge::ForwardDelay(0), InfoBridge::StpState(0.into())]);
    let message = LinkBridge::new(bridge).set_info_data(options).build();
    handle.link().add(message).execute().await.map_err(step)?;
    let mut found = handle.link().get().match_name(bridge.to_string()).execute();
    let step = |source| Error::Netlink { step: format!("looking {bridge} up"), source };
    let link = found.try_next().await.map_err(step)?;
    link.map(|link| link.header.index)
        .ok_or_else(|| Error::NoUplink(bridge.to_string(), "none after creating it".into()))
}

async fn set(
    handle: &Handle,
    link: LinkMessageBuilder<LinkUnspec>,
    step: impl Fn() -> String,
) -> Result<(), Error> {
    let result = handle.link().set(link.build()).execute().await;
    result.map_err(|source| Error::Netlink { step: step(), source })
}

fn choose_uplink<'a>(links: &'a [LinkMessage], wanted: Option<&str>) -> Result<&'a LinkMessage, Error> {
    let ethernet = || links.iter().filter(|link| kind(link) == InterfaceKind::Ethernet);
    let found = match wanted {
        Some(wanted) => ethernet().find(|link| name(link) == Some(wanted)),
        None => ethernet().min_by_key(|link| link.header.index),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = ethernet().filter_map(name).collect();
        Error::NoUplink(wanted.unwrap_or("(any Ethernet)").into(), names.join(", "))
    })
}

fn kind(link: &LinkMessage) -> InterfaceKind {
    let is_bridge = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    });
    // That of a guest, or the tap that an earlier daemon has left.
    let own = name(link).is_none_or(|name| Vif::parse(name).is_some() || name == TAP);
    match link.header.link_layer_type {
        _ if is_bridge => InterfaceKind::Bridge,
        LinkLayerType::Ether if !own => InterfaceKind::Ethernet,
        _ => InterfaceKind::Other,
    }
}

fn closed() -> Error {
    Error::Socket(io::ErrorKind::UnexpectedEof.into())
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mac(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_guests_interfaces_are_taken_for_such() {
        for (name, vif) in [
            ("vif3.0", Some((3, 0))),
            ("vif12.0", Some((12, 0))),
            ("vif3.1", Some((3, 1))),
            ("vif3.0-emu", None),
            ("vif.0", None),
            ("vif3.", None),
            ("vif99999.0", None),
            ("eth0", None),
        ] {
            let vif = vif.map(|(domid, handle)| Vif { domid: DomId(domid), handle });
            assert_eq!(Vif::parse(name), vif, "{name}");
            assert!(vif.is_none_or(|vif| vif.to_string() == name));
        }
    }
}
