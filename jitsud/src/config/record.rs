//! `[[record]]`: records of the node's zone that are not a service's address.

use std::collections::HashMap;
use std::str::FromStr;

use hickory_server::proto::rr::{Name, RData, RecordType};

use hickory_server::proto::serialize::binary::BinEncodable;

use super::dns::{Claims, Kind};
use super::reader::{Field, Line, Reader};
use super::{NodeDraft, names};
use crate::text::shortened;

pub(super) const KEYS: [&str; 4] = ["name", "type", "ttl", "data"];

/// Most records in all.
pub(super) const MAX_RECORDS: usize = 1000;

/// Most records of a type at a name, and longest data of one in characters: together they fit into an answer over TCP.
const MOST_OF_A_TYPE: usize = 32;
const LONGEST_DATA: usize = 1024;

/// Bytes of wrong data that are quoted.
const QUOTED: usize = 80;

const DEFAULT_TTL: u32 = 60;
/// Longest TTL in seconds, a week.
const MAX_TTL: u32 = 604_800;

/// Types that make sense in a zone which is neither signed nor divided.
const TYPES: [RecordType; 15] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CAA,
    RecordType::CERT,
    RecordType::CNAME,
    RecordType::HINFO,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::NAPTR,
    RecordType::PTR,
    RecordType::SRV,
    RecordType::SSHFP,
    RecordType::SVCB,
    RecordType::TLSA,
    RecordType::TXT,
];

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticRecord {
    /// Its name, in or equal to the node's domain: lower case, without the final dot. It may begin with `*.`.
    pub name: String,
    /// Seconds that it may be cached.
    pub ttl: u32,
    /// Type and data. Names in it are absolute.
    pub data: RData,
}

/// What is known of the records before.
#[derive(Default)]
pub struct Records {
    records: Vec<StaticRecord>,
    /// Of each name and type, how many there are, and the TTL and line of the first.
    sets: HashMap<(String, RecordType), (usize, u32, Line)>,
}

impl Records {
    /// The records, in the order of the file.
    pub fn done(self) -> Vec<StaticRecord> {
        self.records
    }

    /// Reads one table. A record with a mistake is left out.
    pub fn read(&mut self, reader: &mut Reader<'_, '_>, node: &NodeDraft, claims: &mut Claims) {
        reader.refuse_unknown(&KEYS, "[[record]]");
        let name = name(reader, node);
        let kind = kind(reader);
        let data = reader.required_string("data", "data = \"0 0 80 www\"");
        let ttl = reader.number("ttl", 0, MAX_TTL, "seconds").map_or(DEFAULT_TTL, |ttl| ttl.value);
        let (Some(name), Some(kind), Some(Field { value, line })) = (name, kind, data) else { return };
        let data = match parse(kind, value, &node.domain) {
            Ok(data) => data,
            Err(fault) => {
                let fix = "write it as in a zone file (RFC 1035, section 5)";
                let value = shortened(value.to_owned(), QUOTED);
                return reader.problem(line, format!("data {value:?} is no {kind} record's: {fault}"), fix);
            }
        };
        if !reader.clean() {
            return;
        }
        self.add(reader, StaticRecord { name, ttl, data }, node, claims);
    }

    fn add(
        &mut self,
        reader: &mut Reader<'_, '_>,
        record: StaticRecord,
        node: &NodeDraft,
        claims: &mut Claims,
    ) {
        let (line, kind) = (reader.line, record.data.record_type());
        let claim = match kind {
            RecordType::CNAME => Kind::Alias,
            RecordType::A | RecordType::AAAA => Kind::Address,
            _ => Kind::Other,
        };
        if claim == Kind::Alias && record.name == node.domain {
            let what = format!("the zone's own name {:?} cannot be an alias", record.name);
            return reader.problem(line, what, "give it an A record, or a service that has it in its dns");
        }
        let others = self.records.iter().any(|other| other.name == record.name);
        let owner = if claim == Kind::Alias && others {
            Err("other records".to_owned())
        } else {
            claims.admit(&record.name, claim, line)
        };
        if let Err(owner) = owner {
            let what =
                format!("there cannot be a {kind} record at {:?}, which belongs to {owner}", record.name);
            return reader.problem(line, what, "give it a name of its own");
        }
        let same = self.records.iter().any(|other| other.name == record.name && other.data == record.data);
        if same {
            return reader.problem(line, "this record is there already", "remove one of them");
        }
        let key = (record.name.clone(), kind);
        let (count, ttl, first) = self.sets.entry(key).or_insert((0, record.ttl, line));
        if *count == MOST_OF_A_TYPE {
            let what = format!("there are over {MOST_OF_A_TYPE} {kind} records at {:?}", record.name);
            return reader.problem(line, what, "remove some");
        }
        if *ttl != record.ttl {
            let what = format!(
                "ttl = {} s is not that of the {kind} record on line {}, {ttl} s",
                record.ttl, first.0
            );
            return reader.problem(line, what, "give all records of a name and type the same (RFC 2181)");
        }
        *count += 1;
        self.records.push(record);
    }
}

/// The record's name: one in the domain as it is, any other one with the domain behind it. `@` is the domain.
fn name(reader: &mut Reader<'_, '_>, node: &NodeDraft) -> Option<String> {
    let Field { value, line } = reader.required_string("name", "name = \"_http._tcp\"")?;
    let lower = value.to_ascii_lowercase();
    let full = match lower.strip_suffix('.') {
        _ if lower == "@" => node.domain.clone(),
        Some(absolute) => absolute.to_owned(),
        None => qualified(&lower, &node.domain),
    };
    let fault = match names::owner_name(&full) {
        Err(fault) => fault,
        Ok(_) if !names::is_within(&full, &node.domain) => {
            format!("is outside the node's zone {:?}", node.domain)
        }
        Ok(name) => return Some(name),
    };
    let fix = "write a name in the zone, as in \"_http._tcp\", or \"@\" for the zone's own";
    reader.problem(line, format!("name {value:?} {fault}"), fix);
    None
}

/// A name without a final dot: one in the domain is whole, any other one lacks it.
fn qualified(name: &str, domain: &str) -> String {
    if names::is_within(name, domain) { name.to_owned() } else { format!("{name}.{domain}") }
}

fn kind(reader: &mut Reader<'_, '_>) -> Option<RecordType> {
    let Field { value, line } = reader.required_string("type", "type = \"SRV\"")?;
    let kind = RecordType::from_str(&value.to_ascii_uppercase()).ok();
    let kind = kind.filter(|kind| TYPES.contains(kind));
    if kind.is_none() {
        let fix = format!("write one of {}", TYPES.map(|kind| kind.to_string()).join(", "));
        reader.problem(line, format!("type = {value:?} is none that a record here may have"), fix);
    }
    kind
}

/// A record's data from its text (RFC 1035, section 5.1).
fn parse(kind: RecordType, text: &str, domain: &str) -> Result<RData, String> {
    if text.len() > LONGEST_DATA {
        return Err(format!("it has {} characters, more than {LONGEST_DATA}", text.len()));
    }
    let mut data = RData::try_from_str(kind, text).map_err(|error| error.to_string())?;
    // Strings of more than 255 bytes are read, too.
    data.to_bytes().map_err(|error| error.to_string())?;
    let name = match &mut data {
        RData::CNAME(name) => &mut name.0,
        RData::PTR(name) => &mut name.0,
        RData::MX(mx) => &mut mx.exchange,
        RData::SRV(srv) => &mut srv.target,
        RData::NAPTR(naptr) => &mut naptr.replacement,
        RData::SVCB(svcb) => &mut svcb.target_name,
        RData::HTTPS(https) => &mut https.0.target_name,
        _ => return Ok(data),
    };
    if !name.is_fqdn() {
        let whole = qualified(&name.to_ascii(), domain);
        *name = Name::from_ascii(whole).map_err(|error| error.to_string())?;
        name.set_fqdn(true);
    }
    Ok(data)
}
