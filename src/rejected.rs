//! `rejected.jsonl`: events that could not be stored, each with the reason and the original.
//!
//! Events that were rejected in the response are copied up to `REJECTED_MAX_BYTES`, so that a sender
//! of invalid events cannot fill the disk. Events that were accepted with 202 and that the database
//! refused are always kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::Timestamp;

/// The file of rejected events, created with the first of them.
#[derive(Debug)]
pub struct RejectedFile {
    path: PathBuf,
    bytes_max: u64,
    /// Locked while writing; true if the last entries did not fit.
    is_full: Mutex<bool>,
}

/// One rejected event.
#[derive(Clone, Debug)]
pub(crate) struct RejectedEntry<'a> {
    /// The invalid field, if it is one.
    pub(crate) field: Option<&'a str>,
    pub(crate) error: &'a str,
    /// The event as it was sent.
    pub(crate) original: &'a [u8],
}

/// Durability of entries, by what their sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Rejected in the response: written without fsync, and dropped when the file is full.
    Written,
    /// Accepted with 202: written even if the file is full, with fsync.
    Synced,
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    All,
    /// Nothing was written because the file is full.
    None,
}

impl RejectedFile {
    /// Creates the handle; `bytes_max` limits entries that are only [`Durability::Written`].
    pub(crate) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, is_full: Mutex::new(false) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends entries. Blocks on the disk.
    pub(crate) fn append<'a>(
        &self,
        entries: impl Iterator<Item = RejectedEntry<'a>>,
        durability: Durability,
    ) -> io::Result<Kept> {
        let lines = encode(entries)?;
        let mut is_full = self.is_full.lock().unwrap_or_else(PoisonError::into_inner);
        // Appends are rare. Opening the file each time lets an operator move it away at any time.
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        if durability == Durability::Written {
            let fits = file.metadata()?.len() + lines.len() as u64 <= self.bytes_max;
            let was_full = std::mem::replace(&mut *is_full, !fits);
            if !fits {
                if !was_full {
                    self.warn_full();
                }
                return Ok(Kept::None);
            }
        }
        if let Err(error) = file.write_all(&lines) {
            // Ends a partial line, so that the next entry does not become part of it.
            let _ = file.write_all(b"\n");
            return Err(error);
        }
        if durability == Durability::Synced {
            file.sync_data()?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Kept::All)
    }

    fn warn_full(&self) {
        tracing::warn!(
            file = %self.path.display(), bytes_max = self.bytes_max,
            "the file of rejected events is full (REJECTED_MAX_BYTES): copies of invalid events are \
             dropped until it is moved away, and counted in hooks_rejected_dropped_total"
        );
    }
}

#[derive(Serialize)]
struct RejectedLine<'a> {
    rejected_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    error: &'a str,
    /// The original, if it is JSON on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    /// The original as text, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

fn encode<'a>(entries: impl Iterator<Item = RejectedEntry<'a>>) -> io::Result<Vec<u8>> {
    let rejected_at = Timestamp::now().to_string();
    let mut lines = Vec::new();
    for entry in entries {
        let text = String::from_utf8_lossy(entry.original);
        let json = serde_json::from_str::<&RawValue>(&text).ok();
        // A line feed between two tokens would break the line.
        let event = json.filter(|json| !json.get().contains('\n'));
        let line = RejectedLine {
            rejected_at: &rejected_at,
            field: entry.field,
            error: entry.error,
            event,
            text: event.is_none().then_some(&*text),
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}
