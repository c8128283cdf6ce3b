//! The file, checked, before every address is known; and the step from there to a [`Config`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::address::{Addressing, Claims, Wish};
use super::capture::Waking;
use super::forward::Forward;
use super::mac::Mac;
use super::policy::Policy;
use super::quiet::Quiet;
use super::quota::Quota;
use super::reader::Line;
use super::vif::{self, VifDraft};
use super::{
    Config, Disk, Dns, Key, Loaded, LogLevel, Node, Offer, Place, Problem, ReadyKey, Service, StaticRecord,
    TimeServer, in_file_order,
};

/// A configuration whose addresses may still be missing, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The file it was read from, as it was named to the program.
    pub file: String,
    /// The node itself.
    pub node: NodeDraft,
    pub(super) services: Vec<ServiceDraft>,
    pub(super) records: Vec<StaticRecord>,
    pub(super) problems: Vec<Problem>,
}

/// The `[node]` table: as [`Node`], except for the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeDraft {
    /// See [`Node::name`].
    pub name: String,
    /// See [`Node::domain`].
    pub domain: String,
    /// See [`Node::uplink`].
    pub uplink: Option<String>,
    /// The address that the file gives; `None` when a DHCP server is to be asked.
    pub addressing: Option<Addressing>,
    /// See [`Node::address6`].
    pub address6: Option<(Ipv6Addr, u8)>,
    /// See [`Node::bridge`].
    pub bridge: String,
    /// See [`Node::kernels`].
    pub kernels: PathBuf,
    /// See [`Node::ntp`].
    pub ntp: Vec<TimeServer>,
    /// See [`Node::quota`].
    pub quota: Vec<Quota>,
    /// See [`Node::capture`].
    pub capture: capture::Limits,
    /// See [`Node::shells`].
    pub shells: u32,
    /// See [`Node::quiet`].
    pub quiet: Quiet,
    /// See [`Node::forward`].
    pub forward: Forward,
    /// See [`Node::syslog`].
    pub syslog: Option<SocketAddr>,
    /// See [`Node::log`].
    pub log: LogLevel,
    /// See [`Node::dns`].
    pub dns: Dns,
    /// See [`Node::mdns`].
    pub mdns: bool,
    pub(super) lines: InterfaceLines,
}

/// Where interfaces are named; where the table begins, if they are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InterfaceLines {
    pub uplink: Line,
    pub bridge: Line,
}

/// A `[[service]]` table. One with mistakes is kept for the address that it claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServiceDraft {
    /// Who it is when somebody else wants its address.
    pub owner: String,
    /// What its problems are blamed on.
    pub name: Option<String>,
    /// Where its table begins.
    pub table: Line,
    /// Where its address comes from, and where that is said; `None` when what is said is no address.
    pub address: Option<(Wish, Line)>,
    /// The rest; `None` when something in the table was wrong.
    pub settings: Option<Settings>,
}

/// A service but for its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    pub name: String,
    pub dns: Vec<String>,
    pub instance_of: Option<String>,
    pub announce: Vec<Offer>,
    pub address6: Option<Ipv6Addr>,
    pub kernel: PathBuf,
    pub ramdisk: Option<PathBuf>,
    pub memory_mib: u32,
    pub vcpus: u32,
    pub weight: u16,
    pub cmdline: String,
    pub policy: Policy,
    pub waking: Waking,
    pub boot_timeout: Duration,
    pub wait_for_key: ReadyKey,
    pub listens_on: Option<u16>,
    pub keys: Vec<Key>,
    pub vifs: Vec<VifDraft>,
    pub disks: Vec<Disk>,
}

/// A service that wants an address by DHCP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its name.
    pub service: String,
    /// Its address on the link, which tells it from the others there.
    pub mac: Mac,
}

/// What a DHCP server has given to a service, if it has in time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// To whom.
    pub wanted: Wanted,
    /// What.
    pub address: Option<Ipv4Addr>,
}

impl Draft {
    /// What was found wrong so far, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The services that want an address by DHCP, in the order of the file. `node` is the bridge's address on
    /// the link.
    pub fn wanted(&self, node: Mac) -> Vec<Wanted> {
        let fixed = |service: &ServiceDraft| match service.address {
            Some((Wish::Static(address), _)) => Some(Mac::of_address(address)),
            _ => None,
        };
        let vifs = self.services.iter().filter_map(|service| service.settings.as_ref());
        let written = vifs.flat_map(|settings| &settings.vifs).filter_map(|vif| vif.mac);
        let mut taken: Vec<Mac> = self.services.iter().filter_map(fixed).chain(written).collect();
        let mut wanted = Vec::new();
        for service in &self.services {
            let (Some((Wish::Dhcp, _)), Some(settings)) = (service.address, &service.settings) else {
                continue;
            };
            let mac = Mac::of_name(node, &settings.name, &taken);
            taken.push(mac);
            wanted.push(Wanted { service: settings.name.clone(), mac });
        }
        wanted
    }

    /// The configuration with every address in its place: the node's own, and what [`Draft::wanted`] has led
    /// to. `waited` is how long it was waited for, for those that got none.
    ///
    /// A service whose address cannot be is left out, with a problem that says why. What the file says goes
    /// before what a DHCP server says, and among equals the first one has it.
    pub fn resolve(self, node: Addressing, given: &[Given], waited: Duration) -> Loaded {
        let Draft { file, node: draft, services, records, mut problems } = self;
        let mut claims = Claims::of(&node);
        let mut refused: Vec<bool> = Vec::new();
        for service in &services {
            let Some((Wish::Static(address), line)) = service.address else {
                refused.push(false);
                continue;
            };
            let refusal = claims.claim(address, &service.owner).err();
            refused.push(refusal.is_some());
            problems.extend(refusal.map(|refusal| Problem {
                file: file.clone(),
                line: line.0,
                service: service.name.clone(),
                what: format!("address {address} {}", refusal.fault),
                fix: format!("take {}", refusal.take),
            }));
        }

        let mut complete = Vec::new();
        let (mut places, mut vifs) = (Vec::new(), Vec::new());
        for (service, refused) in services.into_iter().zip(refused) {
            let (Some((wish, line)), Some(mut settings), false) =
                (service.address, service.settings, refused)
            else {
                continue;
            };
            let found = match wish {
                Wish::Static(address) => Ok((address, Mac::of_address(address))),
                Wish::Dhcp => leased(&settings.name, given, waited, &mut claims),
            };
            match found {
                Ok((address, mac)) => {
                    vifs.push(std::mem::take(&mut settings.vifs));
                    complete.push(settings.complete(address, mac));
                    places.push(Place { file: file.clone(), line: service.table.0 });
                }
                Err((what, fix)) => problems.push(Problem {
                    file: file.clone(),
                    line: line.0,
                    service: Some(settings.name),
                    what,
                    fix,
                }),
            }
        }
        let mut services = Vec::new();
        for (index, assigned) in vif::assign(&complete, &vifs).into_iter().enumerate().rev() {
            let (service, place) = (complete.remove(index), places.remove(index));
            match assigned {
                Ok(vifs) => services.push((Service { vifs, ..service }, place)),
                Err((mac, line)) => problems.push(Problem {
                    file: file.clone(),
                    line: line.0,
                    service: Some(service.name),
                    what: format!("mac {mac} already belongs to another interface"),
                    fix: "write another one, or none".to_owned(),
                }),
            }
        }
        let (services, places) = services.into_iter().rev().unzip();
        in_file_order(&mut problems, &file);
        let config = Config { node: draft.complete(node), services, records };
        Loaded { config, problems, places }
    }
}

/// What the DHCP server gave to the service, if that is of use; otherwise what is wrong, and the fix.
fn leased(
    service: &str,
    given: &[Given],
    waited: Duration,
    claims: &mut Claims<'_>,
) -> Result<(Ipv4Addr, Mac), (String, String)> {
    let given = given.iter().find(|given| given.wanted.service == service);
    let Some((address, mac)) = given.and_then(|given| Some((given.address?, given.wanted.mac))) else {
        let what = format!("no DHCP server offered an address within {} s", waited.as_secs());
        return Err((what, "write a free address of the network instead of \"dhcp\"".to_owned()));
    };
    match claims.claim(address, service) {
        Ok(()) => Ok((address, mac)),
        Err(refusal) => Err((
            format!("address {address}, which the DHCP server gave, {}", refusal.fault),
            format!("write {} instead of \"dhcp\", or correct the DHCP server", refusal.take),
        )),
    }
}

impl NodeDraft {
    fn complete(self, addressing: Addressing) -> Node {
        let Addressing { address, prefix, gateway } = addressing;
        Node {
            name: self.name,
            domain: self.domain,
            uplink: self.uplink,
            address,
            prefix,
            address6: self.address6,
            gateway,
            bridge: self.bridge,
            kernels: self.kernels,
            ntp: self.ntp,
            quota: self.quota,
            capture: self.capture,
            shells: self.shells,
            quiet: self.quiet,
            forward: self.forward,
            syslog: self.syslog,
            log: self.log,
            dns: self.dns,
            mdns: self.mdns,
        }
    }
}

impl Settings {
    fn complete(self, address: Ipv4Addr, mac: Mac) -> Service {
        Service {
            name: self.name,
            dns: self.dns,
            instance_of: self.instance_of,
            announce: self.announce,
            address,
            address6: self.address6,
            mac,
            disks: self.disks,
            vifs: Vec::new(),
            kernel: self.kernel,
            ramdisk: self.ramdisk,
            memory_mib: self.memory_mib,
            vcpus: self.vcpus,
            weight: self.weight,
            cmdline: self.cmdline,
            start: self.policy.start,
            answer: self.policy.answer,
            response_delay: self.policy.response_delay,
            wake: self.waking.wake,
            tcp: self.waking.tcp,
            udp: self.waking.udp,
            refuse: self.waking.refuse,
            quiet: self.waking.quiet,
            ttl: self.policy.ttl,
            idle: self.policy.idle,
            min_uptime: self.policy.min_uptime,
            max_uptime: self.policy.max_uptime,
            stop: self.policy.stop,
            boot_timeout: self.boot_timeout,
            wait_for_key: self.wait_for_key,
            listens_on: self.listens_on,
            keys: self.keys,
        }
    }
}
