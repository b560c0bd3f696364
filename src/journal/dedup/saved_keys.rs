//! The keys of a growing file's newest records, saved in a file of [spans](super::span) beside it, so
//! that a start need not read the records.
//!
//! A cache: derived from the records, disposable, and never synced. A span is written after its
//! records are durable and acknowledged, and is used only if the file still has those records. Where no
//! span matches, the records are read instead; see [`recovery`](super::recovery).
//!
//! When the file holds a full dedup window it is renamed to `.old`, replacing the previous `.old`, and
//! a new file is started. Together they take at most about 36 MiB.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::span::{KeySpan, SavedSpan, read_headers};
use super::window::WINDOW_RECORDS;
use crate::journal::file::with_suffix;

/// Keys, or bytes of records, at which a span is written. A start after a crash reads at most this
/// much of the records, which takes a few milliseconds. Smaller in tests, which use few records.
const SPAN_KEYS: usize = if cfg!(test) { 4 } else { 4096 };
const SPAN_BYTES: u64 = if cfg!(test) { 32 << 10 } else { 2 << 20 };

/// A span below both limits is not written: reading its records is as fast.
const SPAN_KEYS_MIN: usize = if cfg!(test) { 2 } else { 32 };
const SPAN_BYTES_MIN: u64 = 64 << 10;

/// Length at which the file becomes `.old`: a full dedup window, and the headers of its spans.
const FILE_BYTES: u64 = if cfg!(test) { 4096 } else { WINDOW_RECORDS as u64 * 16 + (2 << 20) };

/// Returns true if records of this length, with this number of keys, are enough for a span.
pub(super) fn is_span_due(record_bytes: u64, keys: usize) -> bool {
    record_bytes >= SPAN_BYTES || keys >= SPAN_KEYS
}

/// Appends spans to the file of saved keys.
#[derive(Debug)]
pub(crate) struct SavedKeys {
    path: PathBuf,
    file: Option<Arc<File>>,
    /// End of the last intact span, where the next one is written.
    len: u64,
    /// Keys of durable records that are not in the file yet.
    pending: KeySpan,
    /// True if the last write failed, so that each failure is logged once.
    is_failing: bool,
}

impl SavedKeys {
    /// Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, len: 0, pending: KeySpan::new(0, 0), is_failing: false }
    }

    /// Opens the file, or creates it; returns the intact spans in no particular order. Spans after a
    /// damaged one are ignored, and overwritten.
    pub(crate) fn load(&mut self) -> Vec<SavedSpan> {
        let mut spans = Vec::new();
        if let Ok(old) = File::open(self.old_path()) {
            read_headers(&Arc::new(old), &mut spans);
        }
        match open(&self.path) {
            Ok(file) => {
                let file = Arc::new(file);
                self.len = read_headers(&file, &mut spans);
                self.file = Some(file);
            }
            Err(error) => self.failed(&error),
        }
        spans
    }

    /// Adds the keys of records that have become durable at the offset `start` of a file.
    pub(crate) fn add(&mut self, inode: u64, start: u64, records: &[u8], keys: &[u128]) {
        if self.pending.inode() != inode || self.pending.end() != start {
            // Another file, or other programs' lines in between, which a start has to read.
            self.save();
            self.pending = KeySpan::new(inode, start);
        }
        self.pending.extend(start + records.len() as u64, records, keys);
    }

    /// Writes the added keys if they are enough for a span.
    pub(crate) fn save_if_due(&mut self) {
        if is_span_due(self.pending.record_bytes(), self.pending.len()) {
            self.save();
        }
    }

    /// Writes the added keys.
    pub(crate) fn save(&mut self) {
        let mut pending = std::mem::replace(&mut self.pending, KeySpan::new(0, 0));
        self.write(&pending);
        pending.restart();
        self.pending = pending;
    }

    /// Writes a span if it is large enough. An error costs the next start time, and nothing else.
    pub(super) fn write(&mut self, span: &KeySpan) {
        if span.len() < SPAN_KEYS_MIN && span.record_bytes() < SPAN_BYTES_MIN {
            return;
        }
        match self.try_write(span) {
            Ok(()) => self.is_failing = false,
            Err(error) => self.failed(&error),
        }
    }

    fn try_write(&mut self, span: &KeySpan) -> io::Result<()> {
        if self.len >= FILE_BYTES {
            match std::fs::rename(&self.path, self.old_path()) {
                // A user may delete the file at any time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            self.file = Some(Arc::new(open(&self.path)?));
            self.len = 0;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let bytes = span.encode();
        file.write_all_at(&bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Empties the file, whose keys have been saved elsewhere.
    pub(crate) fn clear(&mut self) {
        self.pending = KeySpan::new(0, 0);
        self.len = 0;
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_len(0)) {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                file = %self.path.display(), %error,
                "cannot save keys; the next start will read events instead, and take longer"
            );
        }
    }

    fn old_path(&self) -> PathBuf {
        with_suffix(&self.path, ".old")
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}
