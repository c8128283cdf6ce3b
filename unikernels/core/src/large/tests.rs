//! Segments are put together, cut again as Linux does it, and must be what they were.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::*;

const FROM: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const TO: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// A frame with a segment, its checksums filled in.
fn frame(sequence: u32, control: TcpControl, data: &[u8], change: impl FnOnce(&mut TcpRepr<'_>)) -> Vec<u8> {
    let mut tcp = TcpRepr {
        src_port: 80,
        dst_port: 50_000,
        control,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: Some(TcpSeqNumber(7)),
        window_len: 2048,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: data,
    };
    change(&mut tcp);
    let ip = Ipv4Repr {
        src_addr: FROM,
        dst_addr: TO,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let [src_addr, dst_addr] = [1, 2].map(|last| EthernetAddress([2, 0, 0, 0, 0, last]));
    let mut bytes = vec![0; 34 + tcp.buffer_len()];
    EthernetRepr { src_addr, dst_addr, ethertype: EthernetProtocol::Ipv4 }
        .emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[IP..]), &checksums);
    tcp.emit(&mut TcpPacket::new_unchecked(&mut bytes[TCP..]), &FROM.into(), &TO.into(), &checksums);
    bytes
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// Segments of these lengths that follow each other, the last one with `control`.
fn segments(mut sequence: u32, lengths: &[usize], control: TcpControl) -> Vec<Vec<u8>> {
    let make = |(number, length): (usize, &usize)| {
        let control = if number + 1 == lengths.len() { control } else { TcpControl::None };
        let frame = frame(sequence, control, &data(*length), |_| ());
        sequence = sequence.wrapping_add(*length as u32);
        frame
    };
    lengths.iter().enumerate().map(make).collect()
}

/// As `inet_gso_segment` and `tcp_gso_segment` do it (Linux, `net/ipv4/`), and then fills the checksums in.
fn cut(large: &Large, data: &[u8]) -> Vec<Vec<u8>> {
    let headers = large.headers();
    let first = number(&headers, SEQUENCE);
    assert_eq!(folded(sum(&headers[IP..TCP])), 0xffff, "the IP header's checksum");
    let size = large.segment_size().map_or(data.len(), usize::from);
    let count = data.len().div_ceil(size);
    let one = |(number, data): (usize, &[u8])| {
        let mut frame = [&headers[..], data].concat();
        let last = number + 1 == count;
        let length = frame.len() - IP;
        put(&mut frame, TOTAL_LENGTH, length as u16);
        let sequence = first.wrapping_add((number * size) as u32);
        frame[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            frame[FLAGS] &= !(PSH | FIN);
        }
        let mut packet = Ipv4Packet::new_checked(&mut frame[IP..]).unwrap();
        packet.fill_checksum();
        let mut segment = TcpPacket::new_checked(packet.payload_mut()).unwrap();
        segment.fill_checksum(&FROM.into(), &TO.into());
        frame
    };
    data.chunks(size).enumerate().map(one).collect()
}

#[test]
fn what_becomes_one_can_be_cut_again() {
    for (lengths, control) in [
        (&[1460][..], TcpControl::None),
        (&[1460, 1460], TcpControl::None),
        (&[1460, 1460, 1], TcpControl::Psh),
        (&[1460, 1460, 1459], TcpControl::Fin),
        (&[536; 100], TcpControl::Psh),
        (&[1460; 44], TcpControl::None),
        (&[5, 5, 3], TcpControl::None),
        (&[1], TcpControl::Fin),
    ] {
        // Also around the end of the numbers.
        for sequence in [1000, u32::MAX - 1000] {
            let frames = segments(sequence, lengths, control);
            let mut large = Large::begin(&frames[0]).unwrap();
            let mut all = frames[0][HEADERS..].to_vec();
            for frame in &frames[1..] {
                assert!(large.add(frame), "{lengths:?}");
                all.extend(&frame[HEADERS..]);
            }
            assert_eq!(large.length(), HEADERS + all.len());
            assert_eq!(large.segment_size().is_some(), frames.len() > 1);
            assert_eq!(cut(&large, &all), frames, "{lengths:?}");
        }
    }
}

#[test]
fn what_would_be_cut_otherwise_stays_apart() {
    let apart = |first: Vec<u8>, second: Vec<u8>| {
        let large = Large::begin(&first).unwrap();
        let mut both = large;
        assert!(!both.add(&second));
        assert_eq!(both, large, "it is as it was");
    };
    let first = || frame(1000, TcpControl::None, &data(100), |_| ());
    let next = |change: fn(&mut TcpRepr<'_>)| frame(1100, TcpControl::None, &data(100), change);
    assert!(Large::begin(&first()).unwrap().add(&next(|_| ())));
    // Longer than the first one; a gap, or the same once more.
    apart(first(), frame(1100, TcpControl::None, &data(101), |_| ()));
    apart(first(), frame(1101, TcpControl::None, &data(100), |_| ()));
    apart(first(), first());
    // After the last one.
    apart(frame(1000, TcpControl::Psh, &data(100), |_| ()), next(|_| ()));
    apart(frame(1000, TcpControl::Fin, &data(100), |_| ()), next(|_| ()));
    let mut large = Large::begin(&first()).unwrap();
    assert!(large.add(&frame(1100, TcpControl::None, &data(99), |_| ())));
    assert!(!large.add(&frame(1199, TcpControl::None, &data(99), |_| ())), "a short one was the last");
    // Of another connection, or with other news.
    apart(first(), next(|tcp| tcp.dst_port = 50_001));
    apart(first(), next(|tcp| tcp.window_len = 2047));
    apart(first(), next(|tcp| tcp.ack_number = Some(TcpSeqNumber(8))));
    for at in [0, 6, IP + 1, IP + 8, ADDRESSES, ADDRESSES + 4] {
        let mut other = next(|_| ());
        other[at] ^= 1;
        apart(first(), other);
    }
    // More than a packet can have.
    let frames = segments(0, &[1460; 45], TcpControl::None);
    let mut large = Large::begin(&frames[0]).unwrap();
    assert_eq!(frames[1..].iter().filter(|frame| large.add(frame)).count(), 43);
    assert!(large.length() <= MOST);
}

#[test]
fn only_plain_data_begin_a_large_segment() {
    let plain = frame(1000, TcpControl::None, &data(100), |_| ());
    assert!(Large::begin(&plain).is_some());
    for control in [TcpControl::Syn, TcpControl::Rst] {
        assert_eq!(Large::begin(&frame(1000, control, &data(10), |_| ())), None);
    }
    assert_eq!(Large::begin(&frame(1000, TcpControl::None, &[], |_| ())), None);
    assert_eq!(Large::begin(&frame(1000, TcpControl::None, &data(10), |tcp| tcp.ack_number = None)), None);
    let options = frame(1000, TcpControl::None, &data(10), |tcp| {
        tcp.sack_ranges = [Some((1, 2)), None, None];
    });
    assert_eq!(Large::begin(&options), None);
    for (at, value) in [(ETHERTYPE, 0x86), (IP, 0x46), (FRAGMENT, 0x20), (FRAGMENT + 1, 1), (PROTOCOL, 17)] {
        let mut other = plain.clone();
        other[at] = value;
        assert_eq!(Large::begin(&other), None, "{at}");
    }
    for length in 0..plain.len() {
        assert_eq!(Large::begin(&plain[..length]), None, "{length} bytes");
    }
    let large = Large::begin(&plain).unwrap();
    assert!(large.concerns(&frame(0, TcpControl::Rst, &[], |_| ())));
    assert!(!large.concerns(&frame(0, TcpControl::Rst, &[], |tcp| tcp.dst_port = 1)) && !large.concerns(&[]));
}

#[test]
fn a_checksum_that_was_begun_can_be_completed() {
    for length in [0, 1, 2, 1459, 1460] {
        let whole = frame(1000, TcpControl::Psh, &data(length), |_| ());
        let mut begun = whole.clone();
        put(&mut begun, TCP_CHECKSUM, 0xabcd);
        assert!(begin_checksum(&mut begun, whole.len()));
        // As `skb_checksum_help` does it: the sum over all of it, with what was begun in it.
        let mut padded = begun[TCP..].to_vec();
        padded.resize(padded.len().next_multiple_of(2), 0);
        let total = padded.chunks(64).fold(0, |total, part| u32::from(folded(total + sum(part))));
        put(&mut begun, TCP_CHECKSUM, !folded(total));
        assert_eq!(begun, whole, "{length}");
    }
    let mut arp = [0; 60];
    assert!(!begin_checksum(&mut arp, 60) && arp == [0; 60]);
    assert!(!begin_checksum(&mut [0; 20], 20));
}
