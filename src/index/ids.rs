//! Events by their own ids (`event_id`, `tool_use_id`) alone.
//!
//! Such ids are mostly random, so that an ordinary index would have to change a page anywhere in a large
//! tree for each. Instead, each stretch of a file has an index of its own, a bucket, of hashes: what comes
//! in goes to one of them, which is small, and a question looks into each. What it finds there is where an
//! event with that id may stand; whether it does, the event's row tells.

use rusqlite::Connection;

use super::OFFSET_BITS;

/// A bucket is 16 MiB of a file: its number is that of an event, without so many bits.
const BUCKET_BITS: i64 = 24;

/// Which events of a block have which ids, in the order in which the index keeps them.
#[derive(Default)]
pub(super) struct Ids(Vec<Entry>);

/// Its fields are in the order of the table's key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    bucket: i64,
    hash: i32,
    event: i64,
}

impl Ids {
    /// Adds one id of an event.
    pub(super) fn push(&mut self, id: &str, event: i64) {
        self.0.push(Entry { bucket: event >> BUCKET_BITS, hash: hash(id), event });
    }

    /// To be called after the last one.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// Inserts them; what is there already stays.
    pub(super) fn insert(&self, index: &Connection) -> rusqlite::Result<()> {
        let mut insert = index.prepare("INSERT OR IGNORE INTO ids VALUES (?1, ?2, ?3)")?;
        for Entry { bucket, hash, event } in &self.0 {
            insert.execute((bucket, hash, event))?;
        }
        Ok(())
    }
}

/// Deletes what there is of a file.
pub(super) fn forget(index: &Connection, number: i64) -> rusqlite::Result<()> {
    let buckets = [number, number + 1].map(|number| number << (OFFSET_BITS - BUCKET_BITS));
    index.execute("DELETE FROM ids WHERE bucket >= ?1 AND bucket < ?2", buckets)?;
    Ok(())
}

/// Selects the numbers of the events that may have an id: a look for the next bucket, and one into it, until
/// there is none.
pub(super) fn candidates(id: &str) -> String {
    format!(
        "WITH RECURSIVE buckets (bucket) AS (SELECT min(bucket) FROM ids UNION ALL \
         SELECT (SELECT min(bucket) FROM ids WHERE bucket > buckets.bucket) FROM buckets \
         WHERE bucket IS NOT NULL) \
         SELECT event FROM buckets CROSS JOIN ids USING (bucket) WHERE hash = {}",
        hash(id)
    )
}

/// Half of what SQLite needs for a larger number. That two ids have the same is rare, and harmless.
fn hash(id: &str) -> i32 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes()) as i32
}
