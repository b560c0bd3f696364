//! `rejected.jsonl`: events that could not be stored, with the reason and the original, so that
//! none is dropped silently.
//!
//! What the sender was told of is kept up to a size (`REJECTED_MAX_BYTES`), so that whoever sends bad
//! events without end fills no disk. What was answered 202 is kept in any case.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::Timestamp;

/// The file to which rejected events are appended; made with the first of them.
#[derive(Debug)]
pub struct RejectedFile {
    path: PathBuf,
    bytes_max: u64,
    /// Held while writing; whether there was no room the last time.
    full: Mutex<bool>,
}

/// One rejected event.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The field at fault, if it is one field's.
    pub field: Option<&'a str>,
    /// Why.
    pub error: &'a str,
    /// The event as it was sent.
    pub original: &'a [u8],
}

/// Whether the entries must be on disk before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The sender hears of them; a crash of the machine may lose this copy, and a full file has no
    /// room for it.
    Written,
    /// The sender was told 202.
    Synced,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They are in the file.
    All,
    /// None is: the file is as large as it may be.
    None,
}

impl RejectedFile {
    /// Entries go to the file at `path`, those that are only [`Durability::Written`] while it has at
    /// most `bytes_max` bytes.
    pub fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, full: Mutex::new(false) }
    }

    /// Where entries go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends entries. Blocks on the disk.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn append<'a>(
        &self,
        entries: impl Iterator<Item = Entry<'a>>,
        durability: Durability,
    ) -> io::Result<Kept> {
        let rejected_at = Timestamp::now().to_string();
        let mut lines = Vec::new();
        for entry in entries {
            let text = String::from_utf8_lossy(entry.original);
            let json = serde_json::from_str::<&RawValue>(&text).ok();
            // A line feed between a value's tokens would break the line.
            let one_line = json.filter(|json| !json.get().contains('\n'));
            let line = Line {
                rejected_at: &rejected_at,
                field: entry.field,
                error: entry.error,
                event: one_line,
                text: one_line.is_none().then_some(&*text),
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened each time, which is rare, so that whoever moves the file away loses nothing.
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        if durability == Durability::Written {
            let was_full = *full;
            *full = file.metadata()?.len() + lines.len() as u64 > self.bytes_max;
            if *full {
                if !was_full {
                    tracing::warn!(
                        file = %self.path.display(), bytes_max = self.bytes_max,
                        "no more copies of invalid events are kept (REJECTED_MAX_BYTES) until the \
                         file is moved away; hooks_rejected_dropped_total counts them"
                    );
                }
                return Ok(Kept::None);
            }
        }
        if let Err(error) = file.write_all(&lines) {
            // Part of a line may be there; the next entry must not become part of it. If this
            // fails too, the reader sees one bad line.
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
}

#[derive(Serialize)]
struct Line<'a> {
    rejected_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    error: &'a str,
    /// The original, if it is JSON on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    /// Else its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}
