//! The number of replaced secrets.

/// The number of replaced secrets, by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redactions(Vec<u64>);

impl Redactions {
    /// Adds the numbers of others, which must be of the same redactor.
    pub fn add(&mut self, others: &Self) {
        self.0.resize(self.0.len().max(others.0.len()), 0);
        for (count, more) in self.0.iter_mut().zip(&others.0) {
            *count += more;
        }
    }

    pub(super) fn count(&mut self, rule: usize) {
        self.0.resize(self.0.len().max(rule + 1), 0);
        self.0[rule] += 1;
    }

    /// The numbers, in the order of the rules. Rules at the end can be missing.
    pub(super) fn counts(&self) -> &[u64] {
        &self.0
    }
}
