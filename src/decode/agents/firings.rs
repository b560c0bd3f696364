//! When hooks fired: two agents' settings that both name this server make one hook fire twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::event::Timestamp;

/// Payloads that are equal to the byte, and have nothing in them that tells one firing from the
/// next, are one firing if the second comes no later than this after the first. Hooks that are
/// registered twice fire within milliseconds; between two real events there is a model's answer.
const SAME_FIRING_MICROS: i64 = 1_000_000;

/// How many payloads are remembered: about 100 bytes each.
const REMEMBERED_MAX: usize = 16 * 1024;

/// The payloads that came last, by hash, and when each first fired.
#[derive(Debug, Default)]
pub struct Firings(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    first: HashMap<u128, Timestamp>,
    /// Oldest first. What was remembered anew is here more than once.
    order: VecDeque<(u128, Timestamp)>,
}

impl Firings {
    /// When the firing began that this payload belongs to: `fired_at`, unless the same payload
    /// fired shortly before (or after: senders' clocks differ).
    pub(super) fn first(&self, hash: u128, fired_at: Timestamp) -> Timestamp {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = memory.first.get(&hash)
            && (fired_at.micros() - first.micros()).abs() <= SAME_FIRING_MICROS
        {
            return *first;
        }
        memory.first.insert(hash, fired_at);
        memory.order.push_back((hash, fired_at));
        if memory.order.len() > REMEMBERED_MAX
            && let Some((oldest, at)) = memory.order.pop_front()
            && memory.first.get(&oldest) == Some(&at)
        {
            memory.first.remove(&oldest);
        }
        fired_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1000).unwrap()
    }

    #[test]
    fn a_second_within_a_second_is_the_first() {
        let firings = Firings::default();
        assert_eq!(firings.first(1, at(0)), at(0));
        assert_eq!(firings.first(1, at(1000)), at(0));
        assert_eq!(firings.first(2, at(1000)), at(1000));
        assert_eq!(firings.first(1, at(1001)), at(1001));
        assert_eq!(firings.first(1, at(900)), at(1001));
    }

    #[test]
    fn memory_is_bounded() {
        let firings = Firings::default();
        for hash in 0..3 * REMEMBERED_MAX as u128 {
            firings.first(hash % (2 * REMEMBERED_MAX as u128), at(0));
        }
        let memory = firings.0.lock().unwrap();
        assert!(memory.order.len() <= REMEMBERED_MAX && memory.first.len() <= REMEMBERED_MAX);
    }
}
