//! Numbers that a server cannot foretell, however many of them it has seen.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A row of numbers: SipHash of 1, 2, 3, … under a secret key, which is what SipHash is made for. The generator in
/// [`crate::random`] would not do. Its state can be told from a few numbers, and each goes to a server that may be
/// curious about what the next one, for another server, will be.
#[derive(Clone, Debug)]
pub struct Numbers {
    keyed: SipHasher13,
    count: u64,
}

impl Numbers {
    /// The row for this key.
    pub fn new(key: &[u8; 16]) -> Self {
        Numbers { keyed: SipHasher13::new_with_key(key), count: 0 }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.count += 1;
        let mut hasher = self.keyed;
        hasher.write_u64(self.count);
        hasher.finish()
    }

    /// Spells a name anew: each of its letters is large or small, as it comes.
    pub fn spell(&mut self, name: &mut [u8]) {
        for chunk in name.chunks_mut(64) {
            let mut bits = self.number();
            for byte in chunk {
                if byte.is_ascii_alphabetic() && bits & 1 == 1 {
                    *byte ^= 0x20;
                }
                bits >>= 1;
            }
        }
    }
}
