//! How the node and its services come by their addresses: from the file, or from a DHCP server.
//!
//! The node goes first, and waits for its address as long as it takes. Then the services' are asked for, all at
//! once, until none has come for [`PATIENCE`]; what is there by then is what the node begins with. Leases are kept
//! for as long as the daemon lives, by [`Keeper`].

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::config::{self, Addressing, Draft, Forward, Given, Node, Wanted};
use crate::dhcp::{Clients, Event, Identity, KeptLeases, Lease};
use crate::directory::Moment;
use crate::net::{self, Network};

/// How long the next of the services' addresses is waited for. Three questions fit in (`dhcp/client.rs`). All of them
/// can take longer: dnsmasq looks for 3 s whether an address is in use before it offers it, for one at a time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The port of name servers.
const DNS: u16 = 53;

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Linux refused.
    #[error(transparent)]
    Network(#[from] net::Error),
    /// No socket for DHCP.
    #[error("the DHCP client's socket (UDP port 68 on {interface})")]
    Socket {
        /// The bridge.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Addresses, and where they come from.
#[derive(Debug)]
pub struct Addresses {
    /// The node's.
    pub node: Addressing,
    /// The services', as far as they were asked for.
    pub given: Vec<Given>,
    /// What else the node's DHCP server said; `None` with a static address.
    pub lease: Option<Lease>,
    /// Keeps the leases; `None` when there are none.
    pub keeper: Option<Keeper>,
}

/// What the C library's resolver is told; there is one on a node that somebody has given one.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where the time comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeSources {
    /// Names or addresses of NTP servers, in the order in which they are to be asked.
    pub servers: Vec<String>,
    /// The DNS servers that know the names.
    pub resolvers: Vec<Ipv4Addr>,
}

impl Addresses {
    /// The network's own NTP servers first, as the nearer ones, then the file's. Names are asked of the network's
    /// DNS servers, or of the router where it has told of none.
    pub fn time_sources(&self, node: &Node) -> TimeSources {
        let (ntp, dns) = self.lease.as_ref().map_or((&[][..], &[][..]), |lease| (&lease.ntp, &lease.dns));
        let named = node.ntp.iter().map(ToString::to_string);
        let resolvers = if dns.is_empty() { node.gateway.into_iter().collect() } else { dns.to_vec() };
        TimeSources { servers: ntp.iter().map(ToString::to_string).chain(named).collect(), resolvers }
    }
}

/// The servers that are asked what the node is not authoritative for, the most preferred first; `None` if such
/// questions are refused. With `forward = "auto"` they are those of the lease, or of `/etc/resolv.conf`, or the gateway,
/// whichever are known. The node itself is not among them: it would ask itself.
pub fn upstreams(node: &Node, lease: Option<&Lease>) -> Option<Vec<SocketAddr>> {
    let mut servers = match &node.forward {
        Forward::Off => return None,
        Forward::To(servers) => servers.clone(),
        Forward::Auto => {
            let leased = lease.map_or(&[][..], |lease| &lease.dns);
            let mut servers: Vec<SocketAddr> = leased.iter().map(|server| (*server, DNS).into()).collect();
            if servers.is_empty() {
                servers = config::of_resolv_conf(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
            }
            if servers.is_empty() {
                servers.extend(node.gateway.map(|gateway| SocketAddr::from((gateway, DNS))));
            }
            servers
        }
    };
    let own = [Some(IpAddr::V4(node.address)), node.address6.map(|(address, _)| IpAddr::V6(address))];
    servers.retain(|server| server.port() != DNS || !own.contains(&Some(server.ip())));
    Some(servers)
}

/// Finds the addresses that the draft leaves open, and gives the node its own.
///
/// With static addresses alone it waits for nothing, nor with leases that the daemon before has left. Otherwise it takes as long as the cable is not in and no
/// server answers the node.
///
/// # Errors
/// When Linux refuses.
pub async fn obtain(network: &mut Network, draft: &Draft, leases: KeptLeases) -> Result<Addresses, Error> {
    let wanted = draft.wanted(network.mac());
    network.assign6(draft.node.address6).await?;
    if let Some(node) = draft.node.addressing {
        network.assign(&node).await?;
        if wanted.is_empty() {
            return Ok(Addresses { node, given: Vec::new(), lease: None, keeper: None });
        }
    }
    let (node, lease, mut keeper) = match draft.node.addressing {
        Some(node) => (node, None, Keeper::open(network, None, leases).await?),
        None => {
            let identity = Identity { mac: network.mac(), name: draft.node.name.clone() };
            let mut keeper = Keeper::open(network, Some(identity), leases).await?;
            let lease = match keeper.kept_lease() {
                Some(lease) => lease,
                None => {
                    tracing::info!("waiting for an address (DHCP) on {}", network.uplink());
                    network.connected().await?;
                    keeper.first_lease().await
                }
            };
            let Addressing { address, prefix, gateway } = lease.addressing;
            let gateway = gateway.map_or("none".to_owned(), |gateway| gateway.to_string());
            tracing::info!(
                "address {address}/{prefix} from DHCP server {}, gateway {gateway}, lease {} s",
                lease.server,
                lease.duration.as_secs()
            );
            network.assign(&lease.addressing).await?;
            (lease.addressing, Some(lease), keeper)
        }
    };
    let given = keeper.services(wanted).await;
    Ok(Addresses { node, given, lease, keeper: Some(keeper) })
}

/// The leases, and the task of keeping them.
#[derive(Debug)]
pub struct Keeper {
    clients: Clients,
    /// For the next daemon.
    leases: KeptLeases,
    /// Leases that have come for clients that had one, while others were waited for.
    early: Vec<(usize, Lease)>,
    /// What each client's address was when the node began to use it; `None` for a service that is left out.
    used: Vec<Option<Addressing>>,
    /// The first client is the node, and not a service.
    has_node: bool,
}

impl Keeper {
    async fn open(network: &Network, node: Option<Identity>, leases: KeptLeases) -> Result<Self, Error> {
        let interface = network.bridge();
        let opened = Clients::open(interface).await;
        let clients = opened.map_err(|source| Error::Socket { interface: interface.to_owned(), source })?;
        let mut keeper =
            Keeper { clients, leases, early: Vec::new(), used: Vec::new(), has_node: node.is_some() };
        if let Some(node) = node {
            keeper.add(node);
        }
        Ok(keeper)
    }

    /// One more client, with the lease of before if there is one.
    fn add(&mut self, identity: Identity) {
        match self.leases.of(identity.mac, Moment::now()) {
            Some(kept) => {
                self.used.push(Some(kept.lease.addressing));
                self.clients.resume(identity, kept);
            }
            None => {
                self.used.push(None);
                self.clients.add(identity);
            }
        }
    }

    /// The node's lease of before.
    fn kept_lease(&self) -> Option<Lease> {
        self.clients.get(0)?.lease().cloned()
    }

    /// The next that happens to a lease.
    async fn next(&mut self) -> (usize, Event) {
        let next = self.clients.next().await;
        self.leases.write(self.clients.iter());
        next
    }

    async fn first_lease(&mut self) -> Lease {
        loop {
            match self.next().await {
                (client, Event::Leased(lease)) => {
                    self.used[client] = Some(lease.addressing);
                    return lease;
                }
                (_, Event::Refused | Event::Expired) => {
                    tracing::warn!("the DHCP server offered an address and refused it; asking again");
                }
            }
        }
    }

    async fn services(&mut self, wanted: Vec<Wanted>) -> Vec<Given> {
        let first = self.used.len();
        for Wanted { service, mac } in &wanted {
            self.add(Identity { mac: *mac, name: service.clone() });
        }
        let missing = self.used.iter().filter(|used| used.is_none()).count();
        if missing > 0 {
            let most = PATIENCE.as_secs();
            tracing::info!("waiting for {missing} services' addresses (DHCP), {most} s at most for the next");
        }
        let mut deadline = Instant::now() + PATIENCE;
        while self.used.iter().any(Option::is_none) {
            let Ok((client, event)) = timeout_at(deadline, self.next()).await else { break };
            match event {
                // One of before may have been prolonged meanwhile, or be another one now: see [`Self::run`].
                Event::Leased(lease) if self.used[client].is_none() => {
                    tracing::info!("address {} for {}", lease.addressing.address, self.name(client));
                    self.used[client] = Some(lease.addressing);
                    deadline = Instant::now() + PATIENCE;
                }
                Event::Leased(lease) => self.early.push((client, lease)),
                Event::Refused | Event::Expired => self.lost(client, &event),
            }
        }
        let given = wanted.into_iter().zip(&self.used[first..]);
        given.map(|(wanted, used)| Given { wanted, address: used.map(|used| used.address) }).collect()
    }

    /// Keeps the leases until the node cannot go on with the addresses that it began with, and returns why.
    /// Whoever called ends the daemon then, and it starts anew with the new ones.
    /// `told` is told what a server says to the node each time.
    pub async fn run(mut self, told: impl Fn(&Lease)) -> String {
        loop {
            let (client, event) = match self.early.pop() {
                Some((client, lease)) => (client, Event::Leased(lease)),
                None => self.next().await,
            };
            let Event::Leased(lease) = &event else {
                self.lost(client, &event);
                continue;
            };
            let seconds = lease.duration.as_secs();
            tracing::debug!(
                "the lease of {} for {} lasts {seconds} s",
                lease.addressing.address,
                self.name(client)
            );
            if self.is_node(client) {
                told(lease);
            }
            let used = self.used.get(client).copied().flatten();
            if let Some(change) = change(used, lease.addressing, self.is_node(client)) {
                return format!("{} {change}", self.name(client));
            }
        }
    }

    fn lost(&self, client: usize, event: &Event) {
        let what = match event {
            Event::Expired => "has expired and no DHCP server prolongs it",
            _ => "was refused by the DHCP server",
        };
        let name = self.name(client);
        match self.clients.get(client).and_then(|client| client.lease()) {
            Some(lease) => tracing::warn!(
                "the lease of {} for {name} {what}; the address stays in use while another one is asked for",
                lease.addressing.address
            ),
            None => tracing::warn!("the address offered for {name} {what}; asking again"),
        }
    }

    fn is_node(&self, client: usize) -> bool {
        self.has_node && client == 0
    }

    fn name(&self, client: usize) -> String {
        match self.clients.get(client) {
            _ if self.is_node(client) => "the node".to_owned(),
            Some(client) => format!("service {}", client.identity().name),
            None => String::new(),
        }
    }
}

/// Why the node cannot go on when a client that uses one address gets this lease; `None` when it can.
fn change(used: Option<Addressing>, new: Addressing, is_node: bool) -> Option<String> {
    match used {
        None => Some(format!("has an address at last, {}", new.address)),
        Some(old) if old.address != new.address => {
            Some(format!("has another address: not {} any more but {}", old.address, new.address))
        }
        // A service uses nothing but the address.
        Some(old) if is_node && old != new => Some("is told another network or gateway".to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_used_makes_a_difference() {
        let addressing = |last, prefix, gateway| Addressing {
            address: [10, 0, 0, last].into(),
            prefix,
            gateway: Some([10, 0, 0, gateway].into()),
        };
        let old = addressing(5, 24, 1);
        for (used, new, node, service) in [
            (Some(old), old, None, None),
            (Some(old), addressing(5, 16, 1), Some("network or gateway"), None),
            (Some(old), addressing(5, 24, 2), Some("network or gateway"), None),
            (Some(old), addressing(6, 24, 1), Some("not 10.0.0.5 any more but 10.0.0.6"), Some("10.0.0.6")),
            (None, old, Some("at last, 10.0.0.5"), Some("at last, 10.0.0.5")),
        ] {
            for (is_node, expected) in [(true, node), (false, service)] {
                let why = change(used, new, is_node);
                assert_eq!(why.is_some(), expected.is_some(), "{new:?}");
                assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()), "{new:?}");
            }
        }
    }

    #[test]
    fn upstream_servers_come_from_the_file_the_lease_or_the_gateway_and_are_never_the_node() {
        let bytes = b"[node]\naddress = \"10.0.0.5/24\"\naddress6 = \"fd00::5/64\"\ngateway = \"10.0.0.1\"\n";
        let kernels = config::Kernels {
            card: None,
            probe: &|_| Err(io::ErrorKind::NotFound.into()),
            disk: &|_| Err(io::ErrorKind::NotFound.into()),
        };
        let draft = config::parse(bytes, std::path::Path::new("jitsu.toml"), &kernels).unwrap();
        let addressing = draft.node.addressing.unwrap();
        let mut node = draft.resolve(addressing, &[], PATIENCE).config.node;
        let lease = |dns: &[[u8; 4]]| Lease {
            addressing,
            server: [10, 0, 0, 1].into(),
            dns: dns.iter().map(|server| Ipv4Addr::from(*server)).collect(),
            ntp: Vec::new(),
            domain: None,
            duration: PATIENCE,
            renewal: PATIENCE,
        };
        let servers =
            |list: &[&str]| Some(list.iter().map(|server| server.parse().unwrap()).collect::<Vec<_>>());
        let of_lease = lease(&[[10, 0, 0, 5], [10, 0, 0, 2], [10, 0, 0, 3]]);
        assert_eq!(upstreams(&node, Some(&of_lease)), servers(&["10.0.0.2:53", "10.0.0.3:53"]));

        let listed = ["10.0.0.5:53", "[fd00::5]:53", "10.0.0.5:5353", "9.9.9.9:53"];
        node.forward = Forward::To(listed.map(|server| server.parse().unwrap()).into());
        assert_eq!(upstreams(&node, Some(&of_lease)), servers(&["10.0.0.5:5353", "9.9.9.9:53"]));
        node.forward = Forward::Off;
        assert_eq!(upstreams(&node, Some(&of_lease)), None);
    }
}
