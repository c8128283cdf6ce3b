//! How the state's parts are put into bytes, and taken out with every length checked.

use std::time::Duration;

use thiserror::Error;

/// What an image starts with.
pub(super) const IDENT: [u8; 8] = *b"jitsu-xs";
/// Raised whenever a record changes.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 24;

/// Why bytes are not the state of a store.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ImportError {
    /// It does not start as an image does.
    #[error("not a saved XenStore: it does not start with \"jitsu-xs\"")]
    NotOurs,
    /// Written by another version.
    #[error("a saved XenStore of format {0}, and only format {VERSION} is understood")]
    Version(u32),
    /// Cut off, or something is appended.
    #[error("a saved XenStore of {expected} bytes, of which {found} are there")]
    Length {
        /// What the header says.
        expected: u64,
        /// What is there.
        found: usize,
    },
    /// Some bit is not what it was.
    #[error("the saved XenStore is damaged: its checksum is {found:#010x} and should be {expected:#010x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What comes out.
        found: u32,
    },
    /// A record makes no sense.
    #[error("the saved XenStore is damaged in {record} at byte {at}: {what}")]
    Record {
        /// The record's kind.
        record: &'static str,
        /// Where in the image.
        at: usize,
        /// The rule that it breaks.
        what: &'static str,
    },
}

/// The records' kinds, in the order in which they stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub(super) enum Kind {
    End = 0,
    Globals = 1,
    Domain = 2,
    Pace = 3,
    Node = 4,
    Tree = 5,
    Connection = 6,
    Transaction = 7,
    Watch = 8,
    Subscription = 9,
    Event = 10,
    Request = 11,
}

impl Kind {
    pub fn from_number(number: u32) -> Option<Kind> {
        use Kind::*;
        let all = [
            End,
            Globals,
            Domain,
            Pace,
            Node,
            Tree,
            Connection,
            Transaction,
            Watch,
            Subscription,
            Event,
            Request,
        ];
        all.get(number as usize).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::End => "the end record",
            Kind::Globals => "the globals",
            Kind::Domain => "a domain",
            Kind::Pace => "the paces",
            Kind::Node => "a node",
            Kind::Tree => "the tree",
            Kind::Connection => "a connection",
            Kind::Transaction => "a transaction",
            Kind::Watch => "a watch",
            Kind::Subscription => "a subscription",
            Kind::Event => "an event",
            Kind::Request => "a request",
        }
    }
}

/// Puts records together.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Writer {
        Writer(vec![0; HEADER])
    }

    /// Appends a record.
    pub fn record(&mut self, kind: Kind, body: impl FnOnce(&mut Body<'_>)) {
        self.0.extend_from_slice(&(kind as u32).to_le_bytes());
        let length_at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        body(&mut Body(&mut self.0));
        let length = (self.0.len() - length_at - 4) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The image, with its header.
    pub fn finish(mut self) -> Vec<u8> {
        self.record(Kind::End, |_| ());
        let crc = crc32fast::hash(&self.0[HEADER..]);
        let length = (self.0.len() - HEADER) as u64;
        self.0[..8].copy_from_slice(&IDENT);
        self.0[8..12].copy_from_slice(&VERSION.to_le_bytes());
        self.0[12..16].copy_from_slice(&crc.to_le_bytes());
        self.0[16..24].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// A record's body, being written.
pub(super) struct Body<'w>(pub &'w mut Vec<u8>);

impl Body<'_> {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A length or a limit; the greatest of this machine stands for any other's.
    pub fn size(&mut self, value: usize) {
        self.u64(if value == usize::MAX { u64::MAX } else { value as u64 });
    }

    pub fn time(&mut self, value: Duration) {
        self.u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub fn list<T>(&mut self, all: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.u32(all.len() as u32);
        all.for_each(|value| write(self, value));
    }
}

/// Takes an image apart. Every method fails where the bytes end.
pub(super) struct Reader<'r> {
    rest: &'r [u8],
    whole: usize,
    record: &'static str,
}

pub(super) type Read<T> = Result<T, ImportError>;

impl<'r> Reader<'r> {
    /// Checks the header and the checksum.
    pub fn new(image: &'r [u8]) -> Read<Reader<'r>> {
        let Some((header, rest)) = image.split_first_chunk::<HEADER>().filter(|_| image.starts_with(&IDENT))
        else {
            return Err(ImportError::NotOurs);
        };
        let mut header = Reader { rest: &header[8..], whole: image.len(), record: "the header" };
        let (version, crc, length) = (header.u32()?, header.u32()?, header.u64()?);
        if version != VERSION {
            return Err(ImportError::Version(version));
        }
        if rest.len() as u64 != length {
            return Err(ImportError::Length { expected: length, found: rest.len() });
        }
        let found = crc32fast::hash(rest);
        if found != crc {
            return Err(ImportError::Checksum { expected: crc, found });
        }
        Ok(Reader { rest, whole: image.len(), record: "a record's header" })
    }

    /// An entry of a journal, which was checked.
    pub fn of_entry(entry: &'r [u8]) -> Reader<'r> {
        Reader { rest: entry, whole: entry.len(), record: "a journal's entry" }
    }

    /// The next record's kind and body.
    pub fn record(&mut self) -> Read<(Kind, Reader<'r>)> {
        let kind = self.u32()?;
        let length = self.u32()? as usize;
        let whole = self.whole - self.rest.len() + length;
        let rest = self.take(length)?;
        let kind = Kind::from_number(kind).ok_or_else(|| self.wrong("of no known kind"))?;
        Ok((kind, Reader { rest, whole, record: kind.name() }))
    }

    /// An error about what was just read.
    pub fn wrong(&self, what: &'static str) -> ImportError {
        ImportError::Record { record: self.record, at: self.whole - self.rest.len(), what }
    }

    /// Fails unless a rule is kept.
    pub fn rule(&self, kept: bool, what: &'static str) -> Read<()> {
        if kept { Ok(()) } else { Err(self.wrong(what)) }
    }

    /// Fails if something is left over.
    pub fn end(&self) -> Read<()> {
        self.rule(self.rest.is_empty(), "longer than it should be")
    }

    pub fn take(&mut self, length: usize) -> Read<&'r [u8]> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or_else(|| self.wrong("cut off"))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk().ok_or_else(|| self.wrong("cut off"))?;
        self.rest = tail;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Read<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn flag(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong("neither yes nor no")),
        }
    }

    pub fn u16(&mut self) -> Read<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn size(&mut self) -> Read<usize> {
        Ok(usize::try_from(self.u64()?).unwrap_or(usize::MAX))
    }

    pub fn time(&mut self) -> Read<Duration> {
        Ok(Duration::from_nanos(self.u64()?))
    }

    pub fn bytes(&mut self) -> Read<&'r [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub fn text(&mut self) -> Read<&'r str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("not text"))
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Each entry takes at least a byte, so that the list is no longer than the image.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let length = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..length {
            all.push(read(self)?);
        }
        Ok(all)
    }
}
