//! The keys of the newest records, by which repeated ones are known.

use std::collections::VecDeque;

use hashbrown::HashTable;

/// How many keys are remembered: a little over a million, about 27 MiB when full.
pub const WINDOW_RECORDS: usize = 1 << 20;

/// A first-in, first-out set. Insertions since the last [`Window::commit`] can be taken back, so
/// that a key counts as seen only once its record is durable.
#[derive(Debug, Default)]
pub(super) struct Window {
    keys: VecDeque<u128>,
    /// Serial number of each key in `keys`, found by the key itself, which is a hash already.
    table: HashTable<u32>,
    /// Serial number of `keys[0]`, wrapping.
    first: u32,
    uncommitted: usize,
}

impl Window {
    /// Remembers a key; false if it was known.
    pub(super) fn insert(&mut self, key: u128) -> bool {
        let Self { keys, table, first, .. } = self;
        let key_of = |serial: u32| keys[serial.wrapping_sub(*first) as usize];
        if table.find(key as u64, |&serial| key_of(serial) == key).is_some() {
            return false;
        }
        let serial = first.wrapping_add(keys.len() as u32);
        table.insert_unique(key as u64, serial, |&serial| key_of(serial) as u64);
        keys.push_back(key);
        self.uncommitted += 1;
        true
    }

    /// Keeps what was inserted since the last commit, and forgets the oldest beyond the capacity.
    pub(super) fn commit(&mut self) {
        self.uncommitted = 0;
        while self.keys.len() > WINDOW_RECORDS {
            if let Some(key) = self.keys.pop_front() {
                self.forget(key, self.first);
                self.first = self.first.wrapping_add(1);
            }
        }
    }

    /// Takes back what was inserted since the last commit.
    pub(super) fn rollback(&mut self) {
        for _ in 0..std::mem::take(&mut self.uncommitted) {
            if let Some(key) = self.keys.pop_back() {
                self.forget(key, self.first.wrapping_add(self.keys.len() as u32));
            }
        }
    }

    fn forget(&mut self, key: u128, serial: u32) {
        if let Ok(entry) = self.table.find_entry(key as u64, |&other| other == serial) {
            entry.remove();
        }
    }
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
