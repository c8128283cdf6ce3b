//! Which seed makes an interface of smoltcp choose a given initial sequence number.
//!
//! smoltcp has no way to say which number. Its generator (`src/rand.rs`, sPCG32 of <https://www.pcg-random.org>) is
//! a state of 64 bits that is multiplied and added to, and gives 32 of them, from bit 22 to 29 on as the highest three
//! tell. An interface that is made with a seed draws once for itself, again if that gives 0, and then for the first
//! connection that comes. A state that gives the wanted number is put together, and two steps are taken back.
//!
//! That is smoltcp 0.14's own affair, and another version may do otherwise. Whoever uses a seed checks what has come
//! of it; the test below tells whoever takes another version.

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
/// A state whose highest three bits are 0 gives its bits from this one on.
const SHIFT: u32 = 29;

/// The seed for an initial sequence number.
pub(super) fn seed_for(sequence: u32) -> u64 {
    // What is below the number's bits is free.
    let mut state = u64::from(sequence) << SHIFT;
    loop {
        let earlier = before(state);
        if draws_something(earlier) {
            return before(earlier);
        }
        state += 1;
    }
}

/// The state before this one.
const fn before(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}

const INVERSE: u64 = {
    // Newton's iteration doubles the bits that are right; an odd number is its own inverse in the lowest three.
    let mut inverse = MULTIPLIER;
    let mut bits = 3;
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
};

/// Whether the interface is content with what this state gives, as 16 bits, for itself.
fn draws_something(state: u64) -> bool {
    let number = (state >> (SHIFT - (state >> 61) as u32)) as u32;
    (number ^ number >> 16) as u16 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_back() {
        assert_eq!(MULTIPLIER.wrapping_mul(INVERSE), 1);
        for state in [0, 1, INCREMENT, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(before(state).wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT), state);
        }
    }

    /// One number in 65,536 needs another state than the first one that comes to mind.
    #[test]
    fn there_is_a_seed_for_every_number() {
        let first_will_not_do =
            (0..1 << 20).filter(|sequence| !draws_something(before(u64::from(*sequence) << SHIFT)));
        let hard: Vec<u32> = first_will_not_do.collect();
        assert!(!hard.is_empty());
        let step = |state: u64| state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        for sequence in hard.into_iter().chain([0, 1, u32::MAX, 0x8000_0000]) {
            let drawn = step(seed_for(sequence));
            let (state, for_itself) = (step(drawn), draws_something(drawn));
            assert!(for_itself && state >> 61 == 0 && (state >> SHIFT) as u32 == sequence, "{sequence:#x}");
        }
    }
}
