//! Appends to the active segment, closes it when it is full, and keeps the keys of both.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Segment, Segments};
use crate::journal::dedup::key_file::{self, NO_KEY, record_key};
use crate::journal::dedup::recovery::KeyReader;
use crate::journal::dedup::saved_keys::SavedKeys;
use crate::journal::dedup::window::{WINDOW_CAPACITY, WINDOW_RECORDS};
use crate::journal::file::{AppendFile, WriteError, create_dir_all, write_atomically};
use crate::journal::{KeyOf, OpenError, lock};

/// Length at which a segment is closed; an eighth of the journal's maximum size if that is less.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Appends records to the newest segment.
#[derive(Debug)]
pub(crate) struct SegmentAppender {
    segments: Arc<Segments>,
    active: AppendFile,
    /// Keys of the active segment's records, for its `.keys` file.
    active_keys: Vec<u128>,
    /// The same keys in `active.keys`, so that a start need not read the active segment.
    saved_keys: SavedKeys,
    segment_bytes: u64,
    bytes_max: u64,
    _lock: File,
}

impl SegmentAppender {
    /// Opens the directory, takes its lock, and moves a torn tail of the active segment to a file
    /// beside it.
    pub(crate) fn open(dir: &Path, bytes_max: u64, retention: Duration) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(dir, error);
        create_dir_all(dir).map_err(io)?;
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
            active_keys: Vec::new(),
            saved_keys: SavedKeys::new(dir.join("active.keys")),
            segment_bytes: SEGMENT_BYTES.min(bytes_max / 8).max(64 << 10),
            bytes_max,
            _lock: lock,
        })
    }

    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Appends framed records with these keys; returns the position after them once they are durable.
    pub(crate) fn append(&mut self, records: &[u8], keys: &[u128]) -> Result<u64, WriteError> {
        // With an empty backlog even a group larger than the limit is accepted, so that no limit can
        // block the journal forever.
        let backlog = self.segments.backlog_bytes();
        if backlog > 0 && backlog + records.len() as u64 > self.bytes_max {
            return Err(WriteError::Full(self.bytes_max));
        }
        // Delivered segments are deleted before their retention time if their space is needed.
        while self.segments.bytes() + records.len() as u64 > self.bytes_max
            && self.segments.remove_oldest(|_| true)?
        {}
        let active = self.segments.list().back().copied();
        let is_full = active.is_some_and(|active| active.len >= self.segment_bytes);
        if is_full || !self.is_untouched()? {
            self.roll()?;
        }
        self.active.append(records)?;
        self.active_keys.extend_from_slice(keys);
        let mut list = self.segments.list();
        let active = list.back_mut().ok_or_else(|| {
            WriteError::Fatal(io::Error::other("the journal has lost its active segment"))
        })?;
        self.saved_keys.add(self.active.inode(), active.len, records, keys);
        active.len += records.len() as u64;
        active.records += keys.len() as u64;
        Ok(active.end())
    }

    /// Returns false if another program has truncated, extended or deleted the active segment. Its
    /// positions stay used; bytes appended by another program are read as damaged records.
    fn is_untouched(&self) -> io::Result<bool> {
        let found = self.active.handle().metadata()?;
        let mut list = self.segments.list();
        let Some(active) = list.back_mut() else { return Ok(true) };
        let is_untouched = found.nlink() > 0 && found.len() == active.len;
        active.len = active.len.max(found.len());
        Ok(is_untouched)
    }

    /// Closes the active segment and starts a new one.
    fn roll(&mut self) -> io::Result<()> {
        let Some(active) = self.segments.list().back().copied() else { return Ok(()) };
        if active.len == 0 {
            // Deleted by another program while it was empty: create it again.
            self.active = AppendFile::open(&self.segments.path(active.base))?;
            return Ok(());
        }
        key_file::write(&self.segments.keys_path(active.base), &self.active_keys)?;
        self.active = AppendFile::open(&self.segments.path(active.end()))?;
        self.active_keys.clear();
        self.saved_keys.clear();
        self.segments.list().push_back(Segment::new(active.end(), 0));
        Ok(())
    }

    pub(crate) fn saved_keys(&mut self) -> &mut SavedKeys {
        &mut self.saved_keys
    }

    /// The keys of the newest records, newest first. Also counts the records of each segment, and
    /// writes `.keys` files that were lost in a crash or a restore.
    pub(crate) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        // Records that are read here count as seen, so they must be durable.
        self.active.handle().sync_all()?;
        let mut newest_first = Vec::with_capacity(WINDOW_CAPACITY);
        let spans = self.saved_keys.load();
        let mut reader = KeyReader {
            saved_keys: &mut self.saved_keys,
            spans: &spans,
            key_of: |line: &[u8]| Some(record_key(line, key_of)),
            keys_max: usize::MAX,
            newest_first: &mut newest_first,
        };
        reader.read(self.active.handle())?;
        self.active_keys = newest_first.iter().rev().copied().collect();
        self.count_records(key_of)?;
        self.read_key_files(key_of, &mut newest_first)?;
        newest_first.truncate(WINDOW_RECORDS);
        newest_first.retain(|&key| key != NO_KEY);
        Ok(newest_first)
    }

    /// Sets the number of records of each segment.
    fn count_records(&self, key_of: KeyOf) -> io::Result<()> {
        let list: Vec<Segment> = self.segments.list().iter().copied().collect();
        for segment in &list {
            let records = if segment.base == list[list.len() - 1].base {
                self.active_keys.len()
            } else if let Some(records) = key_file::count(&self.segments.keys_path(segment.base)) {
                records
            } else {
                self.restore_key_file(segment.base, key_of)?.len()
            };
            let mut list = self.segments.list();
            if let Some(found) = list.iter_mut().find(|found| found.base == segment.base) {
                found.records = records as u64;
            }
        }
        Ok(())
    }

    /// Adds the keys in the `.keys` files, newest first, until the dedup window is full.
    fn read_key_files(&self, key_of: KeyOf, newest_first: &mut Vec<u128>) -> io::Result<()> {
        let list: Vec<u64> = self.segments.list().iter().map(|segment| segment.base).collect();
        for base in self.segments.with_keys()?.into_iter().rev() {
            if newest_first.len() >= WINDOW_RECORDS {
                break;
            }
            if list.last() == Some(&base) {
                // A crash interrupted `roll` after it had written this file; the segment is still
                // active, and its keys have been added.
                continue;
            }
            let path = self.segments.keys_path(base);
            let keys = match key_file::read(&path) {
                Ok(keys) => keys,
                Err(_) if list.contains(&base) => self.restore_key_file(base, key_of)?,
                Err(error) => {
                    tracing::warn!(
                        file = %path.display(), %error,
                        "cannot read the keys of a deleted segment; retries of its events may not \
                         be detected here"
                    );
                    continue;
                }
            };
            let wanted = WINDOW_RECORDS - newest_first.len();
            newest_first.extend(keys.into_iter().rev().take(wanted));
        }
        Ok(())
    }

    /// Writes a closed segment's `.keys` file from its records; returns the keys.
    fn restore_key_file(&self, base: u64, key_of: KeyOf) -> io::Result<Vec<u128>> {
        let keys = key_file::scan(&self.segments.path(base), key_of)?;
        key_file::write(&self.segments.keys_path(base), &keys)?;
        Ok(keys)
    }
}

/// Moves the bytes after the last line feed to a file beside the segment; returns the new length.
fn repair_tail(active: &AppendFile, path: &Path) -> io::Result<u64> {
    let (start, tail) = active.torn_tail()?;
    if tail.is_empty() {
        return Ok(start);
    }
    let aside = path.with_extension(format!("{start}.torn"));
    write_atomically(&aside, &tail)?;
    active.handle().set_len(start)?;
    active.handle().sync_all()?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), bytes = tail.len(),
        "a crash left a partial last record, which was never acknowledged; moved aside"
    );
    Ok(start)
}
