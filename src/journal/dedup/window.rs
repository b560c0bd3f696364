//! The dedup window: the keys of the newest records.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::buffer;

/// Number of keys in a full window: a little over a million, in about 27 MiB.
pub(crate) const WINDOW_RECORDS: usize = 1 << 20;

/// Ring capacity: one window plus one group of small events, so that a full ring never reallocates.
pub(crate) const WINDOW_CAPACITY: usize = WINDOW_RECORDS + (64 << 10);

/// Number of parts of the table by which keys are sorted before a bulk insert: about 10 KiB of a full
/// table each.
const PARTS: usize = 1024;

/// A first-in, first-out set of keys. Insertions since the last [`Window::commit`] can be rolled back,
/// so that a key counts as seen only once its record is durable.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Oldest first.
    keys: VecDeque<u128>,
    /// The serial number of each key: 4 bytes per entry instead of 16.
    table: HashTable<u32>,
    /// The serial number of `keys[0]`; wraps around.
    first: u32,
    uncommitted: usize,
}

impl Window {
    /// A window with these keys. They are inserted in the order of the table, which takes a fifth of
    /// the time: in the order of the records each insertion is a cache miss.
    pub(crate) fn filled(newest_first: Vec<u128>) -> Self {
        let mut table = HashTable::with_capacity(newest_first.len());
        let buckets = table.num_buckets().max(1);
        let part_of = |key: u128| (key as usize & (buckets - 1)) * PARTS / buckets;
        // A counting sort: the number of keys in each part, then the index of each part's next key.
        let mut next = [0; PARTS];
        for &key in &newest_first {
            next[part_of(key)] += 1;
        }
        let mut index = 0;
        for part in &mut next {
            index += std::mem::replace(part, index);
        }
        let mut oldest_first = newest_first;
        oldest_first.reverse();
        let keys = VecDeque::from(oldest_first);
        let mut sorted = buffer::with_capacity(keys.len());
        sorted.resize(keys.len(), (0, 0));
        // Newest first, so that the newest serial number of a repeated key is kept.
        for (serial, &key) in keys.iter().enumerate().rev() {
            let index = &mut next[part_of(key)];
            sorted[*index] = (key as u32, serial as u32);
            *index += 1;
        }
        let key_of = |serial: u32| keys[serial as usize];
        for (start, serial) in sorted {
            let is_same = |&other: &u32| key_of(other) == key_of(serial);
            table.entry(spread(start), is_same, |&serial| hash(key_of(serial))).or_insert(serial);
        }
        Self { keys, table, first: 0, uncommitted: 0 }
    }

    /// Adds a key; returns false if the window has it already.
    pub(crate) fn insert(&mut self, key: u128) -> bool {
        let Self { keys, table, first, .. } = self;
        let key_of = |serial: u32| keys[serial.wrapping_sub(*first) as usize];
        if table.find(hash(key), |&serial| key_of(serial) == key).is_some() {
            return false;
        }
        let serial = first.wrapping_add(keys.len() as u32);
        table.insert_unique(hash(key), serial, |&serial| hash(key_of(serial)));
        keys.push_back(key);
        self.uncommitted += 1;
        true
    }

    /// Keeps the keys inserted since the last commit, and removes the oldest keys beyond a full window.
    pub(crate) fn commit(&mut self) {
        self.uncommitted = 0;
        while self.keys.len() > WINDOW_RECORDS {
            if let Some(key) = self.keys.pop_front() {
                self.remove(key, self.first);
                self.first = self.first.wrapping_add(1);
            }
        }
    }

    /// Removes the keys inserted since the last commit.
    pub(crate) fn rollback(&mut self) {
        for _ in 0..std::mem::take(&mut self.uncommitted) {
            if let Some(key) = self.keys.pop_back() {
                self.remove(key, self.first.wrapping_add(self.keys.len() as u32));
            }
        }
    }

    fn remove(&mut self, key: u128, serial: u32) {
        if let Ok(entry) = self.table.find_entry(hash(key), |&other| other == serial) {
            entry.remove();
        }
    }
}

/// The table's hash of a key, which is a hash itself: 32 bits of it are enough.
fn hash(key: u128) -> u64 {
    spread(key as u32)
}

/// Copies the bits to both halves: the table takes the bucket from the lowest bits and the tag from the
/// highest.
fn spread(bits: u32) -> u64 {
    u64::from(bits) << 32 | u64::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum WindowStep {
        Insert(u8),
        Commit,
        Rollback,
    }

    fn step() -> impl Strategy<Value = WindowStep> {
        prop_oneof![
            8 => any::<u8>().prop_map(WindowStep::Insert),
            1 => Just(WindowStep::Commit),
            1 => Just(WindowStep::Rollback),
        ]
    }

    proptest! {
        #[test]
        fn committed_keys_are_known_and_rolled_back_keys_are_not(
            steps in proptest::collection::vec(step(), 0..300),
        ) {
            let mut window = Window::default();
            let mut committed = std::collections::HashSet::new();
            let mut pending = std::collections::HashSet::new();
            for step in steps {
                match step {
                    WindowStep::Insert(key) => {
                        let fresh = !committed.contains(&key) && pending.insert(key);
                        prop_assert_eq!(window.insert(u128::from(key) << 3), fresh);
                    }
                    WindowStep::Commit => {
                        window.commit();
                        committed.extend(pending.drain());
                    }
                    WindowStep::Rollback => {
                        window.rollback();
                        pending.clear();
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn filling_equals_inserting_each_key(
            keys in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            // Spread over the table, with repeated keys.
            let spread = |key: u8| u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut window = Window::filled(keys.iter().map(|&key| spread(key)).collect());
            for key in 0..=u8::MAX {
                prop_assert_eq!(window.insert(spread(key)), !keys.contains(&key));
            }
            window.rollback();
            for key in 0..=u8::MAX {
                prop_assert_eq!(window.insert(spread(key)), !keys.contains(&key));
            }
        }
    }

    #[test]
    fn a_filled_window_removes_the_oldest_first_and_keeps_a_repeated_key() {
        // Newest first: the oldest key is repeated in the middle.
        let mut newest_first: Vec<u128> = (0..WINDOW_RECORDS as u128).collect();
        newest_first[WINDOW_RECORDS / 2] = WINDOW_RECORDS as u128 - 1;
        let mut window = Window::filled(newest_first);
        for key in [1 << 40, 2 << 40] {
            assert!(window.insert(key));
        }
        window.commit();
        assert!(!window.insert(WINDOW_RECORDS as u128 - 1), "repeated in the middle");
        assert!(window.insert(WINDOW_RECORDS as u128 - 2), "removed");
        assert!(!window.insert(WINDOW_RECORDS as u128 - 3), "kept");
    }

    #[test]
    fn only_the_oldest_keys_beyond_a_full_window_are_removed() {
        let mut window = Window::default();
        for key in 0..=WINDOW_RECORDS as u128 {
            assert!(window.insert(key), "key {key} is new");
        }
        window.commit();
        assert!(window.insert(0), "the oldest was removed");
        assert!(!window.insert(2), "the others were kept");
    }
}
