//! From a message to its reply (RFC 1035, section 4; RFC 6891 for EDNS).

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, LowerQuery, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::opt::EdnsOption;
use hickory_server::proto::rr::{Name, Record};
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageResponseBuilder;

use super::zone::{Refusal, Verdict, Zone, address_record};
use crate::directory::Moment;
use crate::summoner::{ServiceId, SummonError, Summoner};

/// Bytes of a message's header.
const HEADER: usize = 12;
/// The header's third byte: the bit that marks replies, and where the operation code stands.
const IS_REPLY: u8 = 0x80;
const OPCODE_MASK: u8 = 0x78;
const RECURSION_DESIRED: u8 = 0x01;

/// Longest label; what would be a greater length is a pointer (RFC 1035, section 4.1.4).
const MAX_LABEL: u8 = 63;

/// Longest reply over UDP without EDNS (RFC 1035, section 2.3.4).
const PLAIN_UDP: u16 = 512;
/// Longest reply over UDP that we promise and send with EDNS: no fragments anywhere (DNS flag day 2020).
const EDNS_UDP: u16 = 1232;

/// TTL in seconds of the address of a service that may be off, and stays so for whoever asks.
const NOTHING_PROMISED: u32 = 0;

/// EDNS option "Extended DNS Error" (RFC 8914, section 2). hickory has no type for it.
const EXTENDED_ERROR: u16 = 15;
/// Longest text of an extended error: with the question it fits into a reply of any size.
const MAX_ERROR_TEXT: usize = 200;

/// Codes of extended errors (RFC 8914, section 4): those whose meaning is that of something here. "Blocked" and
/// "Prohibited" are not among them: the one is for names on a blocklist, the other for clients without the right to ask,
/// and a service that only an administrator starts has neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ErrorCode {
    /// None of the others: the text says it.
    Other = 0,
    /// The server is not fully functional, for it is starting or ending.
    NotReady = 14,
    /// The question is about a zone that the server is not authoritative for.
    NotAuthoritative = 20,
    /// The server does not do what is asked of it.
    NotSupported = 21,
}

/// How a message came, which limits the reply's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In a datagram: at most 512 bytes, with EDNS as many as the client takes, up to 1,232.
    Udp,
    /// On a connection: at most 65,535 bytes.
    Tcp,
}

/// How far a message has been dealt with.
pub enum Begun {
    /// This is the reply.
    Now(Vec<u8>),
    /// There is none: it is too short to be a message, or is a reply itself, and two servers are not to talk to each
    /// other for ever.
    Silence,
    /// The reply comes when a service has been summoned.
    Later(Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>),
}

/// Deals with one message as far as that takes no waiting.
pub fn begin(
    message: &[u8],
    peer: SocketAddr,
    transport: Transport,
    received: Moment,
    zone: &Arc<Zone>,
    summoner: &Summoner,
) -> Begun {
    let Some(header) = message.get(..HEADER) else { return Begun::Silence };
    if header[2] & IS_REPLY != 0 {
        return Begun::Silence;
    }
    if OpCode::from_u8((header[2] & OPCODE_MASK) >> 3) != OpCode::Query {
        return Begun::Now(bare_reply(header, ResponseCode::NotImp));
    }
    // Exactly one question (RFC 9619), of a name that stands there whole.
    if header[4..6] != [0, 1] || !stands_whole(&message[HEADER..]) {
        return Begun::Now(bare_reply(header, ResponseCode::FormErr));
    }
    let protocol = match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    let request = match Request::from_bytes(message.to_vec(), peer, protocol) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%peer, "malformed DNS message: {error}");
            return Begun::Now(bare_reply(header, ResponseCode::FormErr));
        }
    };
    let Some(query) = request.queries.queries().first() else { return Begun::Silence };
    let outcome = if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        Outcome::error(ResponseCode::BADVERS)
    } else {
        match decide(query, peer.ip(), zone) {
            Decided::Now(outcome) => outcome,
            Decided::Summon(service) => {
                let (zone, summoner) = (Arc::clone(zone), summoner.clone());
                return Begun::Later(Box::pin(async move {
                    let outcome = summon(&request, service, received, &summoner).await;
                    encode_or_fail(&request, transport, &outcome, &zone)
                }));
            }
        }
    };
    match encode_or_fail(&request, transport, &outcome, zone) {
        Some(reply) => Begun::Now(reply),
        None => Begun::Silence,
    }
}

/// The reply to one message, if there is one; see [`begin`].
pub async fn reply(
    message: &[u8],
    peer: SocketAddr,
    transport: Transport,
    received: Moment,
    zone: &Arc<Zone>,
    summoner: &Summoner,
) -> Option<Vec<u8>> {
    match begin(message, peer, transport, received, zone, summoner) {
        Begun::Now(reply) => Some(reply),
        Begun::Silence => None,
        Begun::Later(reply) => reply.await,
    }
}

fn encode_or_fail(
    request: &Request,
    transport: Transport,
    outcome: &Outcome,
    zone: &Zone,
) -> Option<Vec<u8>> {
    encode(request, transport, outcome, zone)
        .inspect_err(|error| tracing::error!("a DNS reply could not be encoded: {error}"))
        .or_else(|_| encode(request, transport, &Outcome::error(ResponseCode::ServFail), zone))
        .ok()
}

/// Whether a name is labels up to the root, none of them a pointer (RFC 1035, section 4.1.4). Before the first name of
/// a message there is none that it could point to; and it goes into the reply as it came, where a pointer into the
/// header would mean something else.
fn stands_whole(mut name: &[u8]) -> bool {
    while let [length, rest @ ..] = name {
        match rest.get(usize::from(*length)..) {
            Some(_) if *length == 0 => return true,
            Some(after) if *length <= MAX_LABEL => name = after,
            _ => return false,
        }
    }
    false
}

/// What a reply says.
struct Outcome {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    /// Whether the SOA record goes along, so that the absence may be cached.
    with_soa: bool,
    /// Code and text for people.
    extended_error: Option<(ErrorCode, String)>,
}

impl Outcome {
    fn error(code: ResponseCode) -> Self {
        Outcome { code, authoritative: false, answers: Vec::new(), with_soa: false, extended_error: None }
    }

    fn answer(answers: Vec<Record>) -> Self {
        Outcome { authoritative: true, answers, ..Outcome::error(ResponseCode::NoError) }
    }

    fn absence(code: ResponseCode) -> Self {
        Outcome { authoritative: true, with_soa: true, ..Outcome::error(code) }
    }

    fn failure(error: &SummonError) -> Self {
        let code = match error {
            SummonError::Failed { .. }
            | SummonError::NoRoom { .. }
            | SummonError::Manual
            | SummonError::Busy => ErrorCode::Other,
            SummonError::ShuttingDown => ErrorCode::NotReady,
        };
        let extended_error = Some((code, error.to_string()));
        Outcome { extended_error, ..Outcome::error(ResponseCode::ServFail) }
    }

    fn refusal(refusal: Refusal) -> Self {
        let (code, text) = match refusal {
            Refusal::NotAuthoritative => {
                (ErrorCode::NotAuthoritative, "the node answers for its own zone only")
            }
            Refusal::NotSupported => (ErrorCode::NotSupported, "no zone transfers, and no class but IN"),
        };
        Outcome { extended_error: Some((code, text.to_owned())), ..Outcome::error(ResponseCode::Refused) }
    }
}

/// What is to be done about a question.
enum Decided {
    Now(Outcome),
    Summon(ServiceId),
}

fn decide(query: &LowerQuery, source: IpAddr, zone: &Zone) -> Decided {
    Decided::Now(match zone.ask(query.name(), query.query_class(), query.query_type(), source) {
        Verdict::Answer(records) => Outcome::answer(records),
        Verdict::NoData => Outcome::absence(ResponseCode::NoError),
        Verdict::NoSuchName => Outcome::absence(ResponseCode::NXDomain),
        Verdict::Refuse(refusal) => Outcome::refusal(refusal),
        Verdict::Tell(address) => {
            Outcome::answer(vec![address_record(query.original().name().clone(), NOTHING_PROMISED, address)])
        }
        Verdict::Summon(service) => return Decided::Summon(service),
    })
}

async fn summon(request: &Request, service: ServiceId, received: Moment, summoner: &Summoner) -> Outcome {
    let outcome = summoner.summon(service, received.0).await;
    let Some(query) = request.queries.queries().first() else {
        return Outcome::error(ResponseCode::ServFail);
    };
    match outcome {
        Ok(summoned) => {
            let ttl = u32::try_from(summoned.ttl.as_secs()).unwrap_or(u32::MAX);
            // The name as it was asked, in its spelling, so that it is compressed to a pointer.
            let name: Name = query.original().name().clone();
            Outcome::answer(vec![address_record(name, ttl, summoned.address)])
        }
        Err(error) => {
            tracing::info!(name = %query.name(), "cannot be summoned: {error}");
            Outcome::failure(&error)
        }
    }
}

fn encode(
    request: &Request,
    transport: Transport,
    outcome: &Outcome,
    zone: &Zone,
) -> Result<Vec<u8>, hickory_server::proto::ProtoError> {
    // A reply has EDNS if and only if the question had (RFC 6891, section 6.1.1).
    let edns = request.edns.as_ref().map(|_| {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP);
        if let Some((code, text)) = &outcome.extended_error {
            let text = &text[..text.floor_char_boundary(MAX_ERROR_TEXT)];
            let data = [&(*code as u16).to_be_bytes(), text.as_bytes()].concat();
            edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
        }
        edns
    });
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, EDNS_UDP),
    };
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = outcome.code;
    metadata.authoritative = outcome.authoritative;

    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &edns {
        builder.edns(edns);
    }
    let soa = outcome.with_soa.then(|| zone.soa());
    let response = builder.build(metadata, &outcome.answers, [], soa, []);
    let mut bytes = Vec::with_capacity(usize::from(PLAIN_UDP));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    response.destructive_emit(&mut encoder)?;
    Ok(bytes)
}

/// A reply of a header alone, for messages whose question is not to be trusted.
fn bare_reply(header: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&header[..2]);
    reply[2] = IS_REPLY | header[2] & (OPCODE_MASK | RECURSION_DESIRED);
    reply[3] = code.low();
    reply
}
