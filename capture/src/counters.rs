//! What is counted.

use crate::handshake::HandshakeCounters;

/// What became of a frame from the tap. Each frame has one fate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// A question for a link address, answered for the guest.
    Answered,
    /// Somebody else claimed a service's address; see [`crate::Sink::conflict`].
    Conflict,
    /// Held until the guest is up.
    Held,
    /// A SYN that is held already.
    Again,
    /// Of a connection that is kept for the guest.
    Kept,
    /// Passed on to the guest, which has just come up.
    Passed,
    /// Answered by RST or ICMP.
    Refused,
    /// Would have been answered so, but [`crate::Refusal::Silence`], [`crate::Limits::refusals`] or the protocol
    /// is against it.
    Silent,
    /// Its source holds its share, or there is no room; see [`crate::hold`].
    Full,
    /// Its source has caused enough summons for now.
    Limited,
    /// Sent by the guest itself, or its own business while it is up.
    Guest,
    /// To or about somebody else.
    Foreign,
    /// Of a protocol that is neither answered nor held, or not to one host alone.
    Unknown,
    /// Contradicts its protocol.
    Malformed,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 14] = [
        Fate::Answered,
        Fate::Conflict,
        Fate::Held,
        Fate::Again,
        Fate::Kept,
        Fate::Passed,
        Fate::Refused,
        Fate::Silent,
        Fate::Full,
        Fate::Limited,
        Fate::Guest,
        Fate::Foreign,
        Fate::Unknown,
        Fate::Malformed,
    ];
}

/// Figures since the start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    fates: [u64; Fate::ALL.len()],
    /// Held frames that were passed on to their guests.
    pub replayed: u64,
    /// Held frames that had to go for others.
    pub evicted: u64,
    /// Held frames that waited for too long.
    pub expired: u64,
    /// Held frames that were let go because their service failed, whether they were answered or not.
    pub given_up: u64,
    /// RSTs and ICMP errors sent, for held frames too.
    pub refusals: u64,
    /// Summons.
    pub summons: u64,
    /// Summons that were put off.
    pub deferred: u64,
    /// ARP announcements that defend an address.
    pub defences: u64,
    /// Connections that were opened on guests' behalf.
    pub handshakes: HandshakeCounters,
}

impl Counters {
    /// Frames that had this fate.
    pub fn fate(&self, fate: Fate) -> u64 {
        self.fates[fate as usize]
    }

    /// Frames that came.
    pub fn frames(&self) -> u64 {
        self.fates.iter().sum()
    }

    pub(crate) fn count(&mut self, fate: Fate) {
        self.fates[fate as usize] += 1;
    }
}
