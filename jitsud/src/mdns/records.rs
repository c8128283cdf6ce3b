//! What is announced: names, and the records that belong to them.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, AAAA, NULL, PTR, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use crate::config::{Config, Offer, Quiet};
use crate::summoner::ServiceId;

/// TTL in seconds of records with a host's name or address in them, and of the others (RFC 6762, section 10).
pub const HOST_TTL: u32 = 120;
const OTHER_TTL: u32 = 75 * 60;

/// The domain of names that are looked up by asking everybody on the link.
const LOCAL: &str = "local.";
/// Where one finds out which kinds of services there are (RFC 6763, section 9).
const KINDS: &str = "_services._dns-sd._udp.local.";

/// The status page is a web page.
const PAGE: (&str, u16) = ("_http._tcp", 80);

/// Somebody with a name of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// The first label of its name, unless somebody else on the link has it.
    pub label: String,
    /// Its addresses.
    pub v4: Ipv4Addr,
    /// As above.
    pub v6: Option<Ipv6Addr>,
    /// What is found there.
    pub offers: Vec<Offer>,
    /// The service that it is; `None` for the node.
    pub service: Option<Served>,
}

/// What a question about a service needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// Which.
    pub id: ServiceId,
    /// Whose questions do not start it.
    pub quiet: Quiet,
    /// Whether packets start it: then its address is told to everybody, as it is of use whether it runs or not.
    pub woken: bool,
}

/// The node and its services. Instances have no names of their own.
pub fn hosts(config: &Config) -> Vec<Host> {
    let node = &config.node;
    let page = Offer { kind: PAGE.0.to_owned(), port: PAGE.1 };
    let mut hosts = vec![Host {
        label: node.name.clone(),
        v4: node.address,
        v6: node.address6.map(|(address, _)| address),
        offers: vec![page],
        service: None,
    }];
    for (index, service) in config.services.iter().enumerate() {
        // The node goes first: names in the configuration differ, but this one is not in the list of services.
        if service.instance_of.is_none() && service.name != node.name {
            let served =
                Served { id: ServiceId(index), quiet: service.quiet.clone(), woken: service.is_woken() };
            hosts.push(Host {
                label: service.name.clone(),
                v4: service.address,
                v6: service.address6,
                offers: service.announce.clone(),
                service: Some(served),
            });
        }
    }
    hosts
}

/// A record that is announced.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Whose it is, an index into the list of hosts.
    pub host: usize,
    /// The record, of class IN.
    pub record: Record,
    /// Nobody else on the link has records of this name and type.
    pub unique: bool,
    /// Its data as on the wire, without compression.
    pub data: Box<[u8]>,
}

impl Entry {
    fn new(host: usize, name: &Name, ttl: u32, unique: bool, data: RData) -> Result<Self, ProtoError> {
        let bytes = bytes_of(&data)?;
        Ok(Entry { host, record: Record::from_rdata(name.clone(), ttl, data), unique, data: bytes })
    }

    /// Whether it is a host's address.
    pub fn is_address(&self) -> bool {
        matches!(self.record.data, RData::A(_) | RData::AAAA(_))
    }
}

/// A record's data as on the wire, without compression.
pub fn bytes_of(data: &RData) -> Result<Box<[u8]>, ProtoError> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder)?;
    Ok(bytes.into())
}

/// The records of a host whose label, in use, is this.
pub fn entries(index: usize, host: &Host, label: &str) -> Result<Vec<Entry>, ProtoError> {
    let local = Name::from_ascii(LOCAL)?;
    let name = Name::from_ascii(label)?.append_domain(&local)?;
    let mut entries = Vec::new();
    let mut kinds = vec![RecordType::A];
    entries.push(Entry::new(index, &name, HOST_TTL, true, RData::A(A(host.v4)))?);
    if let Some(v6) = host.v6 {
        entries.push(Entry::new(index, &name, HOST_TTL, true, RData::AAAA(AAAA(v6)))?);
        kinds.push(RecordType::AAAA);
    }
    entries.push(Entry::new(index, &name, HOST_TTL, true, only(&name, &kinds)?)?);
    for Offer { kind, port } in &host.offers {
        let kind = Name::from_ascii(kind)?.append_domain(&local)?;
        let instance = Name::from_ascii(label)?.append_domain(&kind)?;
        let srv = RData::SRV(SRV::new(0, 0, *port, name.clone()));
        entries.push(Entry::new(index, &kind, OTHER_TTL, false, RData::PTR(PTR(instance.clone())))?);
        let all = Name::from_ascii(KINDS)?;
        entries.push(Entry::new(index, &all, OTHER_TTL, false, RData::PTR(PTR(kind)))?);
        entries.push(Entry::new(index, &instance, HOST_TTL, true, srv)?);
        // RFC 6763, section 6.1: one empty string when there is nothing to say.
        let txt = RData::TXT(TXT::new(vec![String::new()]));
        entries.push(Entry::new(index, &instance, OTHER_TTL, true, txt)?);
        let kinds = [RecordType::TXT, RecordType::SRV];
        entries.push(Entry::new(index, &instance, HOST_TTL, true, only(&instance, &kinds)?)?);
    }
    Ok(entries)
}

/// An NSEC record's data: the name has records of these types, below 256 and ascending, and of no others (RFC 6762,
/// section 6.1). hickory has the type only together with the rest of DNSSEC.
fn only(name: &Name, kinds: &[RecordType]) -> Result<RData, ProtoError> {
    let mut data = Vec::new();
    let mut encoder = BinEncoder::new(&mut data);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    name.emit(&mut encoder)?;
    let mut map = Vec::new();
    for kind in kinds.iter().map(|kind| usize::from(u16::from(*kind))) {
        map.resize(map.len().max(kind / 8 + 1), 0u8);
        map[kind / 8] |= 0x80 >> (kind % 8);
    }
    data.extend([0, map.len() as u8]);
    data.extend(map);
    Ok(RData::Unknown { code: RecordType::NSEC, rdata: NULL::with(data) })
}
