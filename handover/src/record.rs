//! A connection as it is handed over, and its bytes.
//!
//! All numbers are big-endian:
//!
//! | bytes | what                                                                                   |
//! |-------|----------------------------------------------------------------------------------------|
//! | 0     | version: 1                                                                             |
//! | 1     | state: 0 SYN-RECEIVED, 1 ESTABLISHED, 2 CLOSE-WAIT                                     |
//! | 2     | 4 or 6, the version of IP                                                              |
//! | 3     | bits: 0 window scales, 1 SACK, 2 timestamps                                            |
//! | 4–19  | local address, IPv4's in the first four bytes and zeros                                |
//! | 20–35 | remote address                                                                         |
//! | 36–39 | local and remote port                                                                  |
//! | 40–71 | ISS, IRS, SND.UNA, SND.NXT, SND.WND (bytes, not scaled), SND.WL1, SND.WL2, RCV.NXT     |
//! | 72–73 | the peer's MSS                                                                         |
//! | 74–75 | window scales: of windows that the peer sends, of those that the guest sends           |
//! | 76–83 | TS.Recent, and what is added to a clock of milliseconds for TSval                      |
//! | 84–89 | the link address that the client is reached at                                         |
//! | 90–93 | how many bytes of data follow                                                          |

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A connection as far as it has come, for a guest to go on with. Names are those of RFC 9293, section 3.3.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// How far it has come.
    pub state: State,
    /// The guest's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// Where frames to the client go: its own link address, or a router's. The guest cannot ask for it: until it has
    /// its address, the answer would not come to it.
    pub mac: [u8; 6],
    /// Initial send sequence number.
    pub iss: u32,
    /// Initial receive sequence number.
    pub irs: u32,
    /// Oldest sequence number that the peer has not acknowledged.
    pub snd_una: u32,
    /// Next one to be sent. Nothing but the SYN has been sent.
    pub snd_nxt: u32,
    /// How much the peer takes, in bytes.
    pub snd_wnd: u32,
    /// Sequence number of the segment that said so.
    pub snd_wl1: u32,
    /// Acknowledgement number of that segment.
    pub snd_wl2: u32,
    /// Next sequence number that is expected. All before it has been acknowledged and is in `data`.
    pub rcv_nxt: u32,
    /// Largest segment that the peer takes, in bytes.
    pub mss: u16,
    /// If both sides scale their windows.
    pub window_scales: Option<WindowScales>,
    /// If selective acknowledgements may be sent.
    pub sack: bool,
    /// If segments have timestamps.
    pub timestamps: Option<Timestamps>,
    /// What the client has sent so far.
    pub data: Vec<u8>,
}

/// The states that a connection can be handed over in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The SYN-ACK has not been acknowledged; the guest sends it again if need be.
    SynReceived,
    /// Open.
    Established,
    /// The client has sent all that it will.
    CloseWait,
}

/// Shifts of windows (RFC 7323, section 2), at most 14.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowScales {
    /// Of windows that the peer sends.
    pub theirs: u8,
    /// Of windows that the guest sends.
    pub ours: u8,
}

/// Timestamps (RFC 7323, section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// TS.Recent: what the next segment echoes.
    pub recent: u32,
    /// What is added to the node's monotonic clock, in ms, to have TSval.
    pub offset: u32,
}

impl Timestamps {
    /// TSval when the node's monotonic clock shows so many ms.
    pub fn value(&self, clock: u32) -> u32 {
        self.offset.wrapping_add(clock)
    }
}

/// Bytes that are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotARecord;

impl fmt::Display for NotARecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the record of a connection: it is cut off, of another version, or has a value that cannot be")
    }
}

impl core::error::Error for NotARecord {}

const VERSION: u8 = 1;
/// Bytes of a record without data.
pub const FIXED: usize = 94;
/// RFC 7323, section 2.3.
pub(crate) const LARGEST_SHIFT: u8 = 14;

impl Record {
    /// Bytes that [`Record::encode`] adds.
    pub fn encoded_len(&self) -> usize {
        FIXED + self.data.len()
    }

    /// Adds the record to these bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.encoded_len());
        let family = if self.local.is_ipv4() { 4 } else { 6 };
        let bits = u8::from(self.window_scales.is_some())
            | u8::from(self.sack) << 1
            | u8::from(self.timestamps.is_some()) << 2;
        bytes.extend([VERSION, self.state as u8, family, bits]);
        for address in [self.local.ip(), self.remote.ip()] {
            let mut octets = [0; 16];
            match address {
                IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
                IpAddr::V6(address) => octets = address.octets(),
            }
            bytes.extend(octets);
        }
        let WindowScales { theirs, ours } = self.window_scales.unwrap_or(WindowScales { theirs: 0, ours: 0 });
        let Timestamps { recent, offset } = self.timestamps.unwrap_or(Timestamps { recent: 0, offset: 0 });
        let Record { iss, irs, snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, rcv_nxt, .. } = *self;
        bytes.extend([self.local.port(), self.remote.port()].map(u16::to_be_bytes).concat());
        bytes.extend(
            [iss, irs, snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, rcv_nxt].map(u32::to_be_bytes).concat(),
        );
        bytes.extend(self.mss.to_be_bytes());
        bytes.extend([theirs, ours]);
        bytes.extend([recent, offset].map(u32::to_be_bytes).concat());
        bytes.extend(self.mac);
        bytes.extend((self.data.len() as u32).to_be_bytes());
        bytes.extend(&self.data);
    }

    /// The record that is at the front of these bytes, and what follows it.
    ///
    /// # Errors
    /// If there is none.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), NotARecord> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>().ok_or(NotARecord)?;
        let short = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let long = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let state = match fixed[1] {
            0 => State::SynReceived,
            1 => State::Established,
            2 => State::CloseWait,
            _ => return Err(NotARecord),
        };
        let address = |at: usize| match (fixed[2], fixed[at..at + 16].first_chunk::<16>()) {
            (4, Some(&[a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) => {
                Ok(Ipv4Addr::new(a, b, c, d).into())
            }
            (6, Some(octets)) => Ok(IpAddr::V6(Ipv6Addr::from(*octets))),
            _ => Err(NotARecord),
        };
        let bit = |number: u8| fixed[3] & 1 << number != 0;
        let scales = WindowScales { theirs: fixed[74], ours: fixed[75] };
        let timestamps = Timestamps { recent: long(76), offset: long(80) };
        let (data, rest) = rest.split_at_checked(long(90) as usize).ok_or(NotARecord)?;
        let unused = fixed[3] >> 3 != 0
            || !bit(0) && (scales.theirs, scales.ours) != (0, 0)
            || !bit(2) && (timestamps.recent, timestamps.offset) != (0, 0);
        if fixed[0] != VERSION || unused || scales.theirs.max(scales.ours) > LARGEST_SHIFT {
            return Err(NotARecord);
        }
        let record = Record {
            state,
            local: (address(4)?, short(36)).into(),
            remote: (address(20)?, short(38)).into(),
            mac: [fixed[84], fixed[85], fixed[86], fixed[87], fixed[88], fixed[89]],
            iss: long(40),
            irs: long(44),
            snd_una: long(48),
            snd_nxt: long(52),
            snd_wnd: long(56),
            snd_wl1: long(60),
            snd_wl2: long(64),
            rcv_nxt: long(68),
            mss: short(72),
            window_scales: bit(0).then_some(scales),
            sack: bit(1),
            timestamps: bit(2).then_some(timestamps),
            data: data.to_vec(),
        };
        Ok((record, rest))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// With a client at this port.
    pub(crate) fn record(port: u16) -> Record {
        Record {
            state: State::Established,
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 2], port).into(),
            mac: [2, 0, 0, 0, 0, 9],
            iss: 1,
            irs: u32::MAX,
            snd_una: 2,
            snd_nxt: 3,
            snd_wnd: 1 << 20,
            snd_wl1: 5,
            snd_wl2: 6,
            rcv_nxt: 7,
            mss: 1460,
            window_scales: Some(WindowScales { theirs: 7, ours: 3 }),
            sack: true,
            timestamps: Some(Timestamps { recent: 8, offset: 9 }),
            data: b"GET / HTTP/1.1\r\n".to_vec(),
        }
    }

    #[test]
    fn a_record_is_the_same_afterwards() {
        let whole = record(40000);
        let bare =
            Record { window_scales: None, sack: false, timestamps: None, data: vec![], ..whole.clone() };
        let remote = ("fd00::2".parse::<IpAddr>().expect("an address"), 1).into();
        let six = Record { local: (Ipv6Addr::LOCALHOST, 80).into(), remote, ..record(1) };
        let closed = Record { state: State::CloseWait, ..six.clone() };
        let half = Record { state: State::SynReceived, ..bare.clone() };
        let records = [whole, bare, six, closed, half];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let mut rest = &bytes[..];
        for record in records {
            let (decoded, after) = Record::decode(rest).expect("a record");
            assert_eq!(decoded, record);
            rest = after;
        }
        assert_eq!(rest, []);
    }

    #[test]
    fn other_bytes_are_none() {
        let mut bytes = Vec::new();
        record(40000).encode(&mut bytes);
        assert_eq!(bytes.len(), FIXED + 16);
        for length in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..length]), Err(NotARecord), "{length} bytes");
        }
        for (at, value) in
            [(0, 2), (1, 3), (2, 5), (3, 15), (3, 6), (3, 3), (8, 1), (35, 1), (74, 15), (90, 1)]
        {
            let mut other = bytes.clone();
            other[at] = value;
            assert_eq!(Record::decode(&other), Err(NotARecord), "byte {at} is {value}");
        }
    }
}
