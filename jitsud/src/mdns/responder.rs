//! What is said when (RFC 6762). No I/O; time comes in as an argument.
//!
//! A host's names are asked for before they are used (*probing*, section 8.1), announced twice, and defended. If
//! somebody else has one, the host takes another: `www-2`. Questions are answered by whoever has what is asked for; what
//! several may have is answered a moment later, so that they do not all talk at once.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Message, MessageType, OpCode, Query};
use hickory_server::proto::rr::{DNSClass, LowerName, Name, Record, RecordType};

use super::records::{Entry, HOST_TTL, Host, bytes_of, entries};
use crate::directory::Moment;
use crate::random::Random;
use crate::summoner::ServiceId;

/// The port (section 5).
pub const PORT: u16 = 5353;
/// Where everybody on the link listens.
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), PORT);

/// How often a name is asked for before it is taken, and how long each time (section 8.1).
const PROBES: u8 = 3;
const PROBE_WAIT: Duration = Duration::from_millis(250);
/// How often it is announced then, and how long between (section 8.3).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_WAIT: Duration = Duration::from_secs(1);
/// How long whoever has lost a name to somebody who asked at the same time lets them go first (section 8.2).
const YIELD: Duration = Duration::from_secs(1);
/// After so many conflicts over a host's names, it takes its time for each further one (section 8.1).
const MAX_CONFLICTS: u32 = 15;
const CONFLICT_WAIT: Duration = Duration::from_secs(5);

/// A record goes to everybody once in that time (section 6).
const PACE: Duration = Duration::from_secs(1);
/// TTL in seconds for clients that know nothing of mDNS (section 6.7).
const PLAIN_TTL: u32 = 10;
/// TTL in seconds of the address of a service that packets do not start, for whoever does not start it either. None
/// would say that the record is gone.
const SHORTEST_TTL: u32 = 1;

/// The bit for "answer me alone" of a question's class, and for "forget what you have" of a record's (sections 5.4 and
/// 10.2).
const TOP_BIT: u16 = 0x8000;

/// Most questions that are looked at in one message.
const MAX_QUESTIONS: usize = 128;
/// Most answers that are held back for a moment; further ones are given at once.
const MAX_HELD: usize = 64;
/// Most services that are being started for questions from here; further questions are not answered.
const MAX_SUMMONS: usize = 64;
/// Records in one message: with names of usual length, a message fits into a frame.
const PER_MESSAGE: usize = 10;

/// Who waits for a service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(u64);

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this.
    Send(SocketAddrV4, Vec<u8>),
    /// Make the service run for somebody who asks from there, and say what has become of it.
    Summon(ServiceId, Ticket, Ipv4Addr),
}

/// The names, and what goes on about each.
#[derive(Debug)]
pub struct Responder {
    own: Ipv4Addr,
    hosts: Vec<Named>,
    entries: Vec<Entry>,
    /// When each of these was last sent to everybody.
    told: Vec<Option<Moment>>,
    index: HashMap<LowerName, Vec<usize>>,
    held: Vec<Held>,
    summons: HashMap<Ticket, Summons>,
    next_ticket: u64,
    random: Random,
}

#[derive(Debug)]
struct Named {
    host: Host,
    label: String,
    state: State,
    /// How often somebody else had its name.
    conflicts: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The name has been asked for so often, and will be at that moment, or is taken then.
    Probing(u8, Moment),
    /// It has been announced so often, and will be at that moment.
    Announcing(u8, Moment),
    Settled,
}

/// Answers that wait for their moment.
#[derive(Debug)]
struct Held {
    due: Moment,
    source: Ipv4Addr,
    /// More of what the source knows already is on its way.
    more: bool,
    answers: Vec<usize>,
}

/// A question whose answer is an address that is of no use before the service is started.
#[derive(Debug)]
struct Summons {
    answer: usize,
    to: Recipient,
}

/// Who gets an answer.
#[derive(Clone, PartialEq, Debug)]
enum Recipient {
    Everybody,
    /// Somebody who has asked for that.
    One(SocketAddrV4),
    /// Somebody who knows nothing of mDNS: the reply has the number and the question of theirs.
    Plain(SocketAddrV4, u16, Query),
}

impl Responder {
    /// For these hosts, on the link where the node has this address.
    ///
    /// # Errors
    /// A name is none; what the configuration accepts is one.
    pub fn new(own: Ipv4Addr, hosts: Vec<Host>, mut random: Random, now: Moment) -> Result<Self, ProtoError> {
        // Not all at once after a power cut.
        let first = now.after(Duration::from_millis(random.below(250).into()));
        let named = |host: Host| {
            let label = host.label.clone();
            Named { host, label, state: State::Probing(0, first), conflicts: 0 }
        };
        let mut responder = Responder {
            own,
            hosts: hosts.into_iter().map(named).collect(),
            entries: Vec::new(),
            told: Vec::new(),
            index: HashMap::new(),
            held: Vec::new(),
            summons: HashMap::new(),
            next_ticket: 0,
            random,
        };
        responder.rename()?;
        Ok(responder)
    }

    /// A message came in. `from` is on the link.
    pub fn received(&mut self, message: &[u8], from: SocketAddrV4, now: Moment, effects: &mut Vec<Effect>) {
        // What one says comes back to oneself.
        if *from.ip() == self.own && from.port() == PORT {
            return;
        }
        let Ok(message) = Message::from_vec(message) else { return };
        if message.metadata.op_code != OpCode::Query {
            return;
        }
        match message.metadata.message_type {
            MessageType::Query => self.asked(&message, from, now, effects),
            // From another port it is no mDNS (section 6).
            MessageType::Response if from.port() == PORT => self.heard(&message, now),
            MessageType::Response => {}
        }
    }

    /// What has become of a service: for how long its address may be kept, or nothing if it does not run.
    pub fn summoned(
        &mut self,
        ticket: Ticket,
        ttl: Option<Duration>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(summons), Some(ttl)) = (self.summons.remove(&ticket), ttl) else { return };
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).clamp(SHORTEST_TTL, HOST_TTL);
        let Some(entry) = self.entries.get(summons.answer) else { return };
        let answer = record(entry, ttl);
        let also = self.others_of(summons.answer);
        if summons.to == Recipient::Everybody {
            self.told[summons.answer] = Some(now);
        }
        self.say(&summons.to, vec![answer], &also, effects);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (mut probed, mut announced) = (Vec::new(), Vec::new());
        for (index, named) in self.hosts.iter_mut().enumerate() {
            named.state = match named.state {
                State::Probing(PROBES, at) if at <= now => {
                    announced.push(index);
                    State::Announcing(1, now.after(ANNOUNCE_WAIT))
                }
                State::Probing(count, at) if at <= now => {
                    probed.push(index);
                    State::Probing(count + 1, now.after(PROBE_WAIT))
                }
                State::Announcing(ANNOUNCEMENTS, _) => State::Settled,
                State::Announcing(count, at) if at <= now => {
                    announced.push(index);
                    State::Announcing(count + 1, now.after(ANNOUNCE_WAIT))
                }
                other => other,
            };
        }
        for index in probed {
            effects.extend(self.probe(index).map(|message| Effect::Send(GROUP, message)));
        }
        let all = 0..self.entries.len();
        let told =
            |entry: &usize| announced.contains(&self.entries[*entry].host) && self.is_for_everybody(*entry);
        let answers: Vec<usize> = all.filter(told).collect();
        self.tell_everybody(&answers, now, effects);
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(|held: &Held| held.due <= now);
        self.held = held;
        let due: Vec<Held> = due;
        for held in due {
            self.answer_everybody(&held.answers, now, effects);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        let of_hosts = self.hosts.iter().filter_map(|named| match named.state {
            State::Probing(_, at) | State::Announcing(_, at) => Some(at),
            State::Settled => None,
        });
        of_hosts.chain(self.held.iter().map(|held| held.due)).min()
    }

    /// Says that all of it is gone.
    pub fn farewell(&self, effects: &mut Vec<Effect>) {
        let active = self.entries.iter().filter(|entry| self.is_active(entry.host));
        let gone: Vec<Record> = active.map(|entry| record(entry, 0)).collect();
        for part in gone.chunks(PER_MESSAGE) {
            self.say(&Recipient::Everybody, part.to_vec(), &[], effects);
        }
    }

    fn is_active(&self, host: usize) -> bool {
        !matches!(self.hosts[host].state, State::Probing(..))
    }

    /// Whether it is told without a question for just that: addresses only if they are of use.
    fn is_for_everybody(&self, entry: usize) -> bool {
        let entry = &self.entries[entry];
        let service = &self.hosts[entry.host].host.service;
        !entry.is_address() || service.as_ref().is_none_or(|service| service.woken)
    }

    /// Makes the records anew, after a label has changed.
    fn rename(&mut self) -> Result<(), ProtoError> {
        self.entries.clear();
        self.index.clear();
        // Answers are indices, of records that may be others now.
        self.held.clear();
        self.summons.clear();
        let mut shared = HashSet::new();
        for (index, named) in self.hosts.iter().enumerate() {
            for entry in entries(index, &named.host, &named.label)? {
                // Several have services of one kind, which is one record.
                let key = || (LowerName::new(&entry.record.name), entry.data.clone());
                if entry.unique || shared.insert(key()) {
                    self.entries.push(entry);
                }
            }
        }
        self.told = vec![None; self.entries.len()];
        for (place, entry) in self.entries.iter().enumerate() {
            self.index.entry(LowerName::new(&entry.record.name)).or_default().push(place);
        }
        Ok(())
    }

    fn at(&self, name: &Name) -> &[usize] {
        self.index.get(&LowerName::new(name)).map_or(&[], Vec::as_slice)
    }

    /// Asks whether anybody has the host's names, and says what it would do with them.
    fn probe(&self, host: usize) -> Option<Vec<u8>> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        let mut names = HashSet::new();
        for entry in self.entries.iter().filter(|entry| entry.host == host && entry.unique) {
            let name = &entry.record.name;
            if names.insert(LowerName::new(name)) {
                let mut query = Query::query(name.clone(), RecordType::ANY);
                query.set_query_class(DNSClass::from(u16::from(DNSClass::IN) | TOP_BIT));
                message.add_query(query);
            }
            // Those do not count in section 8.2, where it is decided who has asked first.
            if entry.record.record_type() != RecordType::NSEC {
                message.add_authority(entry.record.clone());
            }
        }
        message.to_vec().ok()
    }

    /// Somebody says what they have.
    fn heard(&mut self, message: &Message, now: Moment) {
        let mut lost = HashSet::new();
        for theirs in message.answers.iter().chain(&message.additionals) {
            let ours = self.at(&theirs.name).iter().map(|entry| &self.entries[*entry]);
            let ours: Vec<&Entry> = ours.filter(|entry| entry.unique).collect();
            let Some(host) = ours.first().map(|entry| entry.host) else { continue };
            let Ok(data) = bytes_of(&theirs.data) else { continue };
            let kind = theirs.record_type();
            if theirs.ttl == 0 || u16::from(theirs.dns_class) & !TOP_BIT != u16::from(DNSClass::IN) {
                continue;
            }
            let same = |entry: &&Entry| entry.record.record_type() == kind && entry.data == data;
            let is_taken = match self.hosts[host].state {
                State::Probing(0, _) => false,
                State::Probing(..) => true,
                _ => kind != RecordType::NSEC && ours.iter().any(|entry| entry.record.record_type() == kind),
            };
            if is_taken && !ours.iter().any(same) {
                lost.insert(host);
            }
        }
        self.lose(lost, now);
    }

    /// Somebody else has the names of these hosts. One that had it asks again, and takes another if they insist.
    fn lose(&mut self, lost: HashSet<usize>, now: Moment) {
        let mut renamed = false;
        for index in lost {
            let wait = Duration::from_millis(self.random.below(250).into());
            let named = &mut self.hosts[index];
            if matches!(named.state, State::Probing(..)) {
                named.conflicts = named.conflicts.saturating_add(1);
                let label = format!("{}-{}", named.host.label, named.conflicts + 1);
                tracing::warn!(
                    "{}.local belongs to another host on the link; trying {label}.local",
                    named.label
                );
                named.label = label;
                renamed = true;
            }
            let wait = if named.conflicts > MAX_CONFLICTS { CONFLICT_WAIT } else { wait };
            named.state = State::Probing(0, now.after(wait));
        }
        if renamed && let Err(error) = self.rename() {
            // A label of 63 characters, and no room for a number: it stays silent from now on.
            tracing::warn!("a name cannot be changed, and is not announced: {error}");
            self.hosts.retain(|named| named.label.len() < 64);
            let _names_that_were_good = self.rename();
        }
    }

    fn asked(&mut self, message: &Message, from: SocketAddrV4, now: Moment, effects: &mut Vec<Effect>) {
        self.yield_to(message, now);
        let known: HashSet<usize> = message.answers.iter().flat_map(|record| self.known(record)).collect();
        for held in self.held.iter_mut().filter(|held| held.more && held.source == *from.ip()) {
            held.answers.retain(|answer| !known.contains(answer));
        }
        let (mut for_all, mut for_one) = (Vec::new(), Vec::new());
        for query in message.queries.iter().take(MAX_QUESTIONS) {
            let class = u16::from(query.query_class());
            if class & !TOP_BIT != u16::from(DNSClass::IN) && class & !TOP_BIT != u16::from(DNSClass::ANY) {
                continue;
            }
            let plain = from.port() != PORT;
            let alone = plain || class & TOP_BIT != 0;
            let to = match (plain, alone) {
                (true, _) => Recipient::Plain(from, message.metadata.id, query.clone()),
                (_, true) => Recipient::One(from),
                _ => Recipient::Everybody,
            };
            let mut answers = self.answers(query, from);
            answers.retain(|answer| !known.contains(answer));
            let summoned = answers.iter().copied().find(|answer| self.has_to_start(*answer, query, from));
            answers.retain(|answer| !self.has_to_start(*answer, query, from));
            if let Some(answer) = summoned
                && let Some(service) = self.service_of(answer)
                && self.summons.len() < MAX_SUMMONS
            {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.summons.insert(ticket, Summons { answer, to: to.clone() });
                effects.push(Effect::Summon(service, ticket, *from.ip()));
            }
            match to {
                Recipient::Plain(..) if !answers.is_empty() => {
                    let also = self.also(&answers);
                    self.say(
                        &to,
                        answers.iter().map(|answer| self.told_to_one(*answer)).collect(),
                        &also,
                        effects,
                    );
                }
                Recipient::Plain(..) => {}
                Recipient::One(_) => for_one.extend(answers),
                Recipient::Everybody => for_all.extend(answers),
            }
        }
        // Everybody is to hear from time to time even of what one has asked for (section 5.4).
        let is_fresh = |answer: &usize| {
            let quarter = Duration::from_secs(u64::from(self.entries[*answer].record.ttl) / 4);
            let told = self.told[*answer].is_some_and(|told| now.since(told) < quarter);
            told || !self.is_for_everybody(*answer)
        };
        let (for_one, stale): (Vec<usize>, Vec<usize>) = for_one.into_iter().partition(is_fresh);
        for_all.extend(stale);
        if !for_one.is_empty() {
            let also = self.also(&for_one);
            let answers = for_one.iter().map(|answer| self.told_to_one(*answer)).collect();
            self.say(&Recipient::One(from), answers, &also, effects);
        }
        self.hold(for_all, *from.ip(), message.metadata.truncation, now, effects);
    }

    /// Records that answer the question, of hosts that have their names.
    fn answers(&self, query: &Query, from: SocketAddrV4) -> Vec<usize> {
        let all = self.at(query.name()).iter().copied();
        let all: Vec<usize> = all.filter(|entry| self.is_active(self.entries[*entry].host)).collect();
        let kind = query.query_type();
        let wanted = |entry: &usize| {
            let found = self.entries[*entry].record.record_type();
            let is_kind = found == kind || kind == RecordType::ANY && found != RecordType::NSEC;
            // The address of a service that packets do not start is told to who starts it, and to who must not.
            is_kind && (kind != RecordType::ANY || self.is_for_everybody(*entry))
        };
        let answers: Vec<usize> = all.iter().copied().filter(wanted).collect();
        if !answers.is_empty() {
            return answers;
        }
        // There is nothing of the kind, which only an owner can say; but "anything" of a name whose address is not told
        // must be answered, lest the one who asks takes the name.
        tracing::trace!(%from, name = %query.name(), "nothing of that kind");
        let says_so = |entry: &usize| self.entries[*entry].record.record_type() == RecordType::NSEC;
        all.into_iter().filter(says_so).collect()
    }

    /// Whether the answer is an address that was asked for, by somebody who starts the service with it.
    fn has_to_start(&self, answer: usize, query: &Query, from: SocketAddrV4) -> bool {
        let entry = &self.entries[answer];
        let Some(service) = &self.hosts[entry.host].host.service else { return false };
        let name = || {
            let name = query.name().to_lowercase().to_ascii();
            service.quiet.is_name(name.strip_suffix('.').unwrap_or(&name))
        };
        entry.is_address()
            && query.query_type() == entry.record.record_type()
            && !service.quiet.is_from(IpAddr::V4(*from.ip()))
            && !name()
    }

    fn service_of(&self, answer: usize) -> Option<ServiceId> {
        self.hosts[self.entries[answer].host].host.service.as_ref().map(|service| service.id)
    }

    /// The record as it is told to one client alone.
    fn told_to_one(&self, answer: usize) -> Record {
        let entry = &self.entries[answer];
        record(entry, if self.is_for_everybody(answer) { entry.record.ttl } else { SHORTEST_TTL })
    }

    /// Which of ours the other side knows, and will for a while (section 7.1).
    fn known(&self, theirs: &Record) -> Vec<usize> {
        let Ok(data) = bytes_of(&theirs.data) else { return Vec::new() };
        let same = |place: &usize| {
            let ours = &self.entries[*place];
            ours.record.record_type() == theirs.record_type()
                && ours.data == data
                && theirs.ttl >= ours.record.ttl / 2
        };
        self.at(&theirs.name).iter().copied().filter(same).collect()
    }

    /// Somebody else asks for a name that a host is asking for, too. Whoever has the greater records has it (section
    /// 8.2.1).
    fn yield_to(&mut self, message: &Message, now: Moment) {
        let mut lost = HashSet::new();
        for query in message.queries.iter().take(MAX_QUESTIONS) {
            let mut ours: Vec<(u16, &[u8])> = Vec::new();
            let mut host = None;
            for entry in self.at(query.name()).iter().map(|entry| &self.entries[*entry]) {
                if entry.unique && entry.record.record_type() != RecordType::NSEC {
                    host = Some(entry.host);
                    ours.push((entry.record.record_type().into(), &entry.data));
                }
            }
            let Some(host) = host.filter(|host| matches!(self.hosts[*host].state, State::Probing(1.., _)))
            else {
                continue;
            };
            let of_name = message.authorities.iter().filter(|record| record.name == *query.name());
            let mut theirs: Vec<(u16, Box<[u8]>)> = of_name
                .filter_map(|record| Some((record.record_type().into(), bytes_of(&record.data).ok()?)))
                .collect();
            ours.sort();
            theirs.sort();
            let theirs = theirs.iter().map(|(kind, data)| (*kind, &data[..]));
            if !message.authorities.is_empty() && theirs.gt(ours) {
                lost.insert(host);
            }
        }
        for host in lost {
            self.hosts[host].state = State::Probing(0, now.after(YIELD));
        }
    }

    /// Answers everybody: at once if nobody else can have the same to say.
    fn hold(
        &mut self,
        answers: Vec<usize>,
        source: Ipv4Addr,
        more: bool,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if answers.is_empty() {
            return;
        }
        let unique = answers.iter().all(|answer| self.entries[*answer].unique);
        if unique && !more || self.held.len() >= MAX_HELD {
            return self.answer_everybody(&answers, now, effects);
        }
        // Sections 6 and 7.2.
        let (shortest, room) = if more { (400, 100) } else { (20, 100) };
        let due = now.after(Duration::from_millis(u64::from(shortest + self.random.below(room))));
        self.held.push(Held { due, source, more, answers });
    }

    /// Tells everybody what they have not been told just now.
    fn answer_everybody(&mut self, answers: &[usize], now: Moment, effects: &mut Vec<Effect>) {
        let mut seen = HashSet::new();
        let is_due = |answer: &usize| {
            self.told[*answer].is_none_or(|told| now.since(told) >= PACE) && seen.insert(*answer)
        };
        let due: Vec<usize> = answers.iter().copied().filter(is_due).collect();
        self.tell_everybody(&due, now, effects);
    }

    fn tell_everybody(&mut self, answers: &[usize], now: Moment, effects: &mut Vec<Effect>) {
        for part in answers.chunks(PER_MESSAGE) {
            let also = self.also(part);
            let records = part.iter().map(|answer| self.told_to_one(*answer)).collect();
            self.say(&Recipient::Everybody, records, &also, effects);
            for answer in part {
                if self.is_for_everybody(*answer) {
                    self.told[*answer] = Some(now);
                }
            }
        }
    }

    /// What else whoever gets these answers will want to know (RFC 6763, section 12).
    fn also(&self, answers: &[usize]) -> Vec<usize> {
        let mut also: Vec<usize> = Vec::new();
        for answer in answers {
            let more = self.others_of(*answer);
            also.extend(more.into_iter().filter(|entry| !answers.contains(entry)));
        }
        also.sort();
        also.dedup();
        also.truncate(PER_MESSAGE);
        also
    }

    /// All other records of the same host that are told without being asked for; with an address, its other ones.
    fn others_of(&self, answer: usize) -> Vec<usize> {
        let (host, kind) = (self.entries[answer].host, self.entries[answer].record.record_type());
        let begin = self.entries.partition_point(|entry| entry.host < host);
        let end = self.entries.partition_point(|entry| entry.host <= host);
        let fits = |entry: &usize| {
            let record = &self.entries[*entry].record;
            let wanted = match kind {
                RecordType::PTR => record.record_type() != RecordType::PTR,
                RecordType::SRV | RecordType::A | RecordType::AAAA => {
                    self.entries[*entry].is_address()
                        || record.record_type() == RecordType::NSEC && record.name.num_labels() == 2
                }
                _ => false,
            };
            wanted && *entry != answer && self.is_for_everybody(*entry)
        };
        (begin..end).filter(fits).collect()
    }

    fn say(&self, to: &Recipient, answers: Vec<Record>, also: &[usize], effects: &mut Vec<Effect>) {
        let also = also.iter().map(|entry| self.told_to_one(*entry));
        let (mut number, mut plain) = (0, false);
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        let address = match to {
            Recipient::Everybody => GROUP,
            Recipient::One(address) => *address,
            Recipient::Plain(address, id, query) => {
                (number, plain) = (*id, true);
                message.add_query(query.clone());
                *address
            }
        };
        message.metadata.id = number;
        message.metadata.authoritative = true;
        // Who knows nothing of mDNS knows nothing of the top bit.
        let fit = |mut record: Record| {
            if plain {
                record.dns_class = DNSClass::IN;
                record.ttl = record.ttl.min(PLAIN_TTL);
            }
            record
        };
        message.add_answers(answers.into_iter().map(fit));
        message.add_additionals(also.map(fit));
        match message.to_vec() {
            Ok(bytes) => effects.push(Effect::Send(address, bytes)),
            Err(error) => tracing::error!("an mDNS message could not be encoded: {error}"),
        }
    }
}

/// The record as it is sent: with the top bit if others are to forget what they have (section 10.2).
fn record(entry: &Entry, ttl: u32) -> Record {
    let mut record = entry.record.clone();
    if entry.unique {
        record.dns_class = DNSClass::from(u16::from(DNSClass::IN) | TOP_BIT);
    }
    record.ttl = ttl;
    record
}
