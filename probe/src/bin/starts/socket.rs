//! Starts through a store's socket: a connection for each, as each xl has its own, all at once. Each connection
//! has one request outstanding; whichever is answered goes on.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use probe::starts::{self, APART, Run, Step};
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};

use crate::now;
use crate::process::nanoseconds;

/// Replies that are looked for at a time.
const EVENTS: usize = 256;

/// A request, ready made but for its transaction, so that little of what is measured is the client's.
struct Message {
    kind: Type,
    bytes: Vec<u8>,
    /// Where the transaction began that this ends.
    began: usize,
}

/// One xl, starting one domain.
struct Xl {
    stream: UnixStream,
    messages: Vec<Message>,
    /// The message that is next sent, or was last.
    next: usize,
    /// The open transaction; 0 if there is none.
    tx_id: u32,
    /// What has come of the reply.
    reply: Vec<u8>,
}

/// What is left to do after a reply.
enum Then {
    GoOn,
    /// The transaction was refused; it is begun anew.
    Again,
    Done,
}

/// Starts `count` domains at once, checks that all is there, and removes it. After `patience` the rest is
/// given up.
pub fn run(socket: &Path, count: u16, patience: Duration) -> Result<Run> {
    let mut tool = Tool::connect(socket)?;
    tool.remove_all()?;
    for path in starts::shared(APART) {
        tool.ask(Type::Mkdir, format!("{path}\0").as_bytes())?;
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("making an epoll instance")?;
    let mut all = Vec::new();
    for domid in 1..=count {
        // Answered once, it is accepted, whatever the server does at that.
        let mut stream = Tool::connect(socket)?;
        stream.ask(Type::Read, b"/\0")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(domid - 1));
        epoll.add(&stream.0, event).context("waiting for a connection")?;
        all.push(Xl::new(stream.0, domid));
    }

    let start = now()?;
    let (mut finished, mut retries) = (0, 0);
    for xl in &mut all {
        xl.send()?;
    }
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut took = Duration::ZERO;
    while finished < u32::from(count) && took < patience {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).context("waiting for replies")?;
        for event in &events[..ready] {
            let xl = &mut all[event.data() as usize];
            match xl.receive()? {
                None => {}
                Some(Then::GoOn) => xl.send()?,
                Some(Then::Again) => {
                    retries += 1;
                    xl.send()?;
                }
                Some(Then::Done) => finished += 1,
            }
        }
        took = now()? - start;
    }

    if finished == u32::from(count) {
        for domid in 1..=count {
            let mac = format!("{APART}/local/domain/0/backend/vif/{domid}/0/mac");
            let value = tool.ask(Type::Read, format!("{mac}\0").as_bytes())?;
            if value != b"00:16:3e:00:00:07" {
                bail!("{mac} is {:?}", String::from_utf8_lossy(&value));
            }
        }
    }
    drop(all);
    tool.remove_all()?;
    Ok(Run { starts: count.into(), finished, ns: nanoseconds(took), retries })
}

impl Xl {
    fn new(stream: UnixStream, domid: u16) -> Xl {
        let mut began = 0;
        let steps = starts::apart(domid).into_iter().enumerate();
        let messages = steps.map(|(at, step)| {
            let (kind, payload) = match step {
                Step::Begin => (Type::TransactionStart, b"\0".to_vec()),
                Step::Ask(kind, payload) => (kind, payload),
                Step::Commit => (Type::TransactionEnd, b"T\0".to_vec()),
            };
            if kind == Type::TransactionStart {
                began = at;
            }
            Message { kind, bytes: message(kind, &payload), began }
        });
        Xl { stream, messages: messages.collect(), next: 0, tx_id: 0, reply: Vec::new() }
    }

    fn send(&mut self) -> Result<()> {
        let bytes = &mut self.messages[self.next].bytes;
        bytes[8..12].copy_from_slice(&self.tx_id.to_ne_bytes());
        self.stream.write_all(bytes).context("sending a request")
    }

    /// Reads what has come. If that is the end of the reply: what now.
    fn receive(&mut self) -> Result<Option<Then>> {
        let mut buffer = [0; 512];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the store has hung up"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error).context("reading a reply"),
        };
        self.reply.extend_from_slice(&buffer[..length]);
        let Some(payload) = whole(&self.reply) else { return Ok(None) };
        let message = &self.messages[self.next];
        let refused = self.reply.starts_with(&(Type::Error as u32).to_ne_bytes());
        let mut then = Then::GoOn;
        match message.kind {
            _ if refused && message.kind == Type::TransactionEnd && payload == b"EAGAIN\0" => {
                then = Then::Again;
                self.tx_id = 0;
            }
            // What is not there cannot be removed or read, and libxl does not mind.
            Type::Rm | Type::Read if refused && payload == b"ENOENT\0" => {}
            kind if refused => {
                let request = String::from_utf8_lossy(&message.bytes[XsdSockmsg::SIZE..]);
                bail!("{kind:?} {request:?} was refused: {}", String::from_utf8_lossy(payload));
            }
            Type::TransactionStart => {
                let text = std::str::from_utf8(payload).context("a transaction's number")?;
                self.tx_id = text.trim_end_matches('\0').parse().context("a transaction's number")?;
            }
            Type::TransactionEnd => self.tx_id = 0,
            _ => {}
        }
        self.next = if matches!(then, Then::Again) { message.began } else { self.next + 1 };
        self.reply.clear();
        Ok(Some(if self.next == self.messages.len() { Then::Done } else { then }))
    }
}

/// A connection that asks, and waits for the answer.
struct Tool(UnixStream);

impl Tool {
    fn connect(socket: &Path) -> Result<Tool> {
        let stream = UnixStream::connect(socket);
        stream.map(Tool).with_context(|| format!("connecting to {}", socket.display()))
    }

    /// Asks outside of transactions. What is refused is an empty reply.
    fn ask(&mut self, kind: Type, payload: &[u8]) -> Result<Vec<u8>> {
        self.0.write_all(&message(kind, payload)).context("sending a request")?;
        let mut header = [0; XsdSockmsg::SIZE];
        self.0.read_exact(&mut header).context("reading a reply")?;
        let header = XsdSockmsg::from_bytes(&header);
        let mut reply = vec![0; header.len as usize];
        self.0.read_exact(&mut reply).context("reading a reply")?;
        Ok(if header.kind == kind as u32 { reply } else { Vec::new() })
    }

    /// Removes what starts have made, here or in an earlier run.
    fn remove_all(&mut self) -> Result<()> {
        self.ask(Type::Rm, format!("{APART}\0").as_bytes()).map(drop)
    }
}

/// A request outside of transactions.
fn message(kind: Type, payload: &[u8]) -> Vec<u8> {
    let header = XsdSockmsg { kind: kind as u32, req_id: 1, tx_id: 0, len: payload.len() as u32 };
    [&header.to_bytes()[..], payload].concat()
}

/// The payload of a reply, if all of it is there.
fn whole(reply: &[u8]) -> Option<&[u8]> {
    let header = XsdSockmsg::from_bytes(reply.first_chunk()?);
    reply.get(XsdSockmsg::SIZE..XsdSockmsg::SIZE + header.len as usize)
}
