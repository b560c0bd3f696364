//! Reproducible random numbers: `SplitMix64` (Steele et al., 2014).

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Derives the seed of one part of a run from the seed of the run.
    pub(crate) fn derive(seed: u64, part: impl Hash) -> u64 {
        // `DefaultHasher::new` has fixed keys, so the result is the same in every process.
        let mut hasher = std::hash::DefaultHasher::new();
        (seed, part).hash(&mut hasher);
        hasher.finish()
    }

    /// A new generator seeded from this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True with a probability of `chance` percent.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.within(0..100) < chance
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.within(0..from.len() as u64) as usize]
    }

    /// Sleeps for a random time. The moment of a fault is random; everything else is polled for.
    pub(crate) fn pause(&mut self, milliseconds: Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.within(milliseconds)));
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.within(0..at as u64 + 1) as usize);
        }
    }
}
