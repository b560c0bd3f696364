//! The journal of `jsonl` storage: a plain JSON Lines file. Other programs may append to it, rotate it
//! and truncate it at any time.

pub(super) mod file_names;
mod repair;
mod rotation;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use rotation::{Rotate, Rotation};

use crate::journal::dedup::recovery::KeyReader;
use crate::journal::dedup::saved_keys::SavedKeys;
use crate::journal::dedup::window::{WINDOW_CAPACITY, WINDOW_RECORDS};
use crate::journal::file::{AppendFile, WriteError, create_dir_all, sync_dir, with_suffix};
use crate::journal::{KeyOf, OpenError, lock};
use file_names::RotatedNames;

/// Appends lines to the JSON Lines file.
#[derive(Debug)]
pub(crate) struct JsonlAppender {
    path: PathBuf,
    file: AppendFile,
    /// End of the last append.
    end: u64,
    buffer: Vec<u8>,
    saved_keys: SavedKeys,
    rotation: Rotation,
    _lock: File,
}

impl JsonlAppender {
    /// Opens the file, takes its lock, and repairs its end. The lock is a separate file, because a
    /// lock on the JSON Lines file would be rotated away with it.
    pub(crate) fn open(path: &Path, rotation: Rotation) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(path, error);
        if let Some(parent) = path.parent() {
            create_dir_all(parent).map_err(|error| OpenError::io(parent, error))?;
        }
        let mut file = AppendFile::open(path).map_err(io)?;
        // One lock per file, even if it is opened through different symbolic links.
        let target = std::fs::canonicalize(path).map_err(io)?;
        let lock = lock::acquire(&with_suffix(&target, ".lock"))?;
        repair::repair(&mut file, path).map_err(io)?;
        let mut appender = Self {
            path: path.to_owned(),
            file,
            end: 0,
            buffer: Vec::new(),
            saved_keys: SavedKeys::new(with_suffix(path, ".keys")),
            rotation,
            _lock: lock,
        };
        appender.rotation.delete_expired(path);
        appender.end = appender.file.handle().metadata().map_err(io)?.len();
        Ok(appender)
    }

    /// Appends whole lines with these keys; returns the end of the file once they are durable.
    pub(crate) fn append(&mut self, lines: &[u8], keys: &[u128]) -> Result<u64, WriteError> {
        let mut end = self.follow_path()?;
        if self.rotation.is_due(self.file.handle(), end)? {
            // If rotation fails, the file keeps growing: events are more important.
            if self.rotation.rotate(&self.path)? {
                end = self.reopen()?;
            }
        }
        let is_inside_line = self.file.has_partial_end
            || (end != self.end && end > 0 && !self.wait_for_line_end(end)?);
        if is_inside_line {
            // Another program's line is unfinished; these lines must not become part of it.
            self.end = self.append_on_new_line(lines)?;
            self.save_keys(lines, keys);
            return Ok(self.end);
        }
        self.end = self.file.append(lines)?;
        let start = self.end - lines.len() as u64;
        if start != end && self.is_mid_line(start) {
            // Another program wrote half a line between the check and the append, and the first line
            // became part of it: append that line again.
            let first = memchr::memchr(b'\n', lines).map_or(lines, |at| &lines[..=at]);
            // The other lines are in the file, so a sender must not retry before a restart has read
            // their keys.
            self.end = self.append_on_new_line(first).map_err(|error| match error {
                WriteError::Undone(error) => WriteError::Fatal(error),
                error => error,
            })?;
        } else {
            self.save_keys(lines, keys);
        }
        Ok(self.end)
    }

    /// Saves the keys of the lines at the end of the file.
    fn save_keys(&mut self, lines: &[u8], keys: &[u128]) {
        let start = self.end - lines.len() as u64;
        self.saved_keys.add(self.file.inode(), start, lines, keys);
    }

    pub(crate) fn saved_keys(&mut self) -> &mut SavedKeys {
        &mut self.saved_keys
    }

    fn append_on_new_line(&mut self, lines: &[u8]) -> Result<u64, WriteError> {
        self.buffer.clear();
        self.buffer.push(b'\n');
        self.buffer.extend_from_slice(lines);
        self.file.append(&self.buffer)
    }

    /// Returns true if the byte before an offset is not a line feed. If it cannot be read, another
    /// program has truncated the file, and it does not matter.
    fn is_mid_line(&self, at: u64) -> bool {
        let mut before = [b'\n'];
        at > 0 && self.file.handle().read_exact_at(&mut before, at - 1).is_ok() && before != *b"\n"
    }

    /// Opens the path again if it leads to another file or to none (renamed by logrotate, deleted);
    /// returns the file's length.
    fn follow_path(&mut self) -> io::Result<u64> {
        let open = self.file.handle().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(named) if named.dev() == open.dev() && named.ino() == open.ino() => {
                return Ok(open.len());
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        tracing::info!(file = %self.path.display(), "the file was renamed or deleted; reopening");
        self.reopen()
    }

    /// Opens the path, and creates the file if it does not exist; returns its length.
    fn reopen(&mut self) -> io::Result<u64> {
        if let Some(parent) = self.path.parent() {
            create_dir_all(parent)?;
        }
        self.file = AppendFile::open(&self.path)?;
        self.end = 0;
        Ok(self.file.handle().metadata()?.len())
    }

    /// Returns true if the file ends with a whole line. Waits up to 10 ms for another program to finish
    /// its line.
    fn wait_for_line_end(&self, mut end: u64) -> io::Result<bool> {
        for _ in 0..10 {
            let mut last = [0];
            self.file.handle().read_exact_at(&mut last, end - 1)?;
            if last == *b"\n" {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(1));
            end = self.file.handle().metadata()?.len();
            if end == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys of the newest records, newest first.
    pub(crate) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        if let Some(parent) = self.path.parent() {
            sync_dir(parent)?;
        }
        let rotated = RotatedNames::of(&self.path).oldest_first()?;
        let mut files: Vec<PathBuf> = rotated.into_iter().map(|(path, _)| path).collect();
        files.push(self.path.clone());
        let spans = self.saved_keys.load();
        let mut newest_first = Vec::with_capacity(WINDOW_CAPACITY);
        for path in files.into_iter().rev() {
            let with_path = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let file = match File::open(&path) {
                // Renamed or deleted by another program since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(with_path)?,
            };
            // Lines that are read here count as seen, so they must be durable.
            file.sync_all().map_err(with_path)?;
            let mut reader = KeyReader {
                saved_keys: &mut self.saved_keys,
                spans: &spans,
                key_of,
                keys_max: WINDOW_RECORDS,
                newest_first: &mut newest_first,
            };
            reader.read(&file).map_err(with_path)?;
            if newest_first.len() >= WINDOW_RECORDS {
                break;
            }
        }
        Ok(newest_first)
    }
}
