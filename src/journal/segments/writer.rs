//! The writer's end of the segments.
//!
//! Beside `N.seg`, once it is full, stands `N.keys`: its records' keys, which outlive it, so that
//! repeated events are known across restarts. Those of the segment that is still open are in
//! `active.keys`: see [`saved_keys`](crate::journal::dedup::saved_keys).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::journal::dedup::key_file::{self, NO_KEY, record_key};
use crate::journal::dedup::recovery::Reading;
use crate::journal::dedup::saved_keys::KeyLog;
use crate::journal::dedup::window::{WINDOW_RECORDS, WINDOW_ROOM};
use crate::journal::file::{AppendFile, LogError, write_whole};
use crate::journal::segments::{Segment, Segments};
use crate::journal::{KeyOf, OpenError, lock};

/// When a segment is closed and the next begun, in bytes; less if the journal's limit is small.
const SEGMENT_BYTES: u64 = 64 << 20;

/// The writer's end of the segments.
#[derive(Debug)]
pub(in crate::journal) struct SegmentLog {
    segments: Arc<Segments>,
    active: AppendFile,
    /// The active segment's keys, for its `.keys` file.
    keys: Vec<u128>,
    key_log: KeyLog,
    segment_bytes: u64,
    bytes_max: u64,
    _lock: File,
}

impl SegmentLog {
    /// Opens the directory and takes its lock; moves a torn tail aside.
    pub(in crate::journal) fn open(
        dir: &Path,
        bytes_max: u64,
        retention: Duration,
    ) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(dir, error);
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = lock::acquire(&dir.join("lock"))?;
        let segments = Segments::find(dir, retention)?;
        let path = segments.path(segments.list().back().map_or(0, |active| active.base));
        let active = AppendFile::open(&path).map_err(|e| OpenError::io(&path, e))?;
        let len = repair_tail(&active, &path).map_err(|e| OpenError::io(&path, e))?;
        if let Some(active) = segments.list().back_mut() {
            active.len = len;
        }
        Ok(Self {
            segments: Arc::new(segments),
            active,
            keys: Vec::new(),
            key_log: KeyLog::new(dir.join("active.keys")),
            segment_bytes: SEGMENT_BYTES.min(bytes_max / 8).max(64 << 10),
            bytes_max,
            _lock: lock,
        })
    }

    pub(in crate::journal) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Appends framed records and makes them durable.
    pub(in crate::journal) fn append(
        &mut self,
        bytes: &[u8],
        keys: &[u128],
    ) -> Result<u64, LogError> {
        // Something is always taken when nothing waits, so that no limit blocks the journal for good.
        let waiting = self.segments.waiting_bytes();
        if waiting > 0 && waiting + bytes.len() as u64 > self.bytes_max {
            return Err(LogError::Full(self.bytes_max));
        }
        // What is stored already makes room for what is new.
        while self.segments.bytes() + bytes.len() as u64 > self.bytes_max
            && self.segments.remove_oldest(|_| true)?
        {}
        let active = self.segments.list().back().copied();
        if active.is_some_and(|active| active.len >= self.segment_bytes) || !self.is_untouched()? {
            self.roll()?;
        }
        self.active.append(bytes)?;
        self.keys.extend_from_slice(keys);
        let mut list = self.segments.list();
        let active = list.back_mut().ok_or_else(|| {
            LogError::Fatal(io::Error::other("the journal has lost its active segment"))
        })?;
        self.key_log.add(self.active.inode(), active.len, bytes, keys);
        active.len += bytes.len() as u64;
        active.records += keys.len() as u64;
        Ok(active.end())
    }

    /// Whether the active segment is there as it was left. Where someone else's hand has cut or
    /// deleted it, its positions stay used; what was appended to it is read as damaged records.
    fn is_untouched(&self) -> io::Result<bool> {
        let found = self.active.file().metadata()?;
        let mut list = self.segments.list();
        let Some(active) = list.back_mut() else { return Ok(true) };
        let untouched = found.nlink() > 0 && found.len() == active.len;
        active.len = active.len.max(found.len());
        Ok(untouched)
    }

    /// Closes the active segment and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        let Some(active) = self.segments.list().back().copied() else { return Ok(()) };
        if active.len == 0 {
            // Deleted before anything was in it.
            self.active = AppendFile::open(&self.segments.path(active.base))?;
            return Ok(());
        }
        key_file::write(&self.segments.keys_path(active.base), &self.keys)?;
        self.active = AppendFile::open(&self.segments.path(active.end()))?;
        self.keys.clear();
        self.key_log.clear();
        self.segments.list().push_back(Segment::new(active.end(), 0));
        Ok(())
    }

    pub(in crate::journal) fn key_log(&mut self) -> &mut KeyLog {
        &mut self.key_log
    }

    /// The keys of the newest records, newest first. Counts the records of each segment, and writes
    /// the `.keys` files that a crash or a restored copy left out.
    pub(in crate::journal) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        self.active.file().sync_all()?;
        let list: Vec<Segment> = self.segments.list().iter().copied().collect();
        let active = list[list.len() - 1];
        let mut newest_first = Vec::with_capacity(WINDOW_ROOM);
        let saved = self.key_log.open();
        let mut reading = Reading {
            log: &mut self.key_log,
            saved: &saved,
            key_of: |line: &[u8]| Some(record_key(line, key_of)),
            keys_max: usize::MAX,
            newest_first: &mut newest_first,
        };
        reading.read(self.active.file())?;
        self.keys = newest_first.iter().rev().copied().collect();
        for segment in &list {
            let records = if segment.base == active.base {
                self.keys.len()
            } else if let Some(records) = key_file::count(&self.segments.keys_path(segment.base)) {
                records
            } else {
                self.mend_keys(segment.base, key_of)?.len()
            };
            let mut list = self.segments.list();
            if let Some(found) = list.iter_mut().find(|found| found.base == segment.base) {
                found.records = records as u64;
            }
        }
        for base in self.segments.with_keys()?.into_iter().rev() {
            if newest_first.len() >= WINDOW_RECORDS {
                break;
            }
            if base == active.base {
                // Written by a roll that a crash cut short; the segment itself has been read.
                continue;
            }
            let path = self.segments.keys_path(base);
            let keys = match key_file::read(&path) {
                Err(_) if list.iter().any(|segment| segment.base == base) => {
                    self.mend_keys(base, key_of)?
                }
                Err(error) => {
                    tracing::warn!(
                        file = %path.display(), %error,
                        "unreadable; retries of the events it names may not be recognised here"
                    );
                    continue;
                }
                Ok(keys) => keys,
            };
            let wanted = WINDOW_RECORDS - newest_first.len();
            newest_first.extend(keys.into_iter().rev().take(wanted));
        }
        newest_first.truncate(WINDOW_RECORDS);
        newest_first.retain(|&key| key != NO_KEY);
        Ok(newest_first)
    }

    /// Writes a closed segment's `.keys` file anew, and returns what is in it.
    fn mend_keys(&self, base: u64, key_of: KeyOf) -> io::Result<Vec<u128>> {
        let keys = key_file::scan(&self.segments.path(base), key_of)?;
        key_file::write(&self.segments.keys_path(base), &keys)?;
        Ok(keys)
    }
}

/// Moves what follows the last line feed to a file beside the segment; returns the length left.
fn repair_tail(active: &AppendFile, path: &Path) -> io::Result<u64> {
    let (start, tail) = active.torn_tail()?;
    if tail.is_empty() {
        return Ok(start);
    }
    let aside = path.with_extension(format!("{start}.torn"));
    write_whole(&aside, &tail)?;
    active.file().set_len(start)?;
    active.file().sync_all()?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), bytes = tail.len(),
        "the last record was torn by a crash before it was acknowledged; moved aside"
    );
    Ok(start)
}
