//! What became of the packets for services that were not up.

use capture::{Counters, Fate};
use serde::{Deserialize, Serialize};

/// Figures since the daemon began, but for what is said to be now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PacketStatus {
    /// Frames that came, of whatever kind.
    pub frames: u64,
    /// Questions for addresses that were answered in guests' stead.
    pub answered: u64,
    /// Memory that held frames take now, in bytes.
    pub held_bytes: u64,
    /// Frames that were held.
    pub held: u64,
    /// SYNs that were held already.
    pub again: u64,
    /// Held frames that were passed on to their guests.
    pub replayed: u64,
    /// Held frames that had to go for others.
    pub evicted: u64,
    /// Held frames that waited for too long.
    pub expired: u64,
    /// Frames that there was no room for.
    pub full: u64,
    /// Packets whose sources had caused enough starts for then.
    pub limited: u64,
    /// Packets that were refused, by RST, ICMP or not at all.
    pub refused: u64,
    /// Services that were woken.
    pub summons: u64,
    /// Connections that were opened on guests' behalf.
    pub opened: u64,
    /// Connections that guests have gone on with.
    pub handed_over: u64,
}

impl PacketStatus {
    /// Of what is counted, and the memory that held frames take, in bytes.
    pub fn new(counters: &Counters, held_bytes: usize) -> Self {
        PacketStatus {
            frames: counters.frames(),
            answered: counters.fate(Fate::Answered),
            held_bytes: held_bytes as u64,
            held: counters.fate(Fate::Held),
            again: counters.fate(Fate::Again),
            replayed: counters.replayed,
            evicted: counters.evicted,
            expired: counters.expired,
            full: counters.fate(Fate::Full),
            limited: counters.fate(Fate::Limited),
            refused: counters.fate(Fate::Refused) + counters.fate(Fate::Silent),
            summons: counters.summons,
            opened: counters.handshakes.opened,
            handed_over: counters.handshakes.handed_over,
        }
    }
}
