//! Mutations of bytes, such as flipped bits, and of a grammar, such as inserted tokens.

use crate::faults::rng::Rng;

/// Maximum length of an input.
const BYTES_MAX: usize = 4096;

pub(super) struct Mutator<'d> {
    rng: Rng,
    dictionary: &'d [&'d str],
}

impl<'d> Mutator<'d> {
    pub(super) fn new(seed: u64, dictionary: &'d [&'d str]) -> Self {
        Self { rng: Rng::new(seed), dictionary }
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.rng.within(0..end as u64) as usize
    }

    /// Returns an input of the pool with a few mutations.
    pub(super) fn change(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = pool[self.below(pool.len())].clone();
        for _ in 0..=self.below(4) {
            self.change_once(&mut input, pool);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change_once(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.below(256) as u8,
            2 if at < end => drop(input.drain(at..end)),
            3 => {
                let part = input[at.min(end)..end].to_vec();
                input.splice(at..at, part);
            }
            4 => input.truncate(at),
            5 => {
                let other = &pool[self.below(pool.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..end.max(at), other[from..to].iter().copied());
            }
            _ if !self.dictionary.is_empty() => {
                let token = self.dictionary[self.below(self.dictionary.len())].bytes();
                let end = if self.below(2) == 0 { at } else { end.max(at) };
                input.splice(at..end, token);
            }
            _ => {}
        }
    }
}
