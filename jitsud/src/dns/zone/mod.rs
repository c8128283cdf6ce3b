//! What the node knows as a name server, and what a question about it means. No I/O.
//!
//! The node has one zone, that of its domain, and a small one for each of its addresses: the reverse name of it, and
//! nothing else. So it answers for what it knows for certain, and the reverse names of its neighbours in the network,
//! which a router or another server knows, are none of its business.

pub mod name;
mod records;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, AAAA, HINFO, NS, PTR, SOA};
use hickory_server::proto::rr::{DNSClass, Name, RData, RecordType};

use crate::config::{Config, Quiet};
use crate::dns::forward::Forwarder;
use crate::summoner::ServiceId;
use name::{absolute, is_within, suffixes, wire};
pub use records::{Data, RecordSet};
use tree::{Node, Tree};

/// TTL in seconds of the node's own records, and of the answer that a name does not exist. A minute: a service
/// that was just added to the configuration is found soon.
const OWN_TTL: u32 = 60;

/// SOA timers in seconds (RFC 1912, section 2.2). There are no secondaries, so nobody acts on them.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 604_800;
const SERIAL: u32 = 1;

/// CNAMEs that are followed for one question. A chain of that many is a mistake.
const MAX_ALIASES: usize = 8;

/// What all reverse names end in.
const ARPA: &[u8] = b"\x04arpa\0";

/// The zones that the node is authoritative for.
#[derive(Debug)]
pub struct Zone {
    authority: Authority,
    names: Tree,
    services: Vec<Served>,
    /// The reverse names of addresses: each is the only one of its zone.
    reverse: HashMap<Box<[u8]>, Reverse>,
    /// The answer to "everything" (RFC 8482, section 4.2).
    everything: RecordSet,
    turns: AtomicUsize,
    forwarder: Option<Forwarder>,
}

/// Who answers for a zone.
#[derive(Debug)]
pub struct Authority {
    /// The zone's name.
    pub name: Box<[u8]>,
    /// Its SOA record. Its TTL and its MINIMUM are the same: how long an absence may be cached (RFC 2308, section 5).
    pub soa: RecordSet,
    ns: RecordSet,
}

#[derive(Debug)]
struct Reverse {
    authority: Authority,
    /// Whose address it is; an instance of a service has no name of its own.
    ptr: Option<RecordSet>,
}

/// What a question about a service needs to know.
#[derive(Debug)]
struct Served {
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    quiet: Quiet,
}

/// Which addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Those in A records.
    V4,
    /// Those in AAAA records.
    V6,
}

/// What a question means.
#[derive(Debug)]
pub enum Verdict<'z> {
    /// The node knows the answer, or will when it has started what it takes.
    Answer(Answer<'z>),
    /// It is about another zone.
    Elsewhere,
    /// The node does nothing of that kind.
    Refuse,
}

/// What the node answers.
#[derive(Debug)]
pub struct Answer<'z> {
    /// CNAMEs: the first belongs to the question's name, each other one to the name that the one before leads to.
    pub aliases: Vec<&'z RecordSet>,
    /// What there is at the end of them; without any, at the question's name.
    pub end: End<'z>,
}

/// What there is at a name.
#[derive(Debug)]
pub enum End<'z> {
    /// These records.
    Records(&'z RecordSet),
    /// The addresses of services, of which at least one has one of that family.
    Services(Family, &'z [ServiceId]),
    /// The IPv4 address of the instance that the name is bound to, or will be to one of these.
    Instance(&'z [ServiceId]),
    /// The name exists without records of this type.
    NoData(&'z Authority),
    /// The name does not exist.
    NoSuchName(&'z Authority),
    /// It is a name of another zone.
    Beyond,
    /// Aliases lead to others and do not end.
    Circle,
}

impl Zone {
    /// The zones of a configuration.
    ///
    /// # Errors
    /// When something is no domain name or no record, which a configuration that was read by [`crate::config`] rules
    /// out.
    pub fn new(config: &Config) -> Result<Self, ProtoError> {
        let node = &config.node;
        let (origin, host) = (absolute(&node.domain)?, absolute(&node.fqdn())?);
        let mailbox = origin.prepend_label("hostmaster")?;
        let authority = |name: &Name| {
            let soa = SOA::new(host.clone(), mailbox.clone(), SERIAL, REFRESH, RETRY, EXPIRE, OWN_TTL);
            Ok::<_, ProtoError>(Authority {
                name: wire(name),
                soa: RecordSet::one(OWN_TTL, &RData::SOA(soa))?,
                ns: RecordSet::one(OWN_TTL, &RData::NS(NS(host.clone())))?,
            })
        };
        let mut names = Tree::new(&wire(&origin));
        let own = names.entry(&wire(&host));
        own.sets.push(RecordSet::one(OWN_TTL, &RData::A(A(node.address)))?);
        if let Some((address, _)) = node.address6 {
            own.sets.push(RecordSet::one(OWN_TTL, &RData::AAAA(AAAA(address)))?);
        }
        for record in &config.records {
            let node = names.entry(&wire(&absolute(&record.name)?));
            let data = Data::new(&record.data)?;
            match node.sets.iter_mut().find(|set| set.kind == record.data.record_type()) {
                Some(set) => {
                    set.ttl = set.ttl.min(record.ttl);
                    set.data.push(data);
                }
                None => node.sets.push(RecordSet {
                    kind: record.data.record_type(),
                    ttl: record.ttl,
                    data: vec![data],
                }),
            }
        }
        let mut reverse = HashMap::new();
        let mut point_back = |address: IpAddr, name: Option<&Name>| {
            let of = Name::from(address);
            let ptr = |name: &Name| RecordSet::one(OWN_TTL, &RData::PTR(PTR(name.clone())));
            let entry = Reverse { authority: authority(&of)?, ptr: name.map(ptr).transpose()? };
            reverse.insert(wire(&of), entry);
            Ok::<_, ProtoError>(())
        };
        point_back(node.address.into(), Some(&host))?;
        if let Some((address, _)) = node.address6 {
            point_back(address.into(), Some(&host))?;
        }
        for (index, service) in config.services.iter().enumerate() {
            for name in &service.dns {
                let node = names.entry(&wire(&absolute(name)?));
                node.services.push(ServiceId(index));
                node.by_host = service.instance_of.is_some();
            }
            let name = service.dns.iter().find(|name| !name.starts_with('*'));
            let name = name.map(|name| absolute(name)).transpose()?;
            for address in service.addresses() {
                point_back(address, name.as_ref())?;
            }
        }
        let served = |service: &crate::config::Service| Served {
            v4: service.address,
            v6: service.address6,
            quiet: service.quiet.clone(),
        };
        let hinfo = HINFO::new("RFC8482".to_owned(), String::new());
        Ok(Zone {
            authority: authority(&origin)?,
            names,
            services: config.services.iter().map(served).collect(),
            reverse,
            everything: RecordSet::one(OWN_TTL, &RData::HINFO(hinfo))?,
            turns: AtomicUsize::new(0),
            forwarder: None,
        })
    }

    /// The same zones on a node that asks others what it is not authoritative for.
    pub fn forwarding(self, forwarder: Option<Forwarder>) -> Self {
        Zone { forwarder, ..self }
    }

    /// Who asks others, if anybody does.
    pub fn forwarder(&self) -> Option<&Forwarder> {
        self.forwarder.as_ref()
    }

    /// What a question means. The name is as on the wire, in lower case.
    pub fn ask(&self, name: &[u8], class: DNSClass, kind: RecordType) -> Verdict<'_> {
        if class != DNSClass::IN || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Verdict::Refuse;
        }
        if is_within(name, &self.authority.name) {
            return Verdict::Answer(self.follow(name, kind));
        }
        match self.reverse(name, kind) {
            Some(end) => Verdict::Answer(Answer { aliases: Vec::new(), end }),
            None => Verdict::Elsewhere,
        }
    }

    /// Another number each time: which of several addresses comes first.
    pub fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The address of a service. There is one if a verdict has said so.
    pub fn address(&self, service: ServiceId, family: Family) -> Option<IpAddr> {
        let served = self.services.get(service.0)?;
        match family {
            Family::V4 => Some(served.v4.into()),
            Family::V6 => served.v6.map(IpAddr::V6),
        }
    }

    /// Whether the question for that name, as on the wire and in lower case, starts nothing when `source` asks it.
    pub fn is_quiet(&self, service: ServiceId, source: IpAddr, name: &[u8]) -> bool {
        let quiet = self.services.get(service.0).map(|served| &served.quiet);
        quiet.is_some_and(|quiet| {
            quiet.is_from(source) || !quiet.names.is_empty() && quiet.is_name(&name::text(name))
        })
    }

    /// Whether it is another answer for some sources than for others, if they ask for that service.
    pub fn has_quiet_networks(&self, service: ServiceId) -> bool {
        self.services.get(service.0).is_none_or(|served| !served.quiet.networks.is_empty())
    }

    /// Looks a name of the zone up, and those that it is an alias of.
    fn follow(&self, name: &[u8], kind: RecordType) -> Answer<'_> {
        let mut aliases = Vec::new();
        let mut name = name;
        loop {
            let Some(node) = self.names.find(name) else {
                return Answer { aliases, end: End::NoSuchName(&self.authority) };
            };
            let alias = node.set(RecordType::CNAME).filter(|_| is_aliased(kind));
            let Some(alias) = alias else {
                let end = self.look(node, name, kind);
                return Answer { aliases, end };
            };
            aliases.push(alias);
            match alias.target() {
                _ if aliases.len() == MAX_ALIASES => return Answer { aliases, end: End::Circle },
                Some(next) if is_within(next, &self.authority.name) => name = next,
                _ => return Answer { aliases, end: End::Beyond },
            }
        }
    }

    /// What a name that exists has of a type.
    fn look<'z>(&'z self, node: &'z Node, name: &[u8], kind: RecordType) -> End<'z> {
        let at_origin = *name == *self.authority.name;
        match kind {
            RecordType::ANY => return End::Records(&self.everything),
            RecordType::SOA if at_origin => return End::Records(&self.authority.soa),
            RecordType::NS if at_origin => return End::Records(&self.authority.ns),
            _ => {}
        }
        if let Some(set) = node.set(kind) {
            return End::Records(set);
        }
        let has_v6 = || node.services.iter().any(|service| self.address(*service, Family::V6).is_some());
        match kind {
            RecordType::A if node.by_host => End::Instance(&node.services),
            RecordType::A if !node.services.is_empty() => End::Services(Family::V4, &node.services),
            RecordType::AAAA if !node.by_host && has_v6() => End::Services(Family::V6, &node.services),
            _ => End::NoData(&self.authority),
        }
    }

    /// What the node knows of a name outside its domain: the reverse name of one of its addresses, or one below.
    fn reverse(&self, name: &[u8], kind: RecordType) -> Option<End<'_>> {
        if !name.ends_with(ARPA) {
            return None;
        }
        let (zone, found) = suffixes(name).find_map(|suffix| self.reverse.get_key_value(suffix))?;
        let Reverse { authority, ptr } = found;
        if **zone != *name {
            return Some(End::NoSuchName(authority));
        }
        let set = match kind {
            RecordType::ANY => Some(&self.everything),
            RecordType::SOA => Some(&authority.soa),
            RecordType::NS => Some(&authority.ns),
            RecordType::PTR => ptr.as_ref(),
            _ => None,
        };
        Some(set.map_or(End::NoData(authority), End::Records))
    }
}

/// Whether a CNAME stands for records of this type (RFC 1034, section 3.6.2; RFC 8482, section 4.3).
fn is_aliased(kind: RecordType) -> bool {
    !matches!(kind, RecordType::CNAME | RecordType::ANY)
}
