//! From a message to its reply (RFC 1035, section 4; RFC 6891 for EDNS).

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{OpCode, ResponseCode};
use hickory_server::proto::rr::{DNSClass, RecordType};
use hickory_server::server::Request;

use super::beyond::{self, Found};
use super::encode::{EDNS_UDP, Encoder, HEADER, Head, IS_REPLY, OPCODE_MASK, Section, bare};
use super::forward::{Forwarded, Forwarder};
use super::zone::name::{Asked, text};
use super::zone::{Answer, Authority, End, Family, RecordSet, Verdict, Zone};
use crate::directory::Moment;
use crate::summoner::{ServiceId, SummonError, Summoner};

/// Longest reply over UDP without EDNS (RFC 1035, section 2.3.4).
const PLAIN_UDP: u16 = 512;

/// TTL in seconds of the address of a service that may be off, and stays so for whoever asks.
const NOTHING_PROMISED: u32 = 0;

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
    /// This is the reply, and that to everybody else who asks the same in a datagram, whatever the spelling: for as long
    /// as the same may be answered for these services, whose address it tells.
    Always(Vec<u8>, Box<[ServiceId]>),
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
    let Some(header) = message.first_chunk::<HEADER>() else { return Begun::Silence };
    if header[2] & IS_REPLY != 0 {
        return Begun::Silence;
    }
    if OpCode::from_u8((header[2] & OPCODE_MASK) >> 3) != OpCode::Query {
        return Begun::Now(bare(header, ResponseCode::NotImp));
    }
    // Exactly one question (RFC 9619), of a name that stands there whole.
    let name = Asked::read(&message[HEADER..]).filter(|_| header[4..6] == [0, 1]);
    let Some(name) = name else { return Begun::Now(bare(header, ResponseCode::FormErr)) };
    let protocol = match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    let request = match Request::from_bytes(message.to_vec(), peer, protocol) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%peer, "malformed DNS message: {error}");
            return Begun::Now(bare(header, ResponseCode::FormErr));
        }
    };
    let recursion_available = zone.forwarder().is_some();
    let source = peer.ip();
    let question = Question { header: *header, name, request, transport, source, recursion_available };
    if question.request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Begun::Now(question.reply(&Outcome::error(ResponseCode::BADVERS), 0));
    }
    match decide(&question, zone) {
        Decided::Now(outcome) => {
            let reply = question.reply(&outcome, zone.turn());
            if outcome.is_everybodys() { Begun::Always(reply, Box::default()) } else { Begun::Now(reply) }
        }
        Decided::Forward(forwarder) => {
            match forwarder.forward(message, peer.ip(), transport == Transport::Tcp) {
                Some(Forwarded::Now(reply)) => Begun::Now(reply),
                Some(Forwarded::Later(reply)) => Begun::Later(reply),
                None => Begun::Now(bare(header, ResponseCode::FormErr)),
            }
        }
        Decided::Beyond(outcome, message, forwarder) => {
            let told = |question: &Question, outcome: Outcome<'_>, reply: &[u8]| {
                let (code, found) = beyond::answer(reply);
                question.reply(&Outcome { code, records: Records::Beyond(found), ..outcome }, 0)
            };
            match forwarder.forward(&message, source, true) {
                Some(Forwarded::Now(reply)) => Begun::Now(told(&question, outcome, &reply)),
                Some(Forwarded::Later(reply)) => {
                    let zone = Arc::clone(zone);
                    Begun::Later(Box::pin(async move {
                        let reply = reply.await?;
                        // As in the other case: the zone says the same again.
                        let outcome = match zone.ask(question.name.wire(), question.class(), question.kind())
                        {
                            Verdict::Answer(answer) => Outcome::of(&answer),
                            Verdict::Elsewhere | Verdict::Refuse => None,
                        };
                        let outcome = outcome.unwrap_or_else(|| Outcome::error(ResponseCode::ServFail));
                        Some(told(&question, outcome, &reply))
                    }))
                }
                None => Begun::Now(question.reply(&outcome, 0)),
            }
        }
        Decided::Summon(summons) => {
            if let Some(outcome) = at_once(&question, &summons, received, zone, summoner) {
                let reply = question.reply(&outcome, zone.turn());
                let service = match &summons {
                    Summons::Services(services, _) => services.first().map(|(service, _)| *service),
                    Summons::Instance(_, host) => summoner.bound_to(host),
                };
                return match service
                    .filter(|service| outcome.tells_one() && !zone.has_quiet_networks(*service))
                {
                    Some(service) => Begun::Always(reply, [service].into()),
                    None => Begun::Now(reply),
                };
            }
            let (zone, summoner) = (Arc::clone(zone), summoner.clone());
            Begun::Later(Box::pin(async move {
                let addresses = summons.carry_out(received, &summoner).await;
                // Nothing has changed in the zone, so that it says the same again.
                let outcome = match zone.ask(question.name.wire(), question.class(), question.kind()) {
                    Verdict::Answer(answer) => Outcome::with_addresses(&answer, addresses),
                    Verdict::Elsewhere | Verdict::Refuse => Outcome::error(ResponseCode::ServFail),
                };
                if let Some((_, error)) = &outcome.error {
                    tracing::debug!(name = text(question.name.wire()), "cannot be summoned: {error}");
                }
                Some(question.reply(&outcome, zone.turn()))
            }))
        }
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
        Begun::Now(reply) | Begun::Always(reply, _) => Some(reply),
        Begun::Silence => None,
        Begun::Later(reply) => reply.await,
    }
}

/// A message that asks one question.
struct Question {
    header: [u8; HEADER],
    name: Asked,
    request: Request,
    transport: Transport,
    source: IpAddr,
    recursion_available: bool,
}

impl Question {
    fn kind(&self) -> RecordType {
        self.request.queries.queries().first().map_or(RecordType::ZERO, |query| query.query_type())
    }

    fn class(&self) -> DNSClass {
        self.request.queries.queries().first().map_or(DNSClass::NONE, |query| query.query_class())
    }

    /// What is to be asked about the name that its aliases lead to, if it is to be asked at all.
    fn beyond(&self, answer: &Answer<'_>) -> Option<Vec<u8>> {
        let target = answer.aliases.last()?.target()?;
        let metadata = &self.request.metadata;
        let dnssec = self.request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let question = || beyond::question(target, self.kind(), metadata.checking_disabled, dnssec);
        metadata.recursion_desired.then(question).flatten()
    }

    /// Most bytes of its reply.
    fn limit(&self) -> u16 {
        match (self.transport, &self.request.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => PLAIN_UDP,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, EDNS_UDP),
        }
    }

    /// Says the outcome. Which of several addresses comes first is different in each `turn`.
    fn reply(&self, outcome: &Outcome<'_>, turn: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(Head {
            header: &self.header,
            question: self.request.queries.as_bytes(),
            edns: self.request.edns.as_ref(),
            limit: self.limit(),
            authoritative: outcome.authoritative,
            recursion_available: self.recursion_available,
            code: outcome.code,
            error: outcome.error.as_ref().map(|(code, text)| (*code as u16, text.as_str())),
        });
        let mut owner = None;
        for alias in &outcome.aliases {
            encoder.set(Section::Answer, owner, alias, 0);
            owner = alias.target();
        }
        match &outcome.records {
            Records::None => {}
            Records::Beyond(found) => {
                for Found { section, owner, set } in found {
                    encoder.set(*section, Some(owner), set, 0);
                }
            }
            Records::Set(set) => {
                let first = if is_address(set.kind) { turn } else { 0 };
                encoder.set(Section::Answer, owner, set, first);
            }
            Records::Addresses(family, Addresses { list, ttl }) => {
                let kind = match family {
                    Family::V4 => RecordType::A,
                    Family::V6 => RecordType::AAAA,
                };
                let (before, after) = list.split_at(turn % list.len().max(1));
                encoder.addresses(owner, kind, *ttl, after.iter().chain(before));
            }
        }
        if let Some(authority) = outcome.absent_from {
            encoder.set(Section::Authority, Some(&authority.name), &authority.soa, 0);
        }
        encoder.done()
    }
}

fn is_address(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA)
}

/// Addresses, and for how many seconds they may be cached: all for as long as the one that may least (RFC 2181, section
/// 5.2).
struct Addresses {
    list: Vec<IpAddr>,
    ttl: u32,
}

/// What a reply says.
struct Outcome<'z> {
    code: ResponseCode,
    authoritative: bool,
    /// CNAMEs before the records; the first belongs to the question's name.
    aliases: Vec<&'z RecordSet>,
    records: Records<'z>,
    /// The zone whose SOA record goes along, so that the absence may be cached.
    absent_from: Option<&'z Authority>,
    /// Code and text for people.
    error: Option<(ErrorCode, String)>,
}

enum Records<'z> {
    None,
    /// What others say.
    Beyond(Vec<Found>),
    Set(&'z RecordSet),
    Addresses(Family, Addresses),
}

impl<'z> Outcome<'z> {
    fn error(code: ResponseCode) -> Self {
        Outcome {
            code,
            authoritative: false,
            aliases: Vec::new(),
            records: Records::None,
            absent_from: None,
            error: None,
        }
    }

    /// Whether it is the same for everybody, for ever: records that are there and never in another order, or that there
    /// are none. There is no end to names that do not exist.
    fn is_everybodys(&self) -> bool {
        let fixed = match &self.records {
            Records::None => self.absent_from.is_some(),
            Records::Set(set) => set.data.len() == 1,
            Records::Addresses(..) | Records::Beyond(_) => false,
        };
        self.code == ResponseCode::NoError && fixed
    }

    /// Whether it tells a single address.
    fn tells_one(&self) -> bool {
        matches!(&self.records, Records::Addresses(_, Addresses { list, .. }) if list.len() == 1)
    }

    fn failure(error: &SummonError) -> Self {
        let code = match error {
            SummonError::Failed { .. }
            | SummonError::NoRoom { .. }
            | SummonError::Manual
            | SummonError::NoInstance { .. }
            | SummonError::NoHost
            | SummonError::TooMany { .. }
            | SummonError::Busy => ErrorCode::Other,
            SummonError::ShuttingDown => ErrorCode::NotReady,
        };
        Outcome { error: Some((code, error.to_string())), ..Outcome::error(ResponseCode::ServFail) }
    }

    fn refusal(code: ErrorCode, text: &str) -> Self {
        Outcome { error: Some((code, text.to_owned())), ..Outcome::error(ResponseCode::Refused) }
    }

    /// What the zone says by itself; `None` where addresses have to be found first.
    fn of(answer: &Answer<'z>) -> Option<Self> {
        let (code, records, absent_from) = match &answer.end {
            End::Records(set) => (ResponseCode::NoError, Records::Set(set), None),
            End::NoData(zone) => (ResponseCode::NoError, Records::None, Some(*zone)),
            End::NoSuchName(zone) => (ResponseCode::NXDomain, Records::None, Some(*zone)),
            End::Beyond => (ResponseCode::NoError, Records::None, None),
            End::Circle => {
                let error = (
                    ErrorCode::Other,
                    "the name is an alias, and so is what it leads to, without an end".to_owned(),
                );
                return Some(Outcome { error: Some(error), ..Outcome::error(ResponseCode::ServFail) });
            }
            End::Services(..) | End::Instance(_) => return None,
        };
        let aliases = answer.aliases.clone();
        Some(Outcome { code, authoritative: true, aliases, records, absent_from, error: None })
    }

    fn with_addresses(answer: &Answer<'z>, addresses: Result<Addresses, SummonError>) -> Self {
        let addresses = match addresses {
            Ok(addresses) => addresses,
            Err(error) => return Outcome::failure(&error),
        };
        let family = match answer.end {
            End::Services(family, _) => family,
            _ => Family::V4,
        };
        Outcome {
            authoritative: true,
            aliases: answer.aliases.clone(),
            records: Records::Addresses(family, addresses),
            ..Outcome::error(ResponseCode::NoError)
        }
    }
}

/// What is to be done about a question.
enum Decided<'z> {
    Now(Outcome<'z>),
    Summon(Summons),
    Forward(&'z Forwarder),
    /// The aliases are known, and this is to be asked about the name that they lead to.
    Beyond(Outcome<'z>, Vec<u8>, &'z Forwarder),
}

/// Who has to run before a question can be answered.
enum Summons {
    /// All of them, as far as that goes, each with its address; and addresses that are known already.
    Services(Vec<(ServiceId, IpAddr)>, Addresses),
    /// One of the instances to which this belongs, for a host name.
    Instance(ServiceId, String),
}

fn decide<'z>(question: &Question, zone: &'z Zone) -> Decided<'z> {
    let name = question.name.wire();
    let answer = match zone.ask(name, question.class(), question.kind()) {
        Verdict::Answer(answer) => answer,
        Verdict::Elsewhere => {
            if let Some(forwarder) = zone.forwarder() {
                return Decided::Forward(forwarder);
            }
            let text = "the node answers for its own zone only";
            return Decided::Now(Outcome::refusal(ErrorCode::NotAuthoritative, text));
        }
        Verdict::Refuse => {
            let text = "no zone transfers, and no class but IN";
            return Decided::Now(Outcome::refusal(ErrorCode::NotSupported, text));
        }
    };
    if let Some(outcome) = Outcome::of(&answer) {
        return match (&answer.end, zone.forwarder(), question.beyond(&answer)) {
            (End::Beyond, Some(forwarder), Some(message)) => Decided::Beyond(outcome, message, forwarder),
            _ => Decided::Now(outcome),
        };
    }
    let is_quiet = |service: ServiceId| zone.is_quiet(service, question.source, name);
    match answer.end {
        End::Services(family, services) => {
            let (mut told, mut summoned) = (Vec::new(), Vec::new());
            for service in services.iter().copied() {
                match zone.address(service, family) {
                    Some(address) if is_quiet(service) => told.push(address),
                    Some(address) => summoned.push((service, address)),
                    None => {}
                }
            }
            let ttl = if told.is_empty() { u32::MAX } else { NOTHING_PROMISED };
            let told = Addresses { list: told, ttl };
            if summoned.is_empty() {
                return Decided::Now(Outcome::with_addresses(&answer, Ok(told)));
            }
            Decided::Summon(Summons::Services(summoned, told))
        }
        End::Instance(instances) => {
            let first = instances.first().copied().unwrap_or(ServiceId(usize::MAX));
            if is_quiet(first) {
                // Whoever is not to start it is not to bind one, either: there is no address to tell.
                let nothing = Outcome { authoritative: true, ..Outcome::error(ResponseCode::NoError) };
                return Decided::Now(Outcome { aliases: answer.aliases, ..nothing });
            }
            let host = answer.aliases.last().and_then(|alias| alias.target()).unwrap_or(name);
            Decided::Summon(Summons::Instance(first, text(host)))
        }
        _ => Decided::Now(Outcome::error(ResponseCode::ServFail)),
    }
}

/// The outcome for which nothing has to be waited: of services that run, or of a client that may not start them.
fn at_once<'z>(
    question: &Question,
    summons: &Summons,
    received: Moment,
    zone: &'z Zone,
    summoner: &Summoner,
) -> Option<Outcome<'z>> {
    let addresses = match summons.warm(received, summoner) {
        Some(addresses) => Ok(addresses),
        None => Err(summons.may_start(received, question.source, summoner).err()?),
    };
    match zone.ask(question.name.wire(), question.class(), question.kind()) {
        Verdict::Answer(answer) => Some(Outcome::with_addresses(&answer, addresses)),
        Verdict::Elsewhere | Verdict::Refuse => None,
    }
}

impl Summons {
    /// The addresses, if all of them run already.
    fn warm(&self, received: Moment, summoner: &Summoner) -> Option<Addresses> {
        let mut addresses = Addresses { list: Vec::new(), ttl: u32::MAX };
        let mut add = |service, address: Option<IpAddr>| {
            let summoned = summoner.at_once(service, received)?;
            addresses.list.push(address.unwrap_or(summoned.address.into()));
            addresses.ttl = addresses.ttl.min(seconds(summoned.ttl));
            Some(())
        };
        match self {
            Summons::Instance(_, host) => {
                let service = summoner.bound_to(host)?;
                add(service, None)?;
                summoner.told(service, received);
            }
            Summons::Services(services, told) => {
                services.iter().try_for_each(|(service, address)| add(*service, Some(*address)))?;
                services.iter().for_each(|(service, _)| summoner.told(*service, received));
                addresses.ttl = addresses.ttl.min(told.ttl);
                addresses.list.splice(0..0, told.list.iter().copied());
            }
        }
        Some(addresses)
    }

    /// Whether `source` may make them run.
    fn may_start(&self, received: Moment, source: IpAddr, summoner: &Summoner) -> Result<(), SummonError> {
        match self {
            Summons::Instance(instance, host) => {
                summoner.may_start(summoner.bound_to(host).unwrap_or(*instance), received, source)
            }
            Summons::Services(services, _) => {
                services.iter().try_for_each(|(service, _)| summoner.may_start(*service, received, source))
            }
        }
    }

    /// Makes them run. Those that do are answered, if any does.
    async fn carry_out(self, received: Moment, summoner: &Summoner) -> Result<Addresses, SummonError> {
        let (services, mut addresses) = match self {
            Summons::Instance(instance, host) => {
                let summoned = summoner.summon_for_host(instance, host, received.0).await?;
                return Ok(Addresses { list: vec![summoned.address.into()], ttl: seconds(summoned.ttl) });
            }
            Summons::Services(services, told) => (services, told),
        };
        let mut failure = None;
        let summons = services.iter().map(|(service, _)| summoner.summon(*service, received.0));
        for ((_, address), outcome) in services.iter().zip(join_all(summons).await) {
            match outcome {
                Ok(summoned) => {
                    addresses.list.push(*address);
                    addresses.ttl = addresses.ttl.min(seconds(summoned.ttl));
                }
                Err(error) => _ = failure.get_or_insert(error),
            }
        }
        match failure {
            Some(error) if addresses.list.is_empty() => Err(error),
            _ => Ok(addresses),
        }
    }
}

fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}
