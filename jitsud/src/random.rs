//! Numbers that others cannot guess well, for transaction numbers and to keep nodes out of step.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 16 bytes that nobody can guess, as far as the kernel's randomness goes that early (see [`Random::from_system`]).
pub fn secret() -> [u8; 16] {
    let half = || RandomState::new().build_hasher().finish();
    ((u128::from(half()) << 64) | u128::from(half())).to_ne_bytes()
}

/// A row of numbers (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same row for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Random(seed)
    }

    /// Another row each time. The seed is what the standard library seeds its hash maps with, which does not wait
    /// for the kernel to be content with its randomness (`GRND_INSECURE`). `/dev/urandom` does: for a second on a
    /// board that has just been switched on (Linux 6.1, `drivers/char/random.c`).
    pub fn from_system() -> Self {
        Random(RandomState::new().build_hasher().finish())
    }

    /// The next number.
    pub fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.number() % bound
    }
}
