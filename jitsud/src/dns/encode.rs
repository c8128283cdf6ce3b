//! Replies as bytes. The question is repeated as it came, byte for byte, and names are compressed to it. What does not
//! fit is left out by whole sets of records (RFC 2181, section 9); hickory's encoder cuts through them, compresses
//! nothing to a question in mixed case, and leaves EDNS out when there is no room for it.

use std::net::IpAddr;

use hickory_server::proto::op::{Edns, ResponseCode};
use hickory_server::proto::rr::{DNSClass, RecordType};

use super::zone::name::suffixes;
use super::zone::{Data, RecordSet};

/// Bytes of a message's header.
pub const HEADER: usize = 12;

/// The header's third byte: replies, where the operation code stands, authoritative answers, truncated ones, and
/// whether recursion is desired.
pub const IS_REPLY: u8 = 0x80;
pub const OPCODE_MASK: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
/// The fourth byte: whether recursion is available, that the client does not want answers checked (RFC 4035, section 3.2.2), and the code.
const RECURSION_AVAILABLE: u8 = 0x80;
const CHECKING_DISABLED: u8 = 0x10;

/// Longest reply over UDP that we promise and send with EDNS: no fragments anywhere (DNS flag day 2020).
pub const EDNS_UDP: u16 = 1232;

/// EDNS option "Extended DNS Error" (RFC 8914, section 2). hickory has no type for it.
pub const EXTENDED_ERROR: u16 = 15;
/// Bytes of an OPT record without options, and of an extended error without its text.
const OPT: usize = 11;
const EXTENDED_ERROR_HEAD: usize = 6;
/// Longest text of an extended error: with the question it fits into a reply of any size.
const MAX_ERROR_TEXT: usize = 200;

/// What a name points to that is told in short: a place in the message (RFC 1035, section 4.1.4).
const POINTER: u16 = 0xc000;

/// A reply of a header alone, for messages whose question is not to be trusted.
pub fn bare(header: &[u8; HEADER], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&header[..2]);
    reply[2] = IS_REPLY | header[2] & (OPCODE_MASK | RECURSION_DESIRED);
    reply[3] = code.low();
    reply
}

/// What goes into a reply beside records.
pub struct Head<'a> {
    /// The question's header.
    pub header: &'a [u8; HEADER],
    /// The question: name, type and class.
    pub question: &'a [u8],
    /// Its EDNS, if it has any: the reply has it if and only if the question had (RFC 6891, section 6.1.1).
    pub edns: Option<&'a Edns>,
    /// Most bytes.
    pub limit: u16,
    /// Whether it is the zone's own answer.
    pub authoritative: bool,
    /// Whether the node asks others what it is not authoritative for.
    pub recursion_available: bool,
    /// How it went.
    pub code: ResponseCode,
    /// A code of RFC 8914 and a text for people.
    pub error: Option<(u16, &'a str)>,
}

/// A reply that grows.
pub struct Encoder<'a> {
    head: Head<'a>,
    bytes: Vec<u8>,
    /// Where the EDNS has to begin at the latest.
    end: usize,
    /// Records in the answer, and beside it.
    counts: [u16; 2],
    truncated: bool,
}

/// Where records stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// The answer.
    Answer,
    /// Who says so.
    Authority,
}

impl<'a> Encoder<'a> {
    /// A reply without records.
    pub fn new(head: Head<'a>) -> Self {
        let text = head.error.map_or(0, |(_, text)| EXTENDED_ERROR_HEAD + text.len().min(MAX_ERROR_TEXT));
        let edns = head.edns.map_or(0, |_| OPT + text);
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; HEADER]);
        bytes.extend_from_slice(head.question);
        let end = usize::from(head.limit).saturating_sub(edns);
        Encoder { head, bytes, end, counts: [0; 2], truncated: false }
    }

    /// Adds all records of a set, beginning with the `first` one and going round; or, if they do not fit, none of them
    /// and nothing after them. `owner` is the question's name if it is `None`.
    pub fn set(&mut self, section: Section, owner: Option<&[u8]>, set: &RecordSet, first: usize) {
        let (before, after) = set.data.split_at(first % set.data.len().max(1));
        self.records(section, owner, set.kind, set.ttl, after.iter().chain(before), Self::data);
    }

    /// Adds addresses to the answer, as [`Self::set`] does: all of one family, which `kind` says.
    pub fn addresses<'i>(
        &mut self,
        owner: Option<&[u8]>,
        kind: RecordType,
        ttl: u32,
        addresses: impl Iterator<Item = &'i IpAddr>,
    ) {
        self.records(Section::Answer, owner, kind, ttl, addresses, |encoder, address| match address {
            IpAddr::V4(address) => encoder.bytes.extend(address.octets()),
            IpAddr::V6(address) => encoder.bytes.extend(address.octets()),
        });
    }

    fn records<D>(
        &mut self,
        section: Section,
        owner: Option<&[u8]>,
        kind: RecordType,
        ttl: u32,
        data: impl Iterator<Item = D>,
        mut write: impl FnMut(&mut Self, D),
    ) {
        if self.truncated {
            return;
        }
        let (begin, mut count) = (self.bytes.len(), 0);
        for data in data {
            match owner {
                Some(owner) => self.name(owner),
                None => self.pointer(HEADER),
            }
            self.bytes.extend(u16::from(kind).to_be_bytes());
            self.bytes.extend(u16::from(DNSClass::IN).to_be_bytes());
            self.bytes.extend(ttl.to_be_bytes());
            let length_at = self.bytes.len();
            self.bytes.extend([0; 2]);
            write(self, data);
            let length = self.bytes.len() - length_at - 2;
            if self.bytes.len() > self.end || length > u16::MAX.into() {
                self.bytes.truncate(begin);
                self.truncated = true;
                return;
            }
            self.bytes[length_at..length_at + 2].copy_from_slice(&(length as u16).to_be_bytes());
            count += 1;
        }
        self.counts[section as usize] += count;
    }

    fn data(&mut self, data: &Data) {
        self.bytes.extend_from_slice(&data.before);
        for name in &data.names {
            self.name(name);
        }
        self.bytes.extend_from_slice(&data.after);
    }

    /// The name, as a pointer into the question as soon as the rest of it stands there.
    fn name(&mut self, name: &[u8]) {
        // Type and class are behind the name.
        let asked = &self.head.question[..self.head.question.len().saturating_sub(4)];
        for suffix in suffixes(name).filter(|suffix| suffix.len() > 1) {
            let same = suffixes(asked).find(|place| place.len() <= suffix.len());
            if let Some(place) = same.filter(|place| place.eq_ignore_ascii_case(suffix)) {
                return self.pointer(HEADER + asked.len() - place.len());
            }
            self.bytes.extend_from_slice(&suffix[..=usize::from(suffix[0])]);
        }
        self.bytes.push(0);
    }

    fn pointer(&mut self, place: usize) {
        self.bytes.extend((POINTER | place as u16).to_be_bytes());
    }

    /// The reply.
    pub fn done(mut self) -> Vec<u8> {
        let Head { header, code, .. } = self.head;
        let available = if self.head.recursion_available { RECURSION_AVAILABLE } else { 0 };
        self.bytes[..2].copy_from_slice(&header[..2]);
        let said = [(self.head.authoritative, AUTHORITATIVE), (self.truncated, TRUNCATED)];
        let said: u8 = said.iter().filter(|(said, _)| *said).map(|(_, bit)| bit).sum();
        self.bytes[2] = IS_REPLY | header[2] & (OPCODE_MASK | RECURSION_DESIRED) | said;
        self.bytes[3] = available | header[3] & CHECKING_DISABLED | code.low();
        let [answers, authorities] = self.counts;
        let edns = u16::from(self.head.edns.is_some());
        let counts = [1, answers, authorities, edns].map(u16::to_be_bytes);
        self.bytes[4..HEADER].copy_from_slice(counts.as_flattened());
        if let Some(edns) = self.head.edns {
            self.bytes.push(0);
            self.bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
            self.bytes.extend(EDNS_UDP.to_be_bytes());
            // Version 0, and of the flags the one that is defined (RFC 3225).
            let flags = if edns.flags().dnssec_ok { 0x80 } else { 0 };
            self.bytes.extend([code.high(), 0, flags, 0]);
            let mut option = Vec::new();
            if let Some((error, text)) = self.head.error {
                let text = &text[..text.floor_char_boundary(MAX_ERROR_TEXT)];
                option.extend(EXTENDED_ERROR.to_be_bytes());
                option.extend((2 + text.len() as u16).to_be_bytes());
                option.extend(error.to_be_bytes());
                option.extend_from_slice(text.as_bytes());
            }
            self.bytes.extend((option.len() as u16).to_be_bytes());
            self.bytes.extend(option);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use hickory_server::proto::op::{Message, OpCode};
    use hickory_server::proto::rr::RData;
    use hickory_server::proto::rr::rdata::{A, CNAME, MX, TXT};

    use super::super::zone::name::{absolute, wire};
    use super::*;

    const QUESTION: &[u8] = b"\x03wWw\x05jitsu\x04TEST\0\0\x01\0\x01";

    fn head(limit: u16, edns: Option<&Edns>) -> Head<'_> {
        Head {
            header: &[0x12, 0x34, RECURSION_DESIRED, 0x70, 0, 1, 0, 0, 0, 0, 0, 0],
            question: QUESTION,
            edns,
            limit,
            authoritative: true,
            recursion_available: false,
            code: ResponseCode::NoError,
            error: None,
        }
    }

    fn set(data: impl IntoIterator<Item = RData>) -> RecordSet {
        let data: Vec<_> = data.into_iter().collect();
        let kind = data[0].record_type();
        RecordSet { kind, ttl: 7, data: data.iter().map(|data| Data::new(data).unwrap()).collect() }
    }

    #[test]
    fn names_are_compressed_to_the_question_whatever_its_spelling() {
        let mut encoder = Encoder::new(head(512, None));
        let alias = set([RData::CNAME(CNAME(absolute("cdn.jitsu.test").unwrap()))]);
        encoder.set(Section::Answer, None, &alias, 0);
        let mx = set([RData::MX(MX::new(10, absolute("www.jitsu.test").unwrap()))]);
        encoder.set(Section::Answer, alias.target(), &mx, 0);
        let foreign = set([RData::MX(MX::new(20, absolute("jitsu.example").unwrap()))]);
        encoder.set(Section::Authority, Some(&wire(&absolute("test").unwrap())), &foreign, 0);
        let reply = encoder.done();
        let expected = [
            &[0x12, 0x34, 0x85, 0x10, 0, 1, 0, 2, 0, 1, 0, 0][..],
            QUESTION,
            b"\xc0\x0c\0\x05\0\x01\0\0\0\x07\0\x06\x03cdn\xc0\x10",
            b"\x03cdn\xc0\x10\0\x0f\0\x01\0\0\0\x07\0\x04\0\x0a\xc0\x0c",
            b"\xc0\x16\0\x0f\0\x01\0\0\0\x07\0\x11\0\x14\x05jitsu\x07example\0",
        ];
        assert_eq!(reply, expected.concat());
        let read = Message::from_vec(&reply).unwrap();
        assert_eq!((read.metadata.op_code, read.answers.len()), (OpCode::Query, 2));
    }

    #[test]
    fn sets_are_left_out_as_a_whole_and_edns_never() {
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        let text =
            set((0..9).map(|number| RData::TXT(TXT::new(vec![format!("{number}{}", "x".repeat(99))]))));
        let address = set([RData::A(A([10, 0, 2, 20].into()))]);
        // What the reply takes in all, and with the address alone.
        let all = |limit| {
            let mut head = head(limit, Some(&edns));
            head.error = Some((0, "why"));
            let mut encoder = Encoder::new(head);
            encoder.set(Section::Answer, None, &address, 0);
            encoder.set(Section::Answer, None, &text, 5);
            encoder.set(Section::Authority, None, &address, 0);
            encoder.done()
        };
        let whole = all(4096);
        let read = Message::from_vec(&whole).unwrap();
        assert!(!read.metadata.truncation);
        assert_eq!((read.answers.len(), read.authorities.len()), (10, 1));
        assert!(read.answers[1].data.to_string().starts_with('5'), "it begins with the one that was wanted");
        assert_eq!(all(whole.len() as u16), whole);
        let without_last = Message::from_vec(&all(whole.len() as u16 - 1)).unwrap();
        assert!(without_last.metadata.truncation);
        assert_eq!((without_last.answers.len(), without_last.authorities.len()), (10, 0));
        let short = all(1000);
        assert!(short.len() <= 1000);
        let read = Message::from_vec(&short).unwrap();
        assert!(read.metadata.truncation && read.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok));
        assert_eq!(
            (read.answers.len(), read.authorities.len()),
            (1, 0),
            "nothing comes after what is left out"
        );
    }
}
