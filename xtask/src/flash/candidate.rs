//! What may be flashed, decided from facts alone; `sysfs` gathers them.

use crate::ui::human_bytes;
use std::fmt;

/// A disk of this host: a card, a stick, or something that must be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The kernel's name for it, as in `/dev/NAME`.
    pub name: String,
    /// Vendor and model as it states them; empty when it does not.
    pub model: String,
    /// Bytes; 0 for a reader without a card.
    pub size: u64,
    /// How it is attached.
    pub transport: Transport,
    /// The kernel's `removable` flag: set for most card readers, not for a laptop's SD slot.
    pub removable: bool,
    /// Write-protected.
    pub read_only: bool,
    /// What it, or a part of it, is used for now.
    pub uses: Vec<Use>,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A card reader or stick; external disks, too.
    Usb,
    /// An SD card in a slot of its own.
    Sd,
    /// Flash memory soldered to the host's board.
    Emmc,
    /// A file that somebody made a device of.
    Loop,
    /// A drive for CDs and the like: removable, and not for cards.
    Optical,
    /// SATA, NVMe, device mapper, memory…
    Other,
}

/// Why something is in use. `part` is the partition's, or the disk's, name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// A file system on it is mounted.
    Mounted { part: String, at: String },
    /// The host swaps to it.
    Swap { part: String },
    /// LVM, RAID, encryption or a loop device has it.
    Held { part: String, by: String },
}

/// A reason not to touch a disk or file. `Display` says it with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A fixed disk, most likely the host's own.
    NotRemovable,
    /// Flash memory of the host.
    Emmc,
    /// A drive for discs.
    Optical,
    /// A reader, and no card in it.
    NoCard,
    /// The lock slider of a card, or a loop device made so.
    ReadOnly,
    /// Part of it is in use.
    InUse(Use),
    /// Bytes that it has, and bytes that the image has.
    TooSmall { has: u64, needs: u64 },
}

impl Candidate {
    /// Whether people would look for it in a list of cards.
    pub fn is_listed(&self) -> bool {
        match self.transport {
            Transport::Usb | Transport::Sd => true,
            Transport::Emmc | Transport::Loop | Transport::Optical => false,
            Transport::Other => self.removable,
        }
    }

    /// Every reason not to write an image of `needs` bytes to it; none means that it may be asked about.
    ///
    /// Loop devices count as files: nobody has one without having made it.
    pub fn refusals(&self, needs: u64) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        match self.transport {
            Transport::Usb | Transport::Sd | Transport::Loop => {}
            Transport::Emmc => refusals.push(Refusal::Emmc),
            Transport::Optical => refusals.push(Refusal::Optical),
            Transport::Other if self.removable => {}
            Transport::Other => refusals.push(Refusal::NotRemovable),
        }
        if self.read_only {
            refusals.push(Refusal::ReadOnly);
        }
        refusals.extend(self.uses.iter().cloned().map(Refusal::InUse));
        if self.size == 0 {
            refusals.push(Refusal::NoCard);
        } else if self.size < needs {
            refusals.push(Refusal::TooSmall { has: self.size, needs });
        }
        refusals
    }

    /// One line for people: name, size, model.
    pub fn describe(&self) -> String {
        let model = if self.model.is_empty() { "model unknown" } else { &self.model };
        format!("/dev/{}  {}  {model}", self.name, human_bytes(self.size))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRemovable => f.write_str("it is not removable, so no card: name another device"),
            Self::Emmc => {
                f.write_str("it is this host's built-in flash memory, not a card: name another device")
            }
            Self::Optical => f.write_str("it is an optical drive: name another device"),
            Self::NoCard => f.write_str("there is no card in it: insert one"),
            Self::ReadOnly => f.write_str("it is write-protected: move the card's lock slider"),
            Self::InUse(Use::Mounted { part, at }) => {
                write!(f, "{part} is mounted at {at}: eject it, or `umount {at}`")
            }
            Self::InUse(Use::Swap { part }) => write!(f, "this host swaps to {part}: `swapoff` it"),
            Self::InUse(Use::Held { part, by }) => {
                write!(f, "{part} is in use by {by}: release it there first")
            }
            Self::TooSmall { has, needs } => write!(
                f,
                "it has {} ({has} bytes) and the image {} ({needs} bytes): take a larger one",
                human_bytes(*has),
                human_bytes(*needs)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Candidate {
        Candidate {
            name: "sdb".into(),
            model: "Generic SD".into(),
            size: 1000,
            transport: Transport::Usb,
            removable: true,
            read_only: false,
            uses: vec![],
        }
    }

    #[test]
    fn cards_may_be_written() {
        assert_eq!(card().refusals(1000), []);
        assert_eq!(Candidate { transport: Transport::Sd, removable: false, ..card() }.refusals(1000), []);
        assert_eq!(Candidate { transport: Transport::Loop, removable: false, ..card() }.refusals(1000), []);
        assert_eq!(Candidate { transport: Transport::Other, ..card() }.refusals(1000), []);
    }

    #[test]
    fn each_reason_alone_refuses() {
        let mounted = Use::Mounted { part: "sdb1".into(), at: "/mnt".into() };
        for (candidate, refusal) in [
            (Candidate { transport: Transport::Other, removable: false, ..card() }, Refusal::NotRemovable),
            (Candidate { transport: Transport::Emmc, ..card() }, Refusal::Emmc),
            (Candidate { transport: Transport::Optical, ..card() }, Refusal::Optical),
            (Candidate { size: 0, ..card() }, Refusal::NoCard),
            (Candidate { read_only: true, ..card() }, Refusal::ReadOnly),
            (Candidate { uses: vec![mounted.clone()], ..card() }, Refusal::InUse(mounted)),
            (Candidate { size: 999, ..card() }, Refusal::TooSmall { has: 999, needs: 1000 }),
        ] {
            assert_eq!(candidate.refusals(1000), [refusal]);
        }
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let swap = Use::Swap { part: "sdb2".into() };
        let disk = Candidate {
            transport: Transport::Other,
            removable: false,
            read_only: true,
            uses: vec![swap.clone()],
            ..card()
        };
        let told = [
            Refusal::NotRemovable,
            Refusal::ReadOnly,
            Refusal::InUse(swap),
            Refusal::TooSmall { has: 1000, needs: 2000 },
        ];
        assert_eq!(disk.refusals(2000), told);
        assert!(!disk.is_listed());
        assert!(card().is_listed());
    }
}
