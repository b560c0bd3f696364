//! Lookup of events by `event_id` or `tool_use_id` alone.
//!
//! These ids are mostly random, so an ordinary index would change a random page of a large tree for
//! each event. Instead, the ids are hashed and kept in buckets, one for each 16 MiB of a file: inserts go
//! to the newest bucket, which is small, and a query looks into each bucket. A match is a candidate only;
//! the query compares the id with the event's row.

use rusqlite::Connection;

use super::OFFSET_BITS;

/// A bucket is 16 MiB of a file: its number is an event's id without these low bits.
const BUCKET_BITS: i64 = 24;

/// The ids of the events in a block.
#[derive(Default)]
pub(super) struct BlockIds(Vec<IdRow>);

/// A row of the table `ids`. The fields are in the order of its primary key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct IdRow {
    bucket: i64,
    hash: i32,
    event: i64,
}

impl BlockIds {
    /// Adds an id of an event.
    pub(super) fn push(&mut self, id: &str, event: i64) {
        self.0.push(IdRow { bucket: event >> BUCKET_BITS, hash: hash(id), event });
    }

    /// Sorts the ids in the order of the table, which makes inserts faster.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// Inserts the ids; existing rows are kept.
    pub(super) fn insert(&self, index: &Connection) -> rusqlite::Result<()> {
        let mut insert = index.prepare("INSERT OR IGNORE INTO ids VALUES (?1, ?2, ?3)")?;
        for IdRow { bucket, hash, event } in &self.0 {
            insert.execute((bucket, hash, event))?;
        }
        Ok(())
    }
}

/// Deletes the ids of a file's events.
pub(super) fn forget(index: &Connection, number: i64) -> rusqlite::Result<()> {
    let buckets = [number, number + 1].map(|number| number << (OFFSET_BITS - BUCKET_BITS));
    index.execute("DELETE FROM ids WHERE bucket >= ?1 AND bucket < ?2", buckets)?;
    Ok(())
}

/// Returns a query for the events that may have an id: for each bucket, one lookup of the next bucket
/// and one of the hash in it.
pub(super) fn candidates(id: &str) -> String {
    format!(
        "WITH RECURSIVE buckets (bucket) AS (SELECT min(bucket) FROM ids UNION ALL \
         SELECT (SELECT min(bucket) FROM ids WHERE bucket > buckets.bucket) FROM buckets \
         WHERE bucket IS NOT NULL) \
         SELECT event FROM buckets CROSS JOIN ids USING (bucket) WHERE hash = {}",
        hash(id)
    )
}

/// A 32-bit hash, which takes half the space of a 64-bit one. A collision is rare, and costs a comparison.
fn hash(id: &str) -> i32 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes()) as i32
}
