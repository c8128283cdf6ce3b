//! What the node knows as a name server, and what a question about it means. No I/O.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, HINFO, NS, PTR, SOA};
use hickory_server::proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType};

use crate::config::{Config, Quiet};
use crate::summoner::ServiceId;

/// TTL in seconds of the node's own records, and of the answer that a name does not exist. A minute: a service
/// that was just added to the configuration is found soon.
const OWN_TTL: u32 = 60;

/// SOA timers in seconds (RFC 1912, section 2.2). There are no secondaries, so nobody acts on them.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 604_800;
const SERIAL: u32 = 1;

/// The zone that the node is authoritative for.
#[derive(Debug)]
pub struct Zone {
    origin: LowerName,
    names: HashMap<LowerName, Owner>,
    /// Of each service, its address and who does not start it.
    services: Vec<(Ipv4Addr, Quiet)>,
    /// Reverse names of the addresses.
    reverse: HashMap<LowerName, Name>,
    soa: Record,
    ns: Record,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Summoned by a question for its address.
    Service(ServiceId),
    /// The node itself.
    Node(Ipv4Addr),
    /// The name has no address; it is the zone's, or there are names below it (RFC 8020).
    Nobody,
}

/// What a question means.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// The answer depends on this service being up.
    Summon(ServiceId),
    /// The address of a service, for somebody who does not start it.
    Tell(Ipv4Addr),
    /// These records.
    Answer(Vec<Record>),
    /// The name exists without records of this type.
    NoData,
    /// The name does not exist.
    NoSuchName,
    /// Not our business.
    Refuse(Refusal),
}

/// Why a question is none of the node's business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is about another zone.
    NotAuthoritative,
    /// Zone transfers, and classes other than IN, are not supported.
    NotSupported,
}

impl Zone {
    /// The zone of a configuration.
    ///
    /// # Errors
    /// When a name is no domain name, which a configuration that was read by [`crate::config`] rules out.
    pub fn new(config: &Config) -> Result<Self, ProtoError> {
        let origin = absolute(&config.node.domain)?;
        let host = absolute(&config.node.fqdn())?;
        let mailbox = origin.prepend_label("hostmaster")?;
        let soa = SOA::new(host.clone(), mailbox, SERIAL, REFRESH, RETRY, EXPIRE, OWN_TTL);
        let mut zone = Zone {
            soa: Record::from_rdata(origin.clone(), OWN_TTL, RData::SOA(soa)),
            ns: Record::from_rdata(origin.clone(), OWN_TTL, RData::NS(NS(host.clone()))),
            origin: LowerName::new(&origin),
            names: HashMap::new(),
            services: config
                .services
                .iter()
                .map(|service| (service.address, service.quiet.clone()))
                .collect(),
            reverse: HashMap::new(),
        };
        zone.insert(&origin, Owner::Nobody);
        zone.insert(&host, Owner::Node(config.node.address));
        zone.reverse.insert(LowerName::new(&Name::from(config.node.address)), host);
        for (index, service) in config.services.iter().enumerate() {
            for name in &service.dns {
                zone.insert(&absolute(name)?, Owner::Service(ServiceId(index)));
            }
            if let Some(name) = service.dns.first() {
                let reverse = LowerName::new(&Name::from(service.address));
                zone.reverse.insert(reverse, absolute(name)?);
            }
        }
        Ok(zone)
    }

    /// What the question means when `source` asks it.
    pub fn ask(&self, name: &LowerName, class: DNSClass, kind: RecordType, source: IpAddr) -> Verdict {
        if class != DNSClass::IN {
            return Verdict::Refuse(Refusal::NotSupported);
        }
        if !self.origin.zone_of(name) {
            return match self.reverse.get(name) {
                Some(target) if kind == RecordType::PTR => {
                    let data = RData::PTR(PTR(target.clone()));
                    Verdict::Answer(vec![Record::from_rdata(Name::from(name), OWN_TTL, data)])
                }
                _ => Verdict::Refuse(Refusal::NotAuthoritative),
            };
        }
        let Some(owner) = self.names.get(name) else {
            return Verdict::NoSuchName;
        };
        let at_origin = *name == self.origin;
        match (kind, owner) {
            (RecordType::AXFR | RecordType::IXFR, _) => Verdict::Refuse(Refusal::NotSupported),
            // RFC 8482, section 4.2: "everything" is answered by a record that says no.
            (RecordType::ANY, _) => {
                let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
                Verdict::Answer(vec![Record::from_rdata(Name::from(name), OWN_TTL, data)])
            }
            (RecordType::SOA, _) if at_origin => Verdict::Answer(vec![self.soa.clone()]),
            (RecordType::NS, _) if at_origin => Verdict::Answer(vec![self.ns.clone()]),
            (RecordType::A, Owner::Service(service)) => match self.services.get(service.0) {
                Some((address, quiet)) if quiet.is_from(source) || quiet.is_name(text(name).as_str()) => {
                    Verdict::Tell(*address)
                }
                _ => Verdict::Summon(*service),
            },
            (RecordType::A, Owner::Node(address)) => {
                Verdict::Answer(vec![address_record(Name::from(name), OWN_TTL, *address)])
            }
            _ => Verdict::NoData,
        }
    }

    /// The record that goes with [`Verdict::NoData`] and [`Verdict::NoSuchName`] (RFC 2308).
    pub fn soa(&self) -> &Record {
        &self.soa
    }

    /// Adds a name, and the names between it and the zone's own, which then exist too.
    fn insert(&mut self, name: &Name, owner: Owner) {
        self.names.insert(LowerName::new(name), owner);
        let mut above = name.base_name();
        while self.origin.zone_of(&LowerName::new(&above)) {
            self.names.entry(LowerName::new(&above)).or_insert(Owner::Nobody);
            above = above.base_name();
        }
    }
}

/// An address record.
pub fn address_record(name: Name, ttl: u32, address: Ipv4Addr) -> Record {
    Record::from_rdata(name, ttl, RData::A(A(address)))
}

/// As it is written in the configuration.
fn text(name: &LowerName) -> String {
    let name = name.to_string();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

fn absolute(name: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}
