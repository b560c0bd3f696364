//! What redaction did to the events of a request.

use std::time::Duration;

/// The number of replaced secrets, by rule, and the time spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redactions {
    counts: Vec<u64>,
    /// Strings that were replaced as a whole because the time was spent.
    pub(super) unsearched: u64,
    /// CPU time spent with the patterns of a file.
    pub(super) spent: Duration,
}

impl Redactions {
    /// Returns a count from 0 that spends what is left of the time of `self`.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { spent: self.spent, ..Self::default() }
    }

    /// Takes over the time that followed, and no counts.
    pub(crate) fn spend(&mut self, following: &Self) {
        self.spent = self.spent.max(following.spent);
    }

    /// Adds what followed, which must be of the same redactor and begun with [`Redactions::next`].
    pub fn add(&mut self, following: &Self) {
        self.counts.resize(self.counts.len().max(following.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&following.counts) {
            *count += more;
        }
        self.unsearched += following.unsearched;
        self.spend(following);
    }

    pub(super) fn count(&mut self, rule: usize) {
        self.counts.resize(self.counts.len().max(rule + 1), 0);
        self.counts[rule] += 1;
    }

    /// The numbers, in the order of the rules. Rules at the end can be missing.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }
}
