//! The keys of the newest records, by which repeated ones are known.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::buffer;

/// How many keys are remembered: a little over a million, about 27 MiB when full.
pub const WINDOW_RECORDS: usize = 1 << 20;

/// For how many there is room, since a group is taken in before the oldest are forgotten: more than a
/// group of small events has, so that a full ring is not moved to one of twice the size.
pub(in crate::journal) const WINDOW_ROOM: usize = WINDOW_RECORDS + (64 << 10);

/// Into how many parts keys are sorted, by their place in the table, to be inserted: one for each 10 KiB
/// of the full table.
const PARTS: usize = 1024;

/// A first-in, first-out set. Insertions since the last [`Window::commit`] can be taken back, so
/// that a key counts as seen only once its record is durable.
#[derive(Debug, Default)]
pub(in crate::journal) struct Window {
    keys: VecDeque<u128>,
    /// Serial number of each key in `keys`, found by the key itself, which is a hash already.
    table: HashTable<u32>,
    /// Serial number of `keys[0]`, wrapping.
    first: u32,
    uncommitted: usize,
}

impl Window {
    /// A window that has seen these keys. Inserted one after the other, each would wait for memory;
    /// in the order of the table they take a fifth of the time.
    pub(in crate::journal) fn filled(newest_first: Vec<u128>) -> Self {
        let mut table = HashTable::with_capacity(newest_first.len());
        let buckets = table.num_buckets().max(1);
        let part_of = |key: u128| (key as usize & (buckets - 1)) * PARTS / buckets;
        let mut places = [0; PARTS];
        for &key in &newest_first {
            places[part_of(key)] += 1;
        }
        let mut place = 0;
        for part in &mut places {
            place += std::mem::replace(part, place);
        }
        let mut oldest_first = newest_first;
        oldest_first.reverse();
        let keys = VecDeque::from(oldest_first);
        let mut sorted = buffer::of(keys.len());
        sorted.resize(keys.len(), (0, 0));
        // The newest first: of a key that stands there twice, that one counts.
        for (serial, &key) in keys.iter().enumerate().rev() {
            let place = &mut places[part_of(key)];
            sorted[*place] = (key as u32, serial as u32);
            *place += 1;
        }
        let key_of = |serial: u32| keys[serial as usize];
        for (start, serial) in sorted {
            let is_same = |&other: &u32| key_of(other) == key_of(serial);
            table.entry(spread(start), is_same, |&serial| hash(key_of(serial))).or_insert(serial);
        }
        Self { keys, table, first: 0, uncommitted: 0 }
    }

    /// Remembers a key; false if it was known.
    pub(in crate::journal) fn insert(&mut self, key: u128) -> bool {
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

    /// Keeps what was inserted since the last commit, and forgets the oldest beyond the capacity.
    pub(in crate::journal) fn commit(&mut self) {
        self.uncommitted = 0;
        while self.keys.len() > WINDOW_RECORDS {
            if let Some(key) = self.keys.pop_front() {
                self.forget(key, self.first);
                self.first = self.first.wrapping_add(1);
            }
        }
    }

    /// Takes back what was inserted since the last commit.
    pub(in crate::journal) fn rollback(&mut self) {
        for _ in 0..std::mem::take(&mut self.uncommitted) {
            if let Some(key) = self.keys.pop_back() {
                self.forget(key, self.first.wrapping_add(self.keys.len() as u32));
            }
        }
    }

    fn forget(&mut self, key: u128, serial: u32) {
        if let Ok(entry) = self.table.find_entry(hash(key), |&other| other == serial) {
            entry.remove();
        }
    }
}

/// A key is a hash already; 32 bits of it choose the place.
fn hash(key: u128) -> u64 {
    spread(key as u32)
}

/// The table takes the place from the lowest bits, and tells neighbours apart by the highest.
fn spread(bits: u32) -> u64 {
    u64::from(bits) << 32 | u64::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8),
        Commit,
        Rollback,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => any::<u8>().prop_map(Step::Insert),
            1 => Just(Step::Commit),
            1 => Just(Step::Rollback),
        ]
    }

    proptest! {
        #[test]
        fn knows_what_was_committed_and_nothing_taken_back(
            steps in proptest::collection::vec(step(), 0..300),
        ) {
            let mut window = Window::default();
            let mut committed = std::collections::HashSet::new();
            let mut pending = std::collections::HashSet::new();
            for step in steps {
                match step {
                    Step::Insert(key) => {
                        let fresh = !committed.contains(&key) && pending.insert(key);
                        prop_assert_eq!(window.insert(u128::from(key) << 3), fresh);
                    }
                    Step::Commit => {
                        window.commit();
                        committed.extend(pending.drain());
                    }
                    Step::Rollback => {
                        window.rollback();
                        pending.clear();
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn filled_it_is_as_if_each_key_had_been_inserted(
            keys in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            // Spread over the table, and some of them twice.
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
    fn filled_it_forgets_the_oldest_first_and_a_repeated_key_with_its_last_place() {
        // Newest first: the last one stands at the oldest place, and in the middle once more.
        let mut newest_first: Vec<u128> = (0..WINDOW_RECORDS as u128).collect();
        newest_first[WINDOW_RECORDS / 2] = WINDOW_RECORDS as u128 - 1;
        let mut window = Window::filled(newest_first);
        for key in [1 << 40, 2 << 40] {
            assert!(window.insert(key));
        }
        window.commit();
        assert!(!window.insert(WINDOW_RECORDS as u128 - 1), "it stands in the middle, too");
        assert!(window.insert(WINDOW_RECORDS as u128 - 2), "forgotten");
        assert!(!window.insert(WINDOW_RECORDS as u128 - 3), "not forgotten");
    }

    #[test]
    fn forgets_only_beyond_its_capacity() {
        let mut window = Window::default();
        for key in 0..=WINDOW_RECORDS as u128 {
            assert!(window.insert(key), "key {key} is new");
        }
        window.commit();
        assert!(window.insert(0), "the oldest was forgotten");
        assert!(!window.insert(2), "the others were not");
    }
}
