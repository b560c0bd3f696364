//! The journal of `postgres` storage: a directory of segments, which are deleted after delivery.
//!
//! | file | content |
//! |---|---|
//! | `N.seg` | records; `N` is the position of the first one, in 20 digits |
//! | `N.keys` | keys of a closed segment's records; kept longer than the segment, for the dedup window |
//! | `active.keys` | keys of the active segment's records; see [`saved_keys`](super::dedup::saved_keys) |
//! | `id` | the journal's id in the database |
//! | `lock` | locked while a server runs |

pub(super) mod appender;
mod reader;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use reader::{JournalChunk, Reader, Record};

use crate::journal::OpenError;
use crate::journal::dedup::window::WINDOW_RECORDS;
use crate::journal::file::write_atomically;

/// A segment. Positions count bytes from the journal's first record; they are never reused.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Position of the first record.
    base: u64,
    len: u64,
    /// Number of records; 0 until they have been counted at start.
    records: u64,
    /// Time since which the database has all of it and at least one record after it.
    deletable_since: Option<Instant>,
}

impl Segment {
    fn new(base: u64, len: u64) -> Self {
        Self { base, len, records: 0, deletable_since: None }
    }

    fn end(self) -> u64 {
        self.base + self.len
    }
}

/// The list of segments, shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    /// The journal's id in the database.
    id: Mutex<String>,
    /// Oldest first; the last one is active. Never empty.
    list: Mutex<VecDeque<Segment>>,
    /// Time that a segment is kept after delivery, unless its space is needed.
    retention: Duration,
    /// Position before which everything is stored.
    delivered: AtomicU64,
}

impl Segments {
    /// Lists the segments of a directory. If there are none, the journal starts with an empty segment
    /// and a new id.
    fn find(dir: &Path, retention: Duration) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(dir, error);
        let mut list = VecDeque::new();
        for base in bases(dir, "seg").map_err(io)? {
            let path = dir.join(format!("{base:020}.seg"));
            let len = std::fs::metadata(&path).map_err(|e| OpenError::io(&path, e))?.len();
            list.push_back(Segment::new(base, len));
        }
        let id = if list.is_empty() {
            list.push_back(Segment::new(0, 0));
            new_id(dir)
        } else {
            read_id(dir)
        };
        Ok(Self {
            dir: dir.to_owned(),
            id: Mutex::new(id.map_err(io)?),
            list: Mutex::new(list),
            retention,
            delivered: AtomicU64::new(0),
        })
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        // A panic while the lock is held leaves no partial update.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self) -> String {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the journal a new id, and makes it durable.
    fn renew_id(&self) -> io::Result<()> {
        let id = new_id(&self.dir)?;
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(())
    }

    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.seg"))
    }

    fn keys_path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.keys"))
    }

    /// Positions of the segments that have a `.keys` file, ascending; the segments themselves may be
    /// deleted.
    fn with_keys(&self) -> io::Result<Vec<u64>> {
        bases(&self.dir, "keys")
    }

    /// Position after the newest durable record.
    pub(crate) fn end(&self) -> u64 {
        self.list().back().map_or(0, |segment| segment.end())
    }

    /// Bytes of the backlog: not known to be stored.
    fn backlog_bytes(&self) -> u64 {
        let start = self.list().front().map_or(0, |segment| segment.base);
        self.end() - self.delivered.load(Ordering::Acquire).clamp(start, self.end())
    }

    /// Bytes in all segments.
    fn bytes(&self) -> u64 {
        self.list().iter().map(|segment| segment.len).sum()
    }

    /// Records that everything before `position` is stored, and deletes the oldest segments while they
    /// may be deleted. The forwarder calls this after every commit. A segment may be deleted if
    ///
    /// - it ends before `position`,
    /// - it is not the active one,
    /// - its `.keys` file exists, since the dedup window needs the keys for longer,
    /// - and it has been deletable for the retention time.
    ///
    /// The writer deletes segments as well, with [`remove_oldest`](Self::remove_oldest), when it needs
    /// their space. It disregards the retention time; the other conditions are the same. So a segment
    /// with records that are not stored is never deleted, and a full journal rejects events instead.
    fn delete_delivered(&self, position: u64) -> io::Result<()> {
        let now = Instant::now();
        self.delivered.store(position, Ordering::Release);
        for segment in self.list().iter_mut() {
            // A segment that ends at the position is not deletable: its last record has the fingerprint
            // that the database keeps with the position. Without that record, the next connection would
            // take this journal for another one and deliver all of it again.
            // The position moves back when a database is restored from a backup.
            segment.deletable_since =
                (segment.end() < position).then(|| segment.deletable_since.unwrap_or(now));
        }
        let expired = |since: Instant| now.duration_since(since) >= self.retention;
        let mut removed = false;
        while self.remove_oldest(expired)? {
            removed = true;
        }
        if removed { self.delete_old_keys() } else { Ok(()) }
    }

    /// Deletes the oldest segment if it is deletable since a time that `is_expired` accepts; returns
    /// true if it was deleted. See [`delete_delivered`](Self::delete_delivered) for all conditions.
    fn remove_oldest(&self, is_expired: impl Fn(Instant) -> bool) -> io::Result<bool> {
        let mut list = self.list();
        let base = match list.front() {
            Some(Segment { base, deletable_since: Some(at), .. }) if is_expired(*at) => *base,
            _ => return Ok(false),
        };
        // The dedup window needs the keys for longer than the segment. If the `.keys` file was lost,
        // the writer is about to write it again from the segment.
        let exists = self.path(base).try_exists()?;
        if list.len() == 1 || (exists && !self.keys_path(base).try_exists()?) {
            return Ok(false);
        }
        if exists {
            std::fs::remove_file(self.path(base))?;
        }
        list.pop_front();
        Ok(true)
    }

    /// Deletes the `.keys` files of deleted segments whose keys no longer fit in the dedup window.
    fn delete_old_keys(&self) -> io::Result<()> {
        let oldest = self.list().front().map_or(0, |segment| segment.base);
        let mut newer = 0;
        for base in self.with_keys()?.into_iter().rev() {
            if newer >= WINDOW_RECORDS as u64 && base < oldest {
                std::fs::remove_file(self.keys_path(base))?;
            } else {
                newer += std::fs::metadata(self.keys_path(base))?.len() / 16;
            }
        }
        Ok(())
    }
}

fn read_id(dir: &Path) -> io::Result<String> {
    let id = std::fs::read_to_string(dir.join("id")).unwrap_or_default();
    match uuid::Uuid::parse_str(id.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => new_id(dir),
    }
}

fn new_id(dir: &Path) -> io::Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    write_atomically(&dir.join("id"), format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// Positions in the names of the files with an extension, ascending.
fn bases(dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.split_once('.'));
        if let Some((base, found)) = base
            && found == extension
            && base.len() == 20
        {
            bases.extend(base.parse::<u64>());
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

#[cfg(test)]
mod tests {
    use super::appender::SegmentAppender;
    use super::*;

    #[test]
    fn a_segment_that_ends_at_the_position_is_kept_for_its_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let mut appender = SegmentAppender::open(dir.path(), 1 << 20, Duration::ZERO).unwrap();
        let mut record = vec![b'x'; 40_000];
        record.push(b'\n');
        for key in 0..12 {
            appender.append(&record, &[key]).unwrap();
        }
        let segments = appender.segments().clone();
        let reader = Reader::new(segments.clone());
        let ends: Vec<u64> = segments.list().iter().map(|segment| segment.end()).collect();
        assert!(ends.len() > 2, "{ends:?}");

        reader.delete_delivered(ends[0]).unwrap();
        assert_eq!(reader.start(), 0, "the segment before the position is kept");
        assert!(reader.fingerprint(ends[0]).unwrap().is_some());

        let position = ends[0] + record.len() as u64;
        reader.delete_delivered(position).unwrap();
        assert_eq!(reader.start(), ends[0]);
        assert!(reader.fingerprint(position).unwrap().is_some());

        reader.delete_delivered(ends[ends.len() - 1]).unwrap();
        assert_eq!(reader.start(), ends[ends.len() - 2], "the active segment is kept");
        assert!(reader.fingerprint(ends[ends.len() - 1]).unwrap().is_some());
    }
}
