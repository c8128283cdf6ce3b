//! One connection that is opened on a guest's behalf: the part of TCP that is needed until the guest takes it over.
//!
//! ```text
//!          SYN: SYN-ACK                ACK of it              FIN
//!   ─────────────────▶ SYN-RECEIVED ───────────▶ ESTABLISHED ───▶ CLOSE-WAIT
//!                         │  ▲ └ timer: SYN-ACK      │  ▲ └ data: kept, ACK
//!                         └──┘                       └──┘
//! ```
//!
//! RFC 9293, section 3.10.7.4, with the checks of RFC 5961 (an RST or SYN that could be forged is answered by an ACK)
//! and RFC 7323 (window scale, timestamps). Data is taken in order only and sent never; the peer sends again what is
//! out of order. Once a byte is acknowledged it is the guest's.

use std::net::SocketAddr;
use std::time::Duration;

use handover::{Offer, Record, State, Timestamps, WindowScales};
use smoltcp::wire::{EthernetAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

use crate::moment::Moment;

/// The first wait for an answer to a SYN-ACK; each further one is twice as long (RFC 6298, sections 2 and 5.5).
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// SYN-ACKs after the first. With the waits, a connection is half open for 15 s at the most.
const MOST_RETRIES: u32 = 3;

/// Segments that are smaller are not worth their headers; RFC 9293, section 3.7.1, has this for whoever says nothing.
const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;

/// RFC 7323, section 2.3.
const LARGEST_SHIFT: u8 = 14;

/// What follows from a segment or a timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Nothing is to be said.
    Quiet,
    /// [`Connection::reply`] is sent.
    Reply,
    /// The connection is gone.
    Gone,
    /// The connection is not the one that the peer means: an RST with this sequence number, and it stays.
    Reset(u32),
}

/// Numbers that nobody outside can know before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    /// RFC 6528.
    pub iss: u32,
    /// [`Timestamps::offset`]: what the node's clock says is nobody's business. Always the same for the same two ends,
    /// so that their timestamps only grow (RFC 7323, section 5.4).
    pub timestamp_offset: u32,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub service: u16,
    pub mac: EthernetAddress,
    pub began: Moment,
    pub record: Record,
    /// When [`Connection::timer`] is called; `None` once it is established.
    pub timer: Option<Moment>,
    tries: u32,
    /// Room for data.
    room: usize,
    /// What the peer is told of segments.
    mss: u16,
}

impl Connection {
    /// A SYN has come from `remote` to `local`. `None` if its options are not understood.
    pub fn open(
        now: Moment,
        service: u16,
        (mac, remote, local): (EthernetAddress, SocketAddr, SocketAddr),
        syn: &TcpPacket<&[u8]>,
        Secrets { iss, timestamp_offset }: Secrets,
        offer: &Offer,
    ) -> Option<Self> {
        let options = syn.options_summary().ok()?;
        let default_mss = if local.is_ipv4() { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
        let irs = syn.seq_number().0 as u32;
        let window_scales = options.window_scale.map(|theirs| WindowScales {
            theirs: theirs.min(LARGEST_SHIFT),
            ours: offer.window_scale.min(LARGEST_SHIFT),
        });
        let timestamps = options
            .timestamp
            .filter(|_| offer.timestamps)
            .map(|(value, _)| Timestamps { recent: value, offset: timestamp_offset });
        let record = Record {
            state: State::SynReceived,
            local,
            remote,
            mac: mac.0,
            iss,
            irs,
            snd_una: iss,
            snd_nxt: iss.wrapping_add(1),
            // A SYN's window is never scaled.
            snd_wnd: syn.window_len().into(),
            snd_wl1: irs,
            snd_wl2: iss,
            rcv_nxt: irs.wrapping_add(1),
            mss: options.max_segment_size.filter(|mss| *mss > 0).unwrap_or(default_mss),
            window_scales,
            sack: options.sack_permitted && offer.sack,
            timestamps,
            data: Vec::new(),
        };
        Some(Self::adopt(now, service, record, offer))
    }

    /// Goes on with a connection from what is kept of it, which is no more than was offered.
    pub fn adopt(now: Moment, service: u16, record: Record, offer: &Offer) -> Self {
        let mac = EthernetAddress(record.mac);
        let timer = Some(now.after(FIRST_WAIT));
        let room = usize::from(offer.window);
        // IPv6's header is that much longer.
        let mss = if record.local.is_ipv4() { offer.mss } else { offer.mss.saturating_sub(20) };
        Connection { service, mac, began: now, record, timer, tries: 0, room, mss }
    }

    /// The segment that says how things are: a SYN-ACK, later an ACK.
    pub fn reply(&self, now: Moment) -> TcpRepr<'static> {
        let record = &self.record;
        let half_open = record.state == State::SynReceived;
        let timestamp =
            record.timestamps.map(|stamps| TcpTimestampRepr::new(stamps.value(ticks(now)), stamps.recent));
        TcpRepr {
            src_port: record.local.port(),
            dst_port: record.remote.port(),
            control: if half_open { TcpControl::Syn } else { TcpControl::None },
            seq_number: sequence(if half_open { record.iss } else { record.snd_nxt }),
            ack_number: Some(sequence(record.rcv_nxt)),
            window_len: if half_open { self.window() as u16 } else { (self.window() >> self.shift()) as u16 },
            window_scale: record.window_scales.filter(|_| half_open).map(|scales| scales.ours),
            max_seg_size: half_open.then_some(self.mss),
            sack_permitted: half_open && record.sack,
            sack_ranges: [None; 3],
            timestamp,
            payload: &[],
        }
    }

    /// No answer to the SYN-ACK so far.
    pub fn timer(&mut self, now: Moment) -> Next {
        if self.record.state != State::SynReceived {
            self.timer = None;
            return Next::Quiet;
        }
        if self.tries == MOST_RETRIES {
            return Next::Gone;
        }
        self.tries += 1;
        self.timer = Some(now.after(FIRST_WAIT * (1 << self.tries)));
        Next::Reply
    }

    /// A segment has come.
    pub fn segment(&mut self, tcp: &TcpPacket<&[u8]>) -> Next {
        let (sequence, acknowledged) = (tcp.seq_number().0 as u32, tcp.ack_number().0 as u32);
        if self.record.state == State::SynReceived && tcp.syn() && !tcp.ack() && sequence == self.record.irs {
            // The SYN once more: our answer was lost, or is on its way.
            if let Some(stamps) = &mut self.record.timestamps
                && let Ok(Some((value, _))) = tcp.options_summary().map(|options| options.timestamp)
            {
                stamps.recent = value;
            }
            return Next::Reply;
        }
        let Ok(options) = tcp.options_summary() else { return Next::Quiet };
        if !tcp.rst()
            && let Some(stamps) = self.record.timestamps
        {
            // RFC 7323, sections 3.2 and 5.3.
            match options.timestamp {
                None => return Next::Quiet,
                Some((value, _)) if before(value, stamps.recent) => return Next::Reply,
                Some(_) => {}
            }
        }
        if !self.is_acceptable(sequence, tcp.segment_len() as u32) {
            return if tcp.rst() { Next::Quiet } else { Next::Reply };
        }
        if tcp.rst() {
            // RFC 5961, section 3.2.
            return if sequence == self.record.rcv_nxt { Next::Gone } else { Next::Reply };
        }
        if tcp.syn() {
            // RFC 5961, section 4.2.
            return Next::Reply;
        }
        if !tcp.ack() {
            return Next::Quiet;
        }
        if self.record.state == State::SynReceived {
            if acknowledged != self.record.snd_nxt {
                return Next::Reset(acknowledged);
            }
            self.record.state = State::Established;
            self.timer = None;
        } else if before(self.record.snd_nxt, acknowledged) {
            return Next::Reply;
        }
        self.record.snd_una = self.record.snd_nxt;
        if let Some((stamps, (value, _))) = self.record.timestamps.as_mut().zip(options.timestamp)
            && !before(self.record.rcv_nxt, sequence)
        {
            stamps.recent = value;
        }
        self.take_window(tcp.window_len(), sequence, acknowledged);
        self.take_data(sequence, tcp.payload(), tcp.fin())
    }

    /// What an RST from here has for a sequence number.
    pub fn last_sequence(&self) -> u32 {
        self.record.snd_nxt
    }

    /// RFC 9293, section 3.4, table 6.
    fn is_acceptable(&self, sequence: u32, length: u32) -> bool {
        let (next, window) = (self.record.rcv_nxt, self.window());
        let within = |sequence: u32| sequence.wrapping_sub(next) < window;
        match (length, window) {
            (0, 0) => sequence == next,
            (_, 0) => false,
            (0, _) => within(sequence),
            _ => within(sequence) || within(sequence.wrapping_add(length - 1)),
        }
    }

    fn take_window(&mut self, window: u16, sequence: u32, acknowledged: u32) {
        let record = &mut self.record;
        let newer = before(record.snd_wl1, sequence)
            || record.snd_wl1 == sequence && !before(acknowledged, record.snd_wl2);
        if newer {
            let shift = record.window_scales.map_or(0, |scales| scales.theirs);
            record.snd_wnd = u32::from(window) << shift;
            record.snd_wl1 = sequence;
            record.snd_wl2 = acknowledged;
        }
    }

    fn take_data(&mut self, sequence: u32, payload: &[u8], fin: bool) -> Next {
        if payload.is_empty() && !fin {
            return Next::Quiet;
        }
        if self.record.state == State::CloseWait {
            return Next::Reply;
        }
        let known = self.record.rcv_nxt.wrapping_sub(sequence) as usize;
        // What is ahead of what is wanted looks as if very much of it were known.
        let Some(new) = payload.get(known..) else { return Next::Reply };
        let taken = &new[..new.len().min(self.window() as usize)];
        self.record.data.extend_from_slice(taken);
        self.record.rcv_nxt = self.record.rcv_nxt.wrapping_add(taken.len() as u32);
        if fin && taken.len() == new.len() {
            self.record.rcv_nxt = self.record.rcv_nxt.wrapping_add(1);
            self.record.state = State::CloseWait;
        }
        Next::Reply
    }

    /// Room left, in bytes.
    fn window(&self) -> u32 {
        (self.room - self.record.data.len()) as u32
    }

    fn shift(&self) -> u8 {
        self.record.window_scales.map_or(0, |scales| scales.ours)
    }
}

/// The clock of timestamps: milliseconds.
pub(crate) fn ticks(now: Moment) -> u32 {
    (now.0 / 1_000_000) as u32
}

fn sequence(number: u32) -> TcpSeqNumber {
    TcpSeqNumber(number as i32)
}

/// RFC 9293, section 3.4: numbers go round.
fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}
