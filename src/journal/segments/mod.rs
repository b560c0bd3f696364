//! The segments of the journal of `postgres` storage: a directory of files, each named by the position
//! where it begins, deleted behind the forwarder. [`writer`] writes them.

mod reader;
pub(super) mod writer;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use reader::{Chunk, Reader, Record};

use crate::journal::OpenError;
use crate::journal::dedup::window::WINDOW_RECORDS;
use crate::journal::file::write_whole;

/// A segment's place: positions count bytes from the journal's beginning.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Segment {
    pub(in crate::journal) base: u64,
    pub(in crate::journal) len: u64,
    pub(in crate::journal) records: u64,
    /// When everything in it, and something after it, was stored.
    delivered_at: Option<Instant>,
}

impl Segment {
    pub(in crate::journal) fn new(base: u64, len: u64) -> Self {
        Self { base, len, records: 0, delivered_at: None }
    }

    pub(in crate::journal) fn end(self) -> u64 {
        self.base + self.len
    }
}

/// The segments that are there, and how far they are durable. Shared by writer, reader and trim.
#[derive(Debug)]
pub(in crate::journal) struct Segments {
    dir: PathBuf,
    /// What the journal is called in the database.
    id: Mutex<String>,
    list: Mutex<VecDeque<Segment>>,
    /// How long a segment is kept once everything in it is stored.
    retention: Duration,
    /// Everything before it is stored.
    delivered: AtomicU64,
}

impl Segments {
    /// Those of the directory. There is always one; without any the journal begins anew, whatever it was
    /// called before.
    pub(in crate::journal) fn find(dir: &Path, retention: Duration) -> Result<Self, OpenError> {
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

    pub(in crate::journal) fn list(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        // No code panics while it holds the lock, and no partial update is possible.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::journal) fn id(&self) -> String {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the journal a new identity, which survives a restart.
    pub(in crate::journal) fn renew_id(&self) -> io::Result<()> {
        let id = new_id(&self.dir)?;
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(())
    }

    pub(in crate::journal) fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.seg"))
    }

    pub(in crate::journal) fn keys_path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.keys"))
    }

    /// The positions of the segments, there or deleted, that have a `.keys` file, ascending.
    pub(in crate::journal) fn with_keys(&self) -> io::Result<Vec<u64>> {
        bases(&self.dir, "keys")
    }

    /// Where the newest durable record ends.
    pub(in crate::journal) fn end(&self) -> u64 {
        self.list().back().map_or(0, |segment| segment.end())
    }

    /// Bytes that are not known to be stored.
    pub(in crate::journal) fn waiting_bytes(&self) -> u64 {
        let start = self.list().front().map_or(0, |segment| segment.base);
        self.end() - self.delivered.load(Ordering::Acquire).clamp(start, self.end())
    }

    /// Bytes in all segments.
    pub(in crate::journal) fn bytes(&self) -> u64 {
        self.list().iter().map(|segment| segment.len).sum()
    }

    /// Takes note that everything before `position` is stored, and deletes the segments for which
    /// that has been so for the retention time. The segment whose last record ends right at the
    /// position stays: that record proves to a database that this is the journal it knows.
    pub(in crate::journal) fn trim(&self, position: u64) -> io::Result<()> {
        let now = Instant::now();
        self.delivered.store(position, Ordering::Release);
        for segment in self.list().iter_mut() {
            // Going back to an earlier position (a database restored from a backup) needs them all.
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

    /// Deletes the oldest segment if it has been delivered, and long enough ago; says if it did.
    pub(in crate::journal) fn remove_oldest(
        &self,
        long_enough: impl Fn(Instant) -> bool,
    ) -> io::Result<bool> {
        let mut list = self.list();
        let base = match list.front() {
            Some(Segment { base, delivered_at: Some(at), .. }) if long_enough(*at) => *base,
            _ => return Ok(false),
        };
        // Its keys must outlive it. Where they were lost, the writer is about to collect them anew.
        // A segment that someone else has deleted is in nobody's way.
        let there = self.path(base).try_exists()?;
        if list.len() == 1 || (there && !self.keys_path(base).try_exists()?) {
            return Ok(false);
        }
        if there {
            std::fs::remove_file(self.path(base))?;
        }
        list.pop_front();
        Ok(true)
    }

    /// Deletes the `.keys` files whose keys the window would have forgotten.
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
    write_whole(&dir.join("id"), format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// The positions in the names of the directory's files with that extension, ascending.
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
