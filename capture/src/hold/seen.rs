//! Which SYNs have been let go for want of room, so that one that comes again is known.
//!
//! Two Bloom filters (Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970): one is filled, the
//! one before it is still asked; then they change places. A filter that is full takes one SYN in 200 that it has
//! never seen for a known one.

/// Bits of a filter; a power of two. 64 KiB.
const BITS: usize = 1 << 19;

/// SYNs of a filter: 2 s of a flood with 20,000 a second, so that a SYN is known for 2 s to 4 s, and clients send
/// another after one (RFC 6298, section 2).
const SYNS: usize = 40_000;

/// Bits of a SYN.
const HASHES: u64 = 4;

#[derive(Debug)]
pub(crate) struct Seen {
    filled: Vec<u64>,
    before: Vec<u64>,
    count: usize,
}

impl Seen {
    pub fn new() -> Self {
        Seen { filled: vec![0; BITS / 64], before: vec![0; BITS / 64], count: 0 }
    }

    pub fn insert(&mut self, flow: u64) {
        if self.count == SYNS {
            std::mem::swap(&mut self.filled, &mut self.before);
            self.filled.fill(0);
            self.count = 0;
        }
        self.count += 1;
        for (word, bit) in places(flow) {
            self.filled[word] |= bit;
        }
    }

    pub fn contains(&self, flow: u64) -> bool {
        [&self.filled, &self.before]
            .iter()
            .any(|filter| places(flow).all(|(word, bit)| filter[word] & bit != 0))
    }
}

/// A hash is as good as all that are needed (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
fn places(flow: u64) -> impl Iterator<Item = (usize, u64)> {
    let (first, step) = (flow & u64::from(u32::MAX), (flow >> 32) | 1);
    (0..HASHES).map(move |number| {
        let place = (first + number * step) as usize % BITS;
        (place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(number: u64) -> u64 {
        crate::source::flow_hash(
            &[7; 16],
            ([10, 0, 0, 1], 1).into(),
            ([10, 0, 0, 2], 2).into(),
            number as u32,
        )
    }

    #[test]
    fn syns_are_known_for_a_while_and_few_others_are() {
        let mut seen = Seen::new();
        let count = SYNS as u64;
        (0..2 * count).for_each(|number| seen.insert(flow(number)));
        assert!((0..2 * count).all(|number| seen.contains(flow(number))));
        let strangers = (0..10_000).filter(|number| seen.contains(flow(1_000_000 + number))).count();
        assert!((20..200).contains(&strangers), "{strangers} of 10,000");
        (2 * count..4 * count).for_each(|number| seen.insert(flow(number)));
        let remembered = (0..1000).filter(|number| seen.contains(flow(*number))).count();
        assert!(remembered < 30, "{remembered} of 1,000");
    }
}
