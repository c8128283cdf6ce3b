//! Large segments: several TCP segments of one connection that follow each other become one, which the node's kernel, or a
//! network card, cuts again where it has to ("generic segmentation offload"). A page of a site that has a MiB passes the
//! bridge as a few dozen packets instead of hundreds.
//!
//! Only segments that are sent at the same moment become one, so nothing is held back; and only such as the cutting makes
//! again: the same but for their numbers, each as long as the first but for the last, which alone has PSH or FIN.

/// Bytes of the headers of Ethernet, IPv4 and TCP, none of which has options here.
pub const HEADERS: usize = 14 + 20 + 20;

/// Bytes of the longest frame: a network device has 16 bits for that.
pub const MOST: usize = 65_535;

/// Where things are in a frame.
const ETHERTYPE: usize = 12;
const IP: usize = 14;
const TOTAL_LENGTH: usize = IP + 2;
const IDENTIFICATION: usize = IP + 4;
const FRAGMENT: usize = IP + 6;
const PROTOCOL: usize = IP + 9;
const IP_CHECKSUM: usize = IP + 10;
const ADDRESSES: usize = IP + 12;
const TCP: usize = IP + 20;
const SEQUENCE: usize = TCP + 4;
const OFFSET: usize = TCP + 12;
const FLAGS: usize = TCP + 13;
const TCP_CHECKSUM: usize = TCP + 16;

const FIN: u8 = 1 << 0;
const PSH: u8 = 1 << 3;
const ACK: u8 = 1 << 4;
const TCP_PROTOCOL: u8 = 6;

/// Segments that have become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Large {
    headers: [u8; HEADERS],
    /// Bytes of data of each segment but the last one.
    segment: usize,
    /// Bytes of data of all.
    data: usize,
    /// Whether another one may follow.
    open: bool,
}

impl Large {
    /// One segment, if others could follow it. `frame` is an Ethernet frame.
    pub fn begin(frame: &[u8]) -> Option<Self> {
        let headers: [u8; HEADERS] = *frame.first_chunk()?;
        let data = frame.len() - HEADERS;
        let flags = headers[FLAGS];
        let plain = headers[ETHERTYPE..=IP] == [0x08, 0x00, 0x45]
            && word(&headers, TOTAL_LENGTH) as usize == frame.len() - IP
            && word(&headers, FRAGMENT) & 0x3fff == 0
            && headers[PROTOCOL] == TCP_PROTOCOL
            && headers[OFFSET] >> 4 == 5
            && flags & ACK != 0
            && flags & !(ACK | PSH | FIN) == 0;
        (plain && data > 0).then_some(Large { headers, segment: data, data, open: flags & (PSH | FIN) == 0 })
    }

    /// Takes a segment in, if it follows; says whether it did. Its data are then `frame[HEADERS..]`.
    pub fn add(&mut self, frame: &[u8]) -> bool {
        let Some(next) = Self::begin(frame) else { return false };
        let sequence = number(&self.headers, SEQUENCE).wrapping_add(self.data as u32);
        let follows = self.open
            && next.data <= self.segment
            && HEADERS + self.data + next.data <= MOST
            && number(&next.headers, SEQUENCE) == sequence
            && self.comparable() == next.comparable();
        if follows {
            self.data += next.data;
            self.headers[FLAGS] = next.headers[FLAGS];
            self.open = next.open && next.data == self.segment;
        }
        follows
    }

    /// Whether a frame is of the same connection and direction: it must not overtake.
    pub fn concerns(&self, frame: &[u8]) -> bool {
        const ENDS: core::ops::Range<usize> = ADDRESSES..SEQUENCE;
        frame.get(ENDS) == Some(&self.headers[ENDS])
    }

    /// Bytes of the frame.
    pub fn length(&self) -> usize {
        HEADERS + self.data
    }

    /// Bytes of data of each segment that it is to be cut into, if it is more than one.
    pub fn segment_size(&self) -> Option<u16> {
        (self.data > self.segment).then_some(self.segment as u16)
    }

    /// The headers of all of it. TCP's checksum is that of the pseudo header alone, as whoever fills in the rest wants it.
    pub fn headers(&self) -> [u8; HEADERS] {
        let mut headers = self.headers;
        put(&mut headers, TOTAL_LENGTH, (self.length() - IP) as u16);
        put(&mut headers, IP_CHECKSUM, 0);
        let checksum = !folded(sum(&headers[IP..TCP]));
        put(&mut headers, IP_CHECKSUM, checksum);
        begin_checksum(&mut headers, self.length());
        headers
    }

    /// What is the same in all segments that become one.
    fn comparable(&self) -> [u8; HEADERS] {
        let mut headers = self.headers;
        for at in [TOTAL_LENGTH, IDENTIFICATION, IP_CHECKSUM, SEQUENCE, SEQUENCE + 2, TCP_CHECKSUM] {
            put(&mut headers, at, 0);
        }
        headers[FLAGS] &= !(PSH | FIN);
        headers
    }
}

/// Puts the pseudo header's sum into the checksum of a TCP segment over IPv4, for whoever fills in the rest; `length` is the
/// frame's. Says whether `frame`, which is at least its headers, is such a segment.
pub fn begin_checksum(frame: &mut [u8], length: usize) -> bool {
    let is_tcp = frame.len() >= HEADERS
        && frame[ETHERTYPE..=IP] == [0x08, 0x00, 0x45]
        && frame[PROTOCOL] == TCP_PROTOCOL
        && length >= HEADERS;
    if is_tcp {
        let rest = u32::from(TCP_PROTOCOL) + (length - TCP) as u32;
        let checksum = folded(sum(&frame[ADDRESSES..TCP]) + rest);
        put(frame, TCP_CHECKSUM, checksum);
    }
    is_tcp
}

/// The sum of an even number of bytes, not folded (RFC 1071): of a header, so that it does not overflow.
fn sum(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum()
}

fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    (once + (once >> 16)) as u16
}

fn word(headers: &[u8; HEADERS], at: usize) -> u16 {
    u16::from_be_bytes([headers[at], headers[at + 1]])
}

fn number(headers: &[u8; HEADERS], at: usize) -> u32 {
    u32::from(word(headers, at)) << 16 | u32::from(word(headers, at + 2))
}

fn put(headers: &mut [u8], at: usize, value: u16) {
    headers[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;
