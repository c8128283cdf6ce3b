//! Changes in XenStore, and when they were heard of.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use probe::host::now;
use xen_sys::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg, XsdSockmsgType as Type};

/// Where Xen's tools look for XenStore.
const SOCKET: &str = "/run/xenstored/socket";

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Where.
    pub path: String,
}

/// Changes in their order.
pub struct Events(pub Vec<Event>);

impl Events {
    /// When `path` changed first.
    pub fn first(&self, path: &str) -> Option<u64> {
        self.0.iter().find(|event| event.path == path).map(|event| event.at_ns)
    }

    /// When `path` changed last.
    pub fn last(&self, path: &str) -> Option<u64> {
        self.0.iter().rfind(|event| event.path == path).map(|event| event.at_ns)
    }
}

/// A watch on everything below a path.
pub struct Watch(UnixStream);

/// A message from the store.
enum Message {
    Event(Event),
    /// The answer to [`Watch::tell`].
    Told,
}

impl Watch {
    /// Sets one, and returns when it is set.
    pub fn set(path: &str) -> Result<Watch> {
        let stream = UnixStream::connect(SOCKET).with_context(|| format!("connecting to {SOCKET}"))?;
        let mut watch = Watch(stream);
        watch.send(Type::Watch, format!("{path}\0any\0").as_bytes())?;
        Ok(watch)
    }

    /// Notes all changes until [`Watch::tell`].
    pub fn until_told(&mut self) -> Result<JoinHandle<Result<Events>>> {
        let mut reader = Watch(self.0.try_clone().context("a second handle of the socket")?);
        Ok(std::thread::spawn(move || {
            let mut events = Vec::new();
            while let Message::Event(event) = reader.next()? {
                events.push(event);
            }
            Ok(Events(events))
        }))
    }

    /// Ends [`Watch::until_told`] behind all changes so far: the store answers in order.
    pub fn tell(&mut self) -> Result<()> {
        self.send(Type::Directory, b"/\0")
    }

    /// Waits for a change of a path that `wanted` accepts; when it was.
    pub fn until(mut self, wanted: impl Fn(&str) -> bool + Send + 'static) -> JoinHandle<Result<u64>> {
        std::thread::spawn(move || {
            loop {
                match self.next()? {
                    Message::Event(event) if wanted(&event.path) => return Ok(event.at_ns),
                    _ => {}
                }
            }
        })
    }

    fn send(&mut self, kind: Type, payload: &[u8]) -> Result<()> {
        let header = XsdSockmsg { kind: kind as u32, req_id: 1, tx_id: 0, len: payload.len() as u32 };
        self.0.write_all(&[&header.to_bytes()[..], payload].concat()).context("asking XenStore")
    }

    fn next(&mut self) -> Result<Message> {
        loop {
            let mut header = [0; XsdSockmsg::SIZE];
            self.0.read_exact(&mut header).context("reading from XenStore")?;
            let header = XsdSockmsg::from_bytes(&header);
            let length = header.len as usize;
            if length > XENSTORE_PAYLOAD_MAX {
                bail!("XenStore sent a message of {length} bytes");
            }
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).context("reading from XenStore")?;
            match header.kind {
                kind if kind == Type::WatchEvent as u32 => {
                    let path = payload.split(|byte| *byte == 0).next().unwrap_or_default();
                    let path = String::from_utf8_lossy(path).into_owned();
                    return Ok(Message::Event(Event { at_ns: now()?, path }));
                }
                kind if kind == Type::Directory as u32 => return Ok(Message::Told),
                kind if kind == Type::Watch as u32 => {}
                kind => bail!("XenStore answered with type {kind}: {:?}", String::from_utf8_lossy(&payload)),
            }
        }
    }
}
