//! Whether a guest that knows nothing of the node accepts connections yet: it is asked, as a client would ask it.
//!
//! Nothing tells when an ordinary server listens: its guest's network comes up before, and a SYN that is passed on in
//! between is answered by an RST. So the node sends SYNs of its own on the guest's interface, beside the bridge, until
//! one is answered by a SYN-ACK; clients' SYNs are held meanwhile. There is no event to wait for; the waits begin with
//! [`FIRST_WAIT`] and double up to [`LONGEST_WAIT`]. Before each SYN goes an ARP request, for it tells the guest the
//! node's address on the link.
//!
//! Pure: frames in, frames out, time as an argument.

use std::net::Ipv4Addr;
use std::time::Duration;

use capture::Moment;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

/// From the first SYN to the second.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// The longest time between two.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// Headers of Ethernet, IPv4 and TCP.
const SEGMENT: usize = 14 + 20 + 20;
/// An ARP packet for IPv4, in its frame.
const ARP: usize = 14 + 28;

/// One end of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Its address on the link.
    pub mac: [u8; 6],
    /// Its address.
    pub address: Ipv4Addr,
    /// Its TCP port.
    pub port: u16,
}

/// A guest that is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    node: End,
    guest: End,
    sequence: u32,
    due: Moment,
    wait: Duration,
}

impl Probe {
    /// It is asked from `now` on. `sequence` is the SYNs' number.
    pub fn new(now: Moment, node: End, guest: End, sequence: u32) -> Self {
        Probe { node, guest, sequence, due: now, wait: FIRST_WAIT }
    }

    /// When the next SYN is due.
    pub fn due(&self) -> Moment {
        self.due
    }

    /// What is to be sent to the guest now, if anything is due.
    pub fn ask(&mut self, now: Moment) -> Option<[Vec<u8>; 2]> {
        if now < self.due {
            return None;
        }
        self.due = now.after(self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Some([self.request(), self.segment(TcpControl::Syn, self.sequence, None)])
    }

    /// What is to be sent to the guest if `frame`, which it has sent, says that it listens: the end of that connection.
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let ours = ethernet.ethertype() == EthernetProtocol::Ipv4
            && (ip.src_addr(), ip.dst_addr()) == (self.guest.address, self.node.address)
            && ip.next_header() == IpProtocol::Tcp;
        let tcp = TcpPacket::new_checked(ip.payload()).ok().filter(|_| ours)?;
        let next = TcpSeqNumber(self.sequence.wrapping_add(1) as i32);
        let answers = (tcp.src_port(), tcp.dst_port()) == (self.guest.port, self.node.port)
            && tcp.syn()
            && tcp.ack()
            && tcp.ack_number() == next;
        answers.then(|| self.segment(TcpControl::Rst, self.sequence.wrapping_add(1), None))
    }

    fn request(&self) -> Vec<u8> {
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(self.node.mac),
            source_protocol_addr: self.node.address,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: self.guest.address,
        };
        let mut bytes = vec![0; ARP];
        let mut frame = self.header(EthernetProtocol::Arp, &mut bytes);
        arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        bytes
    }

    fn segment(&self, control: TcpControl, sequence: u32, ack: Option<u32>) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: self.node.port,
            dst_port: self.guest.port,
            control,
            seq_number: TcpSeqNumber(sequence as i32),
            ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
            window_len: if control == TcpControl::Syn { 1024 } else { 0 },
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let ip = Ipv4Repr {
            src_addr: self.node.address,
            dst_addr: self.guest.address,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let mut bytes = vec![0; SEGMENT];
        let mut frame = self.header(EthernetProtocol::Ipv4, &mut bytes);
        let checksums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
        tcp.emit(&mut segment, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums);
        bytes
    }

    fn header<'b>(&self, kind: EthernetProtocol, bytes: &'b mut [u8]) -> EthernetFrame<&'b mut [u8]> {
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.node.mac),
            dst_addr: EthernetAddress(self.guest.mac),
            ethertype: kind,
        };
        let mut frame = EthernetFrame::new_unchecked(bytes);
        ethernet.emit(&mut frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: End = End { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(10, 0, 0, 1), port: 50_000 };
    const GUEST: End = End { mac: [2, 0, 0, 0, 0, 2], address: Ipv4Addr::new(10, 0, 0, 2), port: 80 };

    fn milliseconds(count: u64) -> Moment {
        Moment(count * 1_000_000)
    }

    #[test]
    fn it_is_asked_less_and_less_often() {
        let mut probe = Probe::new(milliseconds(0), NODE, GUEST, 7);
        let mut asked = Vec::new();
        for now in 0..1200 {
            if probe.ask(milliseconds(now)).is_some() {
                asked.push(now);
            }
        }
        assert_eq!(asked, [0, 10, 30, 70, 150, 310, 510, 710, 910, 1110]);
    }

    #[test]
    fn a_syn_ack_to_it_is_the_answer_and_nothing_else() {
        let mut probe = Probe::new(milliseconds(0), NODE, GUEST, u32::MAX);
        let [arp, syn] = probe.ask(milliseconds(0)).expect("a first question");
        assert_eq!((arp.len(), syn.len()), (42, 54));
        // The guest's own end, and what it says of it.
        let guest = Probe::new(milliseconds(0), GUEST, NODE, 99);
        let says = |ack: Option<u32>| {
            let mut frame = guest.segment(TcpControl::Syn, 99, ack);
            frame.resize(60, 0);
            frame
        };
        let end = probe.answer(&says(Some(0))).expect("the answer");
        let tcp = TcpPacket::new_checked(&end[34..]).expect("a segment");
        assert!(tcp.rst() && !tcp.syn() && tcp.seq_number() == TcpSeqNumber(0));
        assert!(tcp.verify_checksum(&NODE.address.into(), &GUEST.address.into()));
        for other in
            [says(Some(1)), says(None), guest.segment(TcpControl::Rst, 99, Some(0)), syn, arp, vec![0; 60]]
        {
            assert_eq!(probe.answer(&other), None, "{other:02x?}");
        }
    }
}
