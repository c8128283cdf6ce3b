//! The front end of a Xen network device, for Linux's xen-netback (`drivers/net/xen-netback`).
//!
//! One queue, one event channel, packets received by copy, one page for each. Pages are granted once and used again and
//! again. What is sent may be large segments with checksums that the back end completes ([`transmit`](super::transmit)); for
//! what is received offloads are declined: every packet is an Ethernet frame with its checksum filled in.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use xen_sys::io::netif::{NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, RxRequest, RxResponse};
use xen_sys::io::xenbus::XenbusState;
use xen_sys::{DomId, EvtchnPort, GrantRef, PAGE_SIZE};

use crate::net::ring::FrontRing;
use crate::net::transmit::{TX_BUFFERS, Transmitter};
use crate::xen::HypercallError;
use crate::xen::event;
use crate::xen::grant::GrantTable;
use crate::xen::page::SharedPage;
use crate::xen::store::{Request, XenStore, XsError};

/// Receive buffers, of one page each. A power of two, so that buffer = ring index modulo this.
const RX_BUFFERS: u32 = 64;
/// Ethernet header and 1500 bytes.
pub const MAX_FRAME: usize = 1514;

/// Where the device stands in the store, relative to the guest.
const DEVICE: &str = "device/vif/0";
/// Where the back end says that it takes large segments. It then takes packets of several pages, too, and completes
/// checksums (`drivers/net/xen-netback/xenbus.c`).
const OFFLOAD: &str = "feature-gso-tcpv4";
/// Marks events of the watch on the back end's state.
const WATCH_TOKEN: &str = "netback";

/// Why there is no network.
#[derive(Debug)]
pub enum NetfrontError {
    /// A key of the device could not be read or written.
    Store(&'static str, XsError),
    /// Xen refused an event channel.
    Event(HypercallError),
    /// The back end gave up instead of connecting.
    BackendClosed(XenbusState),
}

impl fmt::Display for NetfrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetfrontError::Store(key, error) => write!(f, "{DEVICE}/{key}: {error}"),
            NetfrontError::Event(error) => error.fmt(f),
            NetfrontError::BackendClosed(state) => {
                write!(f, "{DEVICE}: the back end went to {state} instead of Connected")
            }
        }
    }
}

/// A page that the back end may read or write.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) page: SharedPage,
    pub(super) grant: GrantRef,
}

/// The receive half.
#[derive(Debug)]
pub(super) struct Receiver {
    ring: FrontRing<RxRequest, RxResponse>,
    buffers: Vec<Buffer>,
    frame: [u8; MAX_FRAME],
    /// Inside a packet that spans several pages, which is dropped.
    dropping: bool,
}

impl Receiver {
    fn post(&mut self, index: u32) {
        let id = index % RX_BUFFERS;
        let gref = self.buffers[id as usize].grant;
        self.ring.push(RxRequest { id: id as u16, pad: 0, gref });
    }

    /// Whether a packet may have come.
    pub(super) fn has_response(&self) -> bool {
        self.ring.has_response()
    }

    /// The next packet, copied out of its page.
    pub(super) fn receive(&mut self) -> Option<&[u8]> {
        loop {
            // A response stands where its request stood, and requests are posted in order: the index
            // tells the buffer, whatever the back end says.
            let (index, response) = self.ring.pop()?;
            let start = usize::from(response.offset);
            let end = start + usize::from(response.status.max(0).unsigned_abs());
            let more = response.flags & (NETRXF_MORE_DATA | NETRXF_EXTRA_INFO) != 0;
            let dropped = self.dropping || more;
            self.dropping = more;
            let length = end - start;
            let usable = !dropped && (1..=MAX_FRAME).contains(&length) && end <= PAGE_SIZE;
            if usable {
                let buffer = &self.buffers[(index % RX_BUFFERS) as usize];
                buffer.page.read(start, &mut self.frame[..length]);
            }
            self.post(index);
            if usable {
                return Some(&self.frame[..length]);
            }
        }
    }
}

/// What there is to do, and what an event will be for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Armed {
    /// Whether a packet can be sent now.
    pub can_send: bool,
    /// Whether what an event would say has happened already, so that the guest must not sleep.
    pub has_work: bool,
}

/// The device.
#[derive(Debug)]
pub struct Netfront {
    pub(super) tx: Transmitter,
    pub(super) rx: Receiver,
    port: EvtchnPort,
    mac: [u8; 6],
    backend_state: String,
    backend_offload: String,
}

impl Netfront {
    /// Makes the rings and tells the back end where they are. Does not wait for it.
    ///
    /// # Errors
    /// There is no such device, or Xen refuses an event channel.
    pub fn publish(store: &mut XenStore, grants: &mut GrantTable) -> Result<Self, NetfrontError> {
        let [backend, domain, mac] = ["backend", "backend-id", "mac"]
            .map(|key| (key, store.request(Request::Read(&format!("{DEVICE}/{key}")))));
        let failed = |key| move |error| NetfrontError::Store(key, error);
        let domain: u16 = store.wait_number(domain.1).map_err(failed(domain.0))?;
        let domain = DomId(domain);

        let mut buffers = |count: usize| -> Vec<Buffer> {
            let share = |page| Buffer { grant: grants.share(&page, domain), page };
            SharedPage::allocate_buffers(count).into_iter().map(share).collect()
        };
        let tx = Transmitter::new(buffers(usize::from(TX_BUFFERS)));
        let mut rx = Receiver {
            ring: FrontRing::new(),
            buffers: buffers(RX_BUFFERS as usize),
            frame: [0; MAX_FRAME],
            dropping: false,
        };
        for index in 0..RX_BUFFERS {
            rx.post(index);
        }
        // Nobody is there yet to be notified.
        let _notify = rx.ring.publish();

        let backend = store.wait_text(backend.1).map_err(failed(backend.0))?;
        let text = store.wait_text(mac.1).map_err(failed(mac.0))?;
        let mac = parse_mac(&text).ok_or(NetfrontError::Store(mac.0, XsError::BadValue))?;

        let backend_state = format!("{backend}/state");
        let backend_offload = format!("{backend}/{OFFLOAD}");
        let port = event::alloc_unbound(domain).map_err(NetfrontError::Event)?;
        let keys = [
            ("tx-ring-ref", grants.share(tx.page(), domain).0),
            ("rx-ring-ref", grants.share(rx.ring.page(), domain).0),
            ("event-channel", port.0),
            ("request-rx-copy", 1),
            ("feature-rx-notify", 1),
            ("feature-no-csum-offload", 1),
            // Last: it makes the back end read the others.
            ("state", XenbusState::Connected as u32),
        ];
        // The watch comes before the state, so that the back end cannot connect before it is set.
        store.post(Request::Watch(&backend_state, WATCH_TOKEN));
        for (key, value) in keys {
            let path = format!("{DEVICE}/{key}");
            store.post(Request::Write(&path, format!("{value}").as_bytes()));
        }
        store.poll();
        Ok(Netfront { tx, rx, port, mac, backend_state, backend_offload })
    }

    /// Waits until the back end has connected.
    ///
    /// # Errors
    /// It went away, or its state cannot be read.
    pub fn wait_connected(&mut self, store: &mut XenStore) -> Result<(), NetfrontError> {
        // A new watch fires once by itself; that says nothing.
        wait_event(store);
        loop {
            wait_event(store);
            let read = store.request(Request::Read(&self.backend_state));
            // At once with the state, which is why the back end has been heard of.
            let offload = store.request(Request::Read(&self.backend_offload));
            let state = match store.wait(read) {
                Ok(value) => XenbusState::parse(&value),
                Err(error) if error.is_not_found() => XenbusState::Closed,
                Err(error) => return Err(NetfrontError::Store("backend", error)),
            };
            let offload = store.wait(offload);
            match state {
                XenbusState::Connected => {
                    self.tx.set_offload(offload.is_ok_and(|value| value == b"1"));
                    break;
                }
                XenbusState::Closing | XenbusState::Closed => {
                    return Err(NetfrontError::BackendClosed(state));
                }
                _ => {}
            }
        }
        store.post(Request::Unwatch(&self.backend_state, WATCH_TOKEN));
        Ok(())
    }

    /// The device's own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Queues a packet, or drops it when the back end holds too many.
    pub fn send(&mut self, frame: &[u8]) {
        if self.tx.has_room() {
            self.tx.send(frame);
        }
    }

    /// Hands everything queued to the back end, and used receive buffers back to it.
    pub fn flush(&mut self) {
        let receive = self.rx.ring.publish();
        let transmit = self.tx.publish();
        if receive || transmit {
            event::notify(self.port);
        }
    }

    /// Asks to be woken when a packet comes, or, where none can be sent, when one can: nothing is received before that.
    pub fn arm(&mut self) -> Armed {
        // Asked once: what is waited for depends on it.
        let can_send = self.tx.has_room();
        // While pages are free, the return of others is noticed when the next packet is sent.
        let has_work = if can_send { self.rx.ring.arm() } else { self.tx.arm() };
        Armed { can_send, has_work }
    }
}

/// Waits for the back end's watch to fire.
fn wait_event(store: &mut XenStore) {
    loop {
        match store.take_event() {
            Some(event) if event.token == WATCH_TOKEN => return,
            Some(_) => {}
            None => {
                event::wait(None);
                store.poll();
            }
        }
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}
