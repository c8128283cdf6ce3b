//! Clients that speak the wire protocol with a store, for tests.

use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Access, Change, ConnId, Limits, Perms, Store};

/// A reply's payload, or the name of the error.
pub type Answer = Result<Vec<u8>, String>;

/// A store, with helpers to speak to it as a client.
pub struct World {
    pub store: Store,
    next_id: u32,
}

/// A message as it came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub header: XsdSockmsg,
    pub payload: Vec<u8>,
}

pub fn message(kind: u32, req_id: u32, tx_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = XsdSockmsg { kind, req_id, tx_id, len: payload.len() as u32 };
    [&header.to_bytes()[..], payload].concat()
}

/// The whole messages at the front of `bytes`, and how many bytes they are.
pub fn parse(bytes: &[u8]) -> (Vec<Message>, usize) {
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk().map(XsdSockmsg::from_bytes) {
        let start = at + XsdSockmsg::SIZE;
        let Some(payload) = bytes.get(start..start + header.len as usize) else {
            break;
        };
        messages.push(Message { header, payload: payload.to_vec() });
        at = start + payload.len();
    }
    (messages, at)
}

pub fn ok() -> Answer {
    Ok(b"OK\0".to_vec())
}

pub fn error<T>(name: &str) -> Result<T, String> {
    Err(name.to_owned())
}

impl World {
    pub fn new() -> World {
        World::with(Limits::default())
    }

    pub fn with(limits: Limits) -> World {
        World { store: Store::new(limits), next_id: 1 }
    }

    pub fn dom0(&mut self) -> ConnId {
        self.store.connect(DomId::DOM0)
    }

    /// A guest as the toolstack sets it up: it reads its home, owns `data`, and is introduced.
    pub fn guest(&mut self, domid: u16) -> ConnId {
        let domid = DomId(domid);
        let home = format!("/local/domain/{domid}");
        let reads = Perms::new(DomId::DOM0, Access::None).with(domid, Access::Read);
        let owns = Perms::new(domid, Access::None);
        let batch =
            [Change::mkdir(&home).with_perms(reads), Change::mkdir(format!("{home}/data")).with_perms(owns)];
        self.store.commit(&batch).unwrap();
        self.store.introduce(domid);
        self.store.connect(domid)
    }

    /// All that waits for a connection.
    pub fn drain(&mut self, conn: ConnId) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let (messages, used) = parse(self.store.output(conn));
            if used == 0 {
                return all;
            }
            self.store.consume_output(conn, used);
            all.extend(messages);
        }
    }

    /// The events that wait for a connection, as `path token`.
    pub fn events(&mut self, conn: ConnId) -> Vec<String> {
        let messages = self.drain(conn);
        messages.iter().map(event_text).collect()
    }

    /// Sends a request. What waits for the connection must be events; they are dropped.
    pub fn ask(&mut self, conn: ConnId, kind: Type, tx_id: u32, payload: &[u8]) -> Answer {
        let (answer, _) = self.ask_and_hear(conn, kind, tx_id, payload);
        answer
    }

    /// Sends a request, and returns the events too that came with the reply.
    pub fn ask_and_hear(
        &mut self,
        conn: ConnId,
        kind: Type,
        tx_id: u32,
        payload: &[u8],
    ) -> (Answer, Vec<String>) {
        self.drain(conn);
        let req_id = self.next_id;
        self.next_id += 1;
        self.store.receive(conn, &message(kind as u32, req_id, tx_id, payload)).unwrap();
        let mut answer = None;
        let mut events = Vec::new();
        for message in self.drain(conn) {
            let header = message.header;
            if header.kind == Type::WatchEvent as u32 {
                events.push(event_text(&message));
                continue;
            }
            assert_eq!((header.req_id, header.tx_id), (req_id, tx_id), "reply's ids");
            let reply = if header.kind == Type::Error as u32 {
                let name = message.payload.strip_suffix(b"\0").expect("error's nul");
                Err(String::from_utf8(name.to_vec()).unwrap())
            } else {
                assert_eq!(header.kind, kind as u32, "reply's type");
                Ok(message.payload)
            };
            assert!(answer.replace(reply).is_none(), "two replies");
        }
        (answer.expect("a reply"), events)
    }

    pub fn read(&mut self, conn: ConnId, tx: u32, path: &str) -> Answer {
        self.ask(conn, Type::Read, tx, format!("{path}\0").as_bytes())
    }

    pub fn write(&mut self, conn: ConnId, tx: u32, path: &str, value: &str) -> Answer {
        self.ask(conn, Type::Write, tx, format!("{path}\0{value}").as_bytes())
    }

    pub fn mkdir(&mut self, conn: ConnId, tx: u32, path: &str) -> Answer {
        self.ask(conn, Type::Mkdir, tx, format!("{path}\0").as_bytes())
    }

    pub fn rm(&mut self, conn: ConnId, tx: u32, path: &str) -> Answer {
        self.ask(conn, Type::Rm, tx, format!("{path}\0").as_bytes())
    }

    /// The names, joined by blanks.
    pub fn directory(&mut self, conn: ConnId, tx: u32, path: &str) -> Result<String, String> {
        let names = self.ask(conn, Type::Directory, tx, format!("{path}\0").as_bytes())?;
        Ok(joined(&names))
    }

    /// The permissions, joined by blanks.
    pub fn get_perms(&mut self, conn: ConnId, tx: u32, path: &str) -> Result<String, String> {
        let perms = self.ask(conn, Type::GetPerms, tx, format!("{path}\0").as_bytes())?;
        Ok(joined(&perms))
    }

    /// `perms`: separated by blanks.
    pub fn set_perms(&mut self, conn: ConnId, tx: u32, path: &str, perms: &str) -> Answer {
        let payload = format!("{path}\0{}\0", perms.replace(' ', "\0"));
        self.ask(conn, Type::SetPerms, tx, payload.as_bytes())
    }

    /// Sets a watch and takes its first event.
    pub fn watch(&mut self, conn: ConnId, path: &str, token: &str) -> Answer {
        self.ask(conn, Type::Watch, 0, format!("{path}\0{token}\0").as_bytes())
    }

    pub fn begin(&mut self, conn: ConnId) -> u32 {
        let id = self.ask(conn, Type::TransactionStart, 0, b"\0").unwrap();
        String::from_utf8(id).unwrap().trim_end_matches('\0').parse().unwrap()
    }

    pub fn commit(&mut self, conn: ConnId, tx: u32) -> Answer {
        self.ask(conn, Type::TransactionEnd, tx, b"T\0")
    }

    pub fn abort(&mut self, conn: ConnId, tx: u32) -> Answer {
        self.ask(conn, Type::TransactionEnd, tx, b"F\0")
    }
}

pub fn joined(strings: &[u8]) -> String {
    String::from_utf8_lossy(strings).trim_end_matches('\0').replace('\0', " ")
}

fn event_text(message: &Message) -> String {
    assert_eq!(message.header.kind, Type::WatchEvent as u32, "only events wait: {message:?}");
    assert_eq!((message.header.req_id, message.header.tx_id), (0, 0));
    assert_eq!(message.payload.last(), Some(&0));
    joined(&message.payload)
}

/// A small pseudo-random generator (Knuth's MMIX constants); a seed tells all.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}
