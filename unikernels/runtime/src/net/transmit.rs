//! The transmit half of the network device.
//!
//! Frames are written into pages as they are made. Where the back end takes large segments, those of one connection that
//! follow each other become one until they are handed over ([`Transmitter::publish`]): it then lies in several pages, one
//! behind the other, and is one packet to everybody who looks at it in the node.

use alloc::vec;
use alloc::vec::Vec;

use jitsu_rt_core::large::{self, HEADERS, Large};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket,
};
use xen_sys::PAGE_SIZE;
use xen_sys::io::netif::{
    GsoInfo, NETIF_EXTRA_TYPE_GSO, NETIF_GSO_TYPE_TCPV4, NETIF_NR_SLOTS_MIN, NETIF_RSP_NULL,
    NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, TxRequest, TxResponse,
};

use crate::net::netfront::{Buffer, MAX_FRAME};
use crate::net::ring::FrontRing;
use crate::xen::page::SharedPage;

/// Pages that the back end may hold.
pub(super) const TX_BUFFERS: u16 = 32;
/// Pages of a packet.
const MOST_PAGES: usize = large::MOST.div_ceil(PAGE_SIZE);
const _: () = assert!(MOST_PAGES <= NETIF_NR_SLOTS_MIN);

/// The transmit half.
#[derive(Debug)]
pub(super) struct Transmitter {
    ring: FrontRing<TxRequest, TxResponse>,
    buffers: Vec<Buffer>,
    free: Vec<u16>,
    /// Whether the back end takes large segments and completes checksums.
    offload: bool,
    /// Segments that others may follow, at most one of a connection.
    waiting: Vec<Packet>,
    /// Where a frame is made.
    frame: Vec<u8>,
}

/// A large segment and the pages that it is in.
#[derive(Debug)]
struct Packet {
    large: Large,
    pages: [u16; MOST_PAGES],
}

impl Transmitter {
    /// One that sends from these [`TX_BUFFERS`] pages, to a back end that offers nothing.
    pub(super) fn new(buffers: Vec<Buffer>) -> Self {
        Transmitter {
            ring: FrontRing::new(),
            buffers,
            free: (0..TX_BUFFERS).collect(),
            offload: false,
            waiting: Vec::new(),
            frame: vec![0; MAX_FRAME],
        }
    }

    /// The ring's page.
    pub(super) fn page(&self) -> &SharedPage {
        self.ring.page()
    }

    /// Whether the back end takes large segments and completes checksums.
    pub(super) fn set_offload(&mut self, offload: bool) {
        self.offload = offload;
    }

    /// Whether a packet can be sent now.
    pub(super) fn has_room(&mut self) -> bool {
        while let Some((_, response)) = self.ring.pop() {
            if response.status == NETIF_RSP_NULL {
                continue;
            }
            let id = response.id;
            assert!(id < TX_BUFFERS && !self.free.contains(&id), "netback returned buffer {id}");
            self.free.push(id);
        }
        !self.free.is_empty()
    }

    /// Sends a frame of `length` bytes, at most [`MAX_FRAME`], that `make` fills; TCP's checksum need not be filled in.
    /// It is dropped when every page is in use.
    pub(super) fn compose<R>(&mut self, length: usize, make: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = core::mem::take(&mut self.frame);
        let result = make(&mut frame[..length]);
        if self.offload {
            self.offer(&mut frame[..length]);
        } else {
            fill_checksum(&mut frame[..length]);
            self.send(&frame[..length]);
        }
        self.frame = frame;
        result
    }

    /// Queues a packet as it is, or drops it when every page is in use.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.send_with(frame, NETTXF_DATA_VALIDATED);
    }

    /// Hands over everything that is queued. Says whether the back end is to be notified.
    pub(super) fn publish(&mut self) -> bool {
        while let Some(packet) = self.waiting.pop() {
            self.queue(&packet);
        }
        self.ring.publish()
    }

    /// Asks to be woken when a page comes back; says whether one has.
    pub(super) fn arm(&self) -> bool {
        self.ring.arm()
    }

    /// Lets a frame become a part of the segment that it follows, if it follows one.
    fn offer(&mut self, frame: &mut [u8]) {
        let before = self.waiting.iter().position(|packet| packet.large.concerns(frame));
        if let Some(number) = before {
            if self.join(number, frame) {
                return;
            }
            let packet = self.waiting.swap_remove(number);
            self.queue(&packet);
        }
        match Large::begin(frame) {
            Some(large) => {
                let Some(id) = self.free.pop() else { return };
                self.buffers[usize::from(id)].page.write(0, frame);
                let mut pages = [0; MOST_PAGES];
                pages[0] = id;
                self.waiting.push(Packet { large, pages });
            }
            None => {
                let length = frame.len();
                let begun = large::begin_checksum(frame, length);
                let flags = if begun { NETTXF_CSUM_BLANK } else { 0 };
                self.send_with(frame, flags | NETTXF_DATA_VALIDATED);
            }
        }
    }

    /// Puts a frame's data behind those of a waiting packet, if they follow; says whether it did.
    fn join(&mut self, number: usize, frame: &[u8]) -> bool {
        let Transmitter { buffers, free, waiting, .. } = self;
        let Packet { large, pages } = &mut waiting[number];
        let mut at = large.length();
        let needed = |length: usize| length.div_ceil(PAGE_SIZE);
        let data = frame.get(HEADERS..).unwrap_or_default();
        // A frame has less than a page.
        if needed(at + data.len()) > needed(at) && free.is_empty() || !large.add(frame) {
            return false;
        }
        let mut rest = data;
        while !rest.is_empty() {
            let (page, offset) = (at / PAGE_SIZE, at % PAGE_SIZE);
            if offset == 0 {
                let Some(id) = free.pop() else { break };
                pages[page] = id;
            }
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            buffers[usize::from(pages[page])].page.write(offset, now);
            at += now.len();
            rest = later;
        }
        true
    }

    /// Queues a packet that nothing follows any more.
    fn queue(&mut self, packet: &Packet) {
        let Packet { large, pages } = packet;
        self.buffers[usize::from(pages[0])].page.write(0, &large.headers());
        let length = large.length();
        let count = length.div_ceil(PAGE_SIZE);
        for (number, id) in pages[..count].iter().enumerate() {
            let more = if number + 1 < count { NETTXF_MORE_DATA } else { 0 };
            let gref = self.buffers[usize::from(*id)].grant;
            let request = TxRequest { gref, offset: 0, flags: more, id: *id, size: 0 };
            if number > 0 {
                let size = (length - number * PAGE_SIZE).min(PAGE_SIZE) as u16;
                self.ring.push(TxRequest { size, ..request });
                continue;
            }
            let flags = more | NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
            let first = TxRequest { size: length as u16, flags, ..request };
            let Some(size) = large.segment_size() else {
                self.ring.push(first);
                continue;
            };
            self.ring.push(TxRequest { flags: flags | NETTXF_EXTRA_INFO, ..first });
            self.ring.push_extra(GsoInfo {
                kind: NETIF_EXTRA_TYPE_GSO,
                flags: 0,
                size,
                gso_kind: NETIF_GSO_TYPE_TCPV4,
                pad: 0,
                features: 0,
            });
        }
    }

    fn send_with(&mut self, frame: &[u8], flags: u16) {
        let Some(id) = self.free.pop() else { return };
        let buffer = &self.buffers[usize::from(id)];
        buffer.page.write(0, frame);
        self.ring.push(TxRequest { gref: buffer.grant, offset: 0, flags, id, size: frame.len() as u16 });
    }
}

/// Fills the checksum of a TCP segment over IPv4 in.
fn fill_checksum(frame: &mut [u8]) {
    let is_ipv4 = EthernetFrame::new_checked(&*frame)
        .is_ok_and(|ethernet| ethernet.ethertype() == EthernetProtocol::Ipv4);
    let Some(packet) = frame.get_mut(ETHERNET_HEADER_LEN..).filter(|_| is_ipv4) else { return };
    let Ok(mut packet) = Ipv4Packet::new_checked(packet) else { return };
    let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
    if packet.next_header() == IpProtocol::Tcp
        && let Ok(mut segment) = TcpPacket::new_checked(packet.payload_mut())
    {
        segment.fill_checksum(&from, &to);
    }
}
