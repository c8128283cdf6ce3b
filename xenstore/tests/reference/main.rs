//! The store against a naive model of it, and against itself after restarts.

mod model;
mod restart;
mod run;

/// Knuth's MMIX generator; a seed tells all.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Random requests of several clients, with transactions: all replies and the trees are the model's.
#[test]
fn the_store_does_as_the_model() {
    let mut total = run::Tally::default();
    for seed in 0..120 {
        let mut random = Random(seed);
        total += run::run(|n| random.below(n), 600);
    }
    println!("{total:?}");
    assert!(total.committed > 1000 && total.refused > 500, "{total:?}");
    assert!(total.merged > 500, "transactions met and did not conflict: {total:?}");
}
