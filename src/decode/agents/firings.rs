//! Recognises hooks that fire twice for one event, because the settings of two agents both name this server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::event::Timestamp;

/// Maximum time between two identical payloads that are one firing. A hook that is registered twice fires
/// within milliseconds; between two real events there is a response of the model.
const SAME_FIRING_MICROS: i64 = 1_000_000;

/// Maximum number of payloads remembered, of about 100 bytes each.
const REMEMBERED_MAX: usize = 16 * 1024;

/// The hashes of the most recent payloads, and the time at which each first fired.
#[derive(Debug, Default)]
pub struct Firings(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    first: HashMap<u128, Timestamp>,
    /// Oldest first. A payload that fired again later is here more than once.
    order: VecDeque<(u128, Timestamp)>,
}

impl Firings {
    /// Returns the time of the first payload of a firing: `fired_at`, unless the same payload fired
    /// shortly before (or after, since the clocks of senders differ).
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
    fn repeated_payload_within_a_second_is_the_same_firing() {
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
