//! Recognises hooks that fire twice for one event, because two settings files both name this server.
//!
//! `emit` decides by itself which event a hook reports, and names it in the line ([`super::claims`]). An HTTP
//! request has nothing but its payload, so equal payloads without an ID or a time within a second are one
//! event. This table also matches the two ways with each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::claims::SAME_FIRING_MICROS;
use crate::event::Timestamp;

/// Maximum number of payloads remembered, of about 150 bytes each.
const REMEMBERED_MAX: usize = 16 * 1024;

/// The hashes of the most recent payloads, and the events they became.
#[derive(Debug, Default)]
pub struct Firings(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    events: HashMap<u128, Vec<Firing>>,
    /// Hashes, oldest first; one for each firing.
    order: VecDeque<u128>,
}

/// An event: its ID and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Firing {
    pub(super) event_id: u128,
    pub(super) at: Timestamp,
    /// ID in the line of `emit` that reported the event, if one did.
    line: Option<u128>,
}

impl Firing {
    pub(super) fn new(event_id: u128, at: Timestamp) -> Self {
        Self { event_id, at, line: None }
    }

    fn is_near(&self, at: Timestamp) -> bool {
        (at.micros() - self.at.micros()).abs() <= SAME_FIRING_MICROS
    }
}

impl Firings {
    /// Returns the event of a payload that came without an ID: the one that the same payload became
    /// shortly before (or after, since the clocks of senders differ), or else this one.
    pub(super) fn unnamed(&self, hash: u128, fired: Firing) -> Firing {
        self.find_or_insert(hash, fired, |known| known.is_near(fired.at).then_some(*known))
    }

    /// Returns the event of a line of `emit`: that of an HTTP request shortly before, unless another
    /// line has reported the same, or else the one that the line names. A line sent again is the same
    /// event again.
    pub(super) fn named(&self, hash: u128, line: Firing) -> Firing {
        let line = Firing { line: Some(line.event_id), ..line };
        self.find_or_insert(hash, line, |known| {
            let is_same = known.line == line.line || known.line.is_none() && known.is_near(line.at);
            is_same.then(|| {
                known.line = line.line;
                *known
            })
        })
    }

    fn find_or_insert(
        &self,
        hash: u128,
        fired: Firing,
        same: impl FnMut(&mut Firing) -> Option<Firing>,
    ) -> Firing {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { events, order } = &mut *memory;
        let known = events.entry(hash).or_default();
        if let Some(found) = known.iter_mut().rev().find_map(same) {
            return found;
        }
        known.push(fired);
        order.push_back(hash);
        if order.len() > REMEMBERED_MAX
            && let Some(oldest) = order.pop_front()
            && let Some(known) = events.get_mut(&oldest)
        {
            known.remove(0);
            if known.is_empty() {
                events.remove(&oldest);
            }
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(event_id: u128, millis: i64) -> Firing {
        Firing::new(event_id, Timestamp::from_micros(1_000_000_000 + millis * 1000).unwrap())
    }

    #[test]
    fn repeated_payload_without_id_within_a_second_is_the_same_firing() {
        let firings = Firings::default();
        assert_eq!(firings.unnamed(1, fired(10, 0)), fired(10, 0));
        assert_eq!(firings.unnamed(1, fired(11, 1000)), fired(10, 0));
        assert_eq!(firings.unnamed(2, fired(12, 1000)), fired(12, 1000));
        assert_eq!(firings.unnamed(1, fired(13, 1001)), fired(13, 1001));
        assert_eq!(firings.unnamed(1, fired(14, 900)), fired(13, 1001));
    }

    #[test]
    fn named_lines_are_distinct_and_match_requests_one_to_one() {
        let firings = Firings::default();
        let event = |firing: Firing| firing.event_id;
        assert_eq!(event(firings.unnamed(1, fired(10, 0))), 10);
        assert_eq!(event(firings.named(1, fired(20, 5))), 10);
        assert_eq!(event(firings.named(1, fired(21, 6))), 21);
        assert_eq!(event(firings.unnamed(1, fired(11, 7))), 21);
        // Sent again, also much later.
        assert_eq!(event(firings.named(1, fired(20, 5))), 10);
        assert_eq!(event(firings.named(1, fired(21, 6))), 21);
    }

    #[test]
    fn memory_is_bounded() {
        let firings = Firings::default();
        for hash in 0..3 * REMEMBERED_MAX as u128 {
            firings.unnamed(hash % (2 * REMEMBERED_MAX as u128), fired(hash, 0));
        }
        for line in 0..2 * REMEMBERED_MAX as u128 {
            firings.named(1, fired(line, 5000));
        }
        let memory = firings.0.lock().unwrap();
        let known: usize = memory.events.values().map(Vec::len).sum();
        assert!(memory.order.len() <= REMEMBERED_MAX && known <= REMEMBERED_MAX);
    }
}
