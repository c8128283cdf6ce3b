//! Records, encoded when the zone is made, so that an answer only has to copy them.

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::{Name, RData, RecordType};
use hickory_server::proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::name::wire;

/// All records of a name that have one type; there is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSet {
    /// Their type.
    pub kind: RecordType,
    /// For how many seconds they may be cached: the same for all (RFC 2181, section 5.2).
    pub ttl: u32,
    /// What they say.
    pub data: Vec<Data>,
}

/// What one record says. Names stand apart in the types in which they may be compressed: those of RFC 1035 (RFC 3597,
/// section 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Data {
    /// What comes first; in most types, all of it.
    pub before: Box<[u8]>,
    /// Names that may be compressed.
    pub names: Vec<Box<[u8]>>,
    /// What comes after them.
    pub after: Box<[u8]>,
}

impl RecordSet {
    /// A set of one.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn one(ttl: u32, data: &RData) -> Result<Self, ProtoError> {
        Ok(RecordSet { kind: data.record_type(), ttl, data: vec![Data::new(data)?] })
    }

    /// Where a CNAME leads.
    pub fn target(&self) -> Option<&[u8]> {
        self.data.first()?.names.first().map(AsRef::as_ref)
    }
}

impl Data {
    /// Encodes it.
    ///
    /// # Errors
    /// It is longer than any record's data may be.
    pub fn new(data: &RData) -> Result<Self, ProtoError> {
        let of = |before: &[u8], names: &[&Name], after: &[u8]| Data {
            before: before.into(),
            names: names.iter().map(|name| wire(name)).collect(),
            after: after.into(),
        };
        Ok(match data {
            RData::CNAME(name) => of(&[], &[&name.0], &[]),
            RData::NS(name) => of(&[], &[&name.0], &[]),
            RData::PTR(name) => of(&[], &[&name.0], &[]),
            RData::MX(mx) => of(&mx.preference.to_be_bytes(), &[&mx.exchange], &[]),
            RData::SOA(soa) => {
                let times = [soa.refresh, soa.retry, soa.expire].map(i32::to_be_bytes).concat();
                let after = [&soa.serial.to_be_bytes(), &times[..], &soa.minimum.to_be_bytes()].concat();
                of(&[], &[&soa.mname, &soa.rname], &after)
            }
            other => {
                let mut bytes = Vec::new();
                let mut encoder = BinEncoder::new(&mut bytes);
                encoder.set_name_encoding(NameEncoding::Uncompressed);
                other.emit(&mut encoder)?;
                of(&bytes, &[], &[])
            }
        })
    }
}
