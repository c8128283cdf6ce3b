//! Aliases that lead out of the node's zones. A client that wants recursion follows no aliases itself (RFC 1034, section
//! 5.3.1), so what is at the other end goes into the same reply.

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{Name, Record, RecordType};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder};

use super::encode::Section;
use super::zone::RecordSet;
use super::zone::name::wire;

/// Records of one name and type, which stand together.
pub struct Found {
    /// Where.
    pub section: Section,
    /// The name.
    pub owner: Box<[u8]>,
    /// What there is.
    pub set: RecordSet,
}

/// The question that is asked for a client: what is at this name, which is as on the wire.
pub fn question(target: &[u8], kind: RecordType, checking_disabled: bool, dnssec: bool) -> Option<Vec<u8>> {
    let name = Name::read(&mut BinDecoder::new(target)).ok()?;
    // The number is nobody's: neither the client nor a server sees it.
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = checking_disabled;
    message.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(dnssec);
    message.edns = Some(edns);
    message.to_vec().ok()
}

/// The code and the records of the reply. The code is that of the last name of all (RFC 6604).
pub fn answer(reply: &[u8]) -> (ResponseCode, Vec<Found>) {
    let Ok(message) = Message::from_vec(reply) else { return (ResponseCode::ServFail, Vec::new()) };
    let mut found: Vec<Found> = Vec::new();
    let answers = message.answers.iter().map(|record| (Section::Answer, record));
    let authorities = message.authorities.iter().map(|record| (Section::Authority, record));
    for (section, record) in answers.chain(authorities) {
        let Some(one) = read(section, record) else { return (ResponseCode::ServFail, Vec::new()) };
        match found.last_mut() {
            Some(last)
                if (last.section, &last.owner, last.set.kind) == (section, &one.owner, one.set.kind) =>
            {
                last.set.ttl = last.set.ttl.min(one.set.ttl);
                last.set.data.extend(one.set.data);
            }
            _ => found.push(one),
        }
    }
    (message.metadata.response_code, found)
}

fn read(section: Section, record: &Record) -> Option<Found> {
    let set = RecordSet::one(record.ttl, &record.data).ok()?;
    Some(Found { section, owner: wire(&record.name), set })
}
