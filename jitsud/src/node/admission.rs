//! Whether there is room for one more domain: in Xen's memory, and in dom0 for what it maps of the guest.
//!
//! Asked before anything is made of a domain, so that one for which there is no room is refused at once, and costs
//! the others nothing. Pure: what Xen says comes in.

use crate::directory::Room;

/// What Xen is left with, in pages (1 MiB): it takes some for itself when dom0 maps something at a new address.
const RESERVE: u64 = 256;

/// Most guests at a time. Each has a VMID, ARMv7 has 8 bits for that, one is dom0's and one nobody's
/// (`p2m_alloc_vmid` in Xen's `xen/arch/arm/p2m.c`).
const MAX_GUESTS: u64 = 254;

/// What a domain takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Of Xen's memory, in pages, once it has been built.
    pub pages: u64,
    /// Of dom0's frames, while it runs.
    pub frames: u64,
}

impl From<Need> for Room {
    fn from(Need { pages, frames }: Need) -> Self {
        Room { pages, frames, guests: 1 }
    }
}

/// A domain that there is, or that is being built or taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What it takes.
    pub need: Need,
    /// Its memory may still count as free.
    pub being_built: bool,
}

/// What there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stock {
    /// Of Xen's memory, in pages that are free now; `None` when that is not known.
    pub free_pages: Option<u64>,
    /// Of dom0's frames, in all; `None` when that is not known.
    pub frames: Option<u64>,
}

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Shortage {
    /// Of memory for the guest.
    #[error("the node has not enough memory: it needs {:.1} MiB, {:.1} are free", mib(*needed), mib(*free))]
    Memory {
        /// In pages.
        needed: u64,
        /// In pages, less what is spoken for.
        free: u64,
    },
    /// Of dom0's frames.
    #[error(
        "dom0 has not enough memory to serve another guest: it needs {:.1} MiB for what it maps of it, {:.1} are left",
        mib(*needed),
        mib(*left)
    )]
    Frames {
        /// How many.
        needed: u64,
        /// How many no domain has.
        left: u64,
    },
    /// Of VMIDs.
    #[error("{MAX_GUESTS} domains run, and the processor can tell no more of them apart")]
    Guests,
}

/// There is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What people are told.
    pub shortage: Shortage,
    /// How much is missing, of everything.
    pub missing: Room,
}

/// Whether a domain that needs so much has room beside those that there are.
///
/// A build under way is taken to have no memory yet, so that near the end one may be refused that would just have
/// found room, and never one be let in that does not.
///
/// # Errors
/// What there is too little of.
pub fn check(need: Need, stock: Stock, others: impl Iterator<Item = Taken>) -> Result<(), Refusal> {
    let (mut guests, mut frames, mut promised) = (0, 0, RESERVE);
    for Taken { need, being_built } in others {
        guests += 1;
        frames += need.frames;
        promised += if being_built { need.pages } else { 0 };
    }
    let free = stock.free_pages.map_or(u64::MAX, |free| free.saturating_sub(promised));
    let left = stock.frames.map_or(u64::MAX, |all| all.saturating_sub(frames));
    let missing = Room {
        pages: need.pages.saturating_sub(free),
        frames: need.frames.saturating_sub(left),
        guests: (guests + 1_u64).saturating_sub(MAX_GUESTS),
    };
    let shortage = if missing.guests > 0 {
        Shortage::Guests
    } else if missing.pages > 0 {
        Shortage::Memory { needed: need.pages, free }
    } else if missing.frames > 0 {
        Shortage::Frames { needed: need.frames, left }
    } else {
        return Ok(());
    };
    Err(Refusal { shortage, missing })
}

fn mib(pages: u64) -> f64 {
    pages as f64 * xen_sys::PAGE_SIZE as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { pages: 1000, frames: 10 };
    const BUILDING: Taken = Taken { need: NEED, being_built: true };
    const RUNNING: Taken = Taken { need: NEED, being_built: false };

    fn ask(free_pages: u64, frames: u64, others: &[Taken]) -> Result<(), Refusal> {
        let stock = Stock { free_pages: Some(free_pages), frames: Some(frames) };
        check(NEED, stock, others.iter().copied())
    }

    fn memory(needed: u64, free: u64) -> Result<(), Refusal> {
        let missing = Room { pages: needed - free, ..Room::default() };
        Err(Refusal { shortage: Shortage::Memory { needed, free }, missing })
    }

    #[test]
    fn memory_is_what_is_free_and_not_promised() {
        assert_eq!(ask(1000 + RESERVE, 10, &[]), Ok(()));
        assert_eq!(ask(999 + RESERVE, 10, &[]), memory(1000, 999));
        assert_eq!(ask(1000 + RESERVE, 20, &[RUNNING]), Ok(()));
        assert_eq!(ask(1999 + RESERVE, 30, &[RUNNING, BUILDING]), memory(1000, 999));
        assert_eq!(ask(2000 + RESERVE, 30, &[RUNNING, BUILDING]), Ok(()));
        assert_eq!(ask(0, 100, &[]), memory(1000, 0));
    }

    #[test]
    fn frames_belong_to_all_that_are_there() {
        let frames = |left| {
            let missing = Room { frames: 10 - left, ..Room::default() };
            Err(Refusal { shortage: Shortage::Frames { needed: 10, left }, missing })
        };
        assert_eq!(ask(5000, 29, &[RUNNING, BUILDING]), frames(9));
        assert_eq!(ask(5000, 30, &[RUNNING, BUILDING]), Ok(()));
        assert_eq!(ask(5000, 10, &[RUNNING, RUNNING]), frames(0));
        // What is missing is told whole, though people are told of one thing only.
        let both = Room { pages: 1000, frames: 10, guests: 0 };
        assert_eq!(ask(0, 20, &[RUNNING, RUNNING]).map_err(|refusal| refusal.missing), Err(both));
    }

    #[test]
    fn the_processor_tells_254_guests_apart() {
        let none = Stock { free_pages: None, frames: None };
        let others = |count| std::iter::repeat_n(RUNNING, count);
        assert_eq!(check(NEED, none, others(253)), Ok(()));
        assert_eq!(
            check(NEED, none, others(254)),
            Err(Refusal { shortage: Shortage::Guests, missing: Room { guests: 1, ..Room::default() } })
        );
    }

    #[test]
    fn people_are_told_in_mib() {
        let shortage = Shortage::Memory { needed: 1063, free: 300 };
        assert_eq!(shortage.to_string(), "the node has not enough memory: it needs 4.2 MiB, 1.2 are free");
    }
}
