//! The journal of `postgres` storage: a directory of segments, deleted once the forwarder has stored
//! them.
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
    /// Time at which the database had stored all of it and at least one record after it.
    delivered_at: Option<Instant>,
}

impl Segment {
    fn new(base: u64, len: u64) -> Self {
        Self { base, len, records: 0, delivered_at: None }
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
    /// Minimum time that a segment is kept after delivery.
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

    /// Records that everything before `position` is stored, and deletes the segments that were
    /// delivered longer than the retention time ago. The segment with the last record before the
    /// position stays, because the fingerprint of that record identifies the journal to the database.
    fn trim(&self, position: u64) -> io::Result<()> {
        let now = Instant::now();
        self.delivered.store(position, Ordering::Release);
        for segment in self.list().iter_mut() {
            // The position may move back when a database is restored from a backup.
            segment.delivered_at =
                (segment.end() < position).then(|| segment.delivered_at.unwrap_or(now));
        }
        let expired = |delivered_at: Instant| now.duration_since(delivered_at) >= self.retention;
        let mut removed = false;
        while self.remove_oldest(expired)? {
            removed = true;
        }
        if removed { self.trim_keys() } else { Ok(()) }
    }

    /// Deletes the oldest segment if it was delivered at a time that `is_expired` accepts; returns true
    /// if it did.
    fn remove_oldest(&self, is_expired: impl Fn(Instant) -> bool) -> io::Result<bool> {
        let mut list = self.list();
        let base = match list.front() {
            Some(Segment { base, delivered_at: Some(at), .. }) if is_expired(*at) => *base,
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
    fn trim_keys(&self) -> io::Result<()> {
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
