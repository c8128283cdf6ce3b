//! The node's network, by netlink: the bridge that uplink and guests are ports of.
//!
//! netback announces a guest's interface as `vifDOMID.0` when its XenStore nodes appear; one message makes
//! it a port of the bridge and brings it up, and nothing waits for a script.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoBridge, InfoData, LinkAttribute, LinkLayerType, LinkMessage, State};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, MulticastGroup, RouteMessageBuilder,
    new_multicast_connection,
};
use xen_sys::DomId;

use crate::config::Node;
use crate::text::chain;

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
}

/// The bridge, and the guests' interfaces as they come.
pub struct Network {
    handle: Handle,
    bridge: u32,
    messages: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
}

impl Network {
    /// Creates the bridge (or takes an existing one over), moves the uplink into it, and gives it the
    /// node's address. Doing it again changes nothing.
    pub async fn set_up(node: &Node) -> Result<Self, Error> {
        let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message).boxed();

        // Guests' interfaces are ports and nothing else: the node itself must not speak IPv6 on them.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");

        let links = links(&handle).await?;
        let uplink = choose_uplink(&links, node.uplink.as_deref(), &node.bridge)?;
        let bridge = match links.iter().find(|link| name(link) == Some(&node.bridge)) {
            Some(link) => link.header.index,
            None => add_bridge(&handle, &node.bridge).await?,
        };
        let port = LinkUnspec::new_with_index(uplink.header.index).controller(bridge).up();
        set(&handle, port, || format!("making the uplink a port of {}", node.bridge)).await?;
        set(&handle, LinkUnspec::new_with_name("lo").up(), || "bringing up lo".into()).await?;
        let step = |source| Error::Netlink {
            step: format!("giving {}/{} to {}", node.address, node.prefix, node.bridge),
            source,
        };
        let address = IpAddr::V4(node.address);
        handle.address().add(bridge, address, node.prefix).replace().execute().await.map_err(step)?;

        // The bridge keeps the uplink's address on the link, whatever ports come and go.
        let mut up = LinkUnspec::new_with_index(bridge).up();
        if let Some(mac) = mac(uplink) {
            up = up.address(mac.to_vec());
        }
        set(&handle, up, || format!("bringing up {}", node.bridge)).await?;
        if let Some(gateway) = node.gateway {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
            let step = |source| Error::Netlink { step: format!("default route via {gateway}"), source };
            handle.route().add(route).replace().execute().await.map_err(step)?;
        }
        Ok(Network { handle, bridge, messages })
    }

    /// Makes guests' interfaces ports of the bridge as the kernel announces them, and calls `forwards` with
    /// the number of the domain whose port forwards: from then on no packet to it is lost.
    pub async fn run(mut self, forwards: impl Fn(DomId)) {
        while let Some(message) = self.messages.next().await {
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload else {
                continue;
            };
            let Some(domid) = name(&link).and_then(parse_vif) else { continue };
            if link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Controller(_))) {
                // The bridge hears of the carrier before netlink does, and without spanning tree a port with
                // a carrier forwards.
                if link.attributes.contains(&LinkAttribute::OperState(State::Up)) {
                    forwards(domid);
                }
                continue;
            }
            let port = LinkUnspec::new_with_index(link.header.index).controller(self.bridge).up();
            let connected = set(&self.handle, port, || format!("making vif{domid}.0 a port of the bridge"));
            if let Err(error) = connected.await {
                // The interface can be gone again already; a boot that misses it times out and says so.
                tracing::warn!(%domid, error = %chain(&error), "interface not connected");
            }
        }
    }
}

/// How many guests' interfaces there are now.
pub fn count_vifs() -> usize {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return 0 };
    entries.flatten().filter(|entry| entry.file_name().to_str().and_then(parse_vif).is_some()).count()
}

/// `vif3.0` belongs to domain 3.
fn parse_vif(name: &str) -> Option<DomId> {
    let (domid, handle) = name.strip_prefix("vif")?.split_once('.')?;
    (handle == "0").then_some(())?;
    domid.parse().ok().map(DomId)
}

async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, Error> {
    let step = |source| Error::Netlink { step: "listing network interfaces".into(), source };
    handle.link().get().execute().try_collect().await.map_err(step)
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

fn choose_uplink<'a>(
    links: &'a [LinkMessage],
    wanted: Option<&str>,
    bridge: &str,
) -> Result<&'a LinkMessage, Error> {
    let ethernet = || {
        links.iter().filter(|link| {
            link.header.link_layer_type == LinkLayerType::Ether
                && name(link).is_some_and(|name| name != bridge && parse_vif(name).is_none())
        })
    };
    let found = match wanted {
        Some(wanted) => ethernet().find(|link| name(link) == Some(wanted)),
        None => ethernet().min_by_key(|link| link.header.index),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = ethernet().filter_map(name).collect();
        Error::NoUplink(wanted.unwrap_or("(any Ethernet)").into(), names.join(", "))
    })
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mac(link: &LinkMessage) -> Option<&[u8]> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => Some(mac.as_slice()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_guests_interfaces_are_taken_for_such() {
        for (name, domid) in [
            ("vif3.0", Some(3)),
            ("vif12.0", Some(12)),
            ("vif3.1", None),
            ("vif3.0-emu", None),
            ("vif.0", None),
            ("vif99999.0", None),
            ("eth0", None),
        ] {
            assert_eq!(parse_vif(name), domid.map(DomId), "{name}");
        }
    }
}
