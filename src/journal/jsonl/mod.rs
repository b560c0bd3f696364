//! The journal of `jsonl` storage: one plain JSON Lines file, to which other processes may append
//! too, and which they may rotate or truncate.

pub(super) mod file_names;
mod rotation;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use rotation::{Rotate, Rotation};

use crate::journal::dedup::recovery::Reading;
use crate::journal::dedup::saved_keys::KeyLog;
use crate::journal::dedup::window::{WINDOW_RECORDS, WINDOW_ROOM};
use crate::journal::file::{AppendFile, LogError, sync_dir};
use crate::journal::{KeyOf, OpenError, lock};
use file_names::RotatedNames;

#[derive(Debug)]
pub(in crate::journal) struct LineFile {
    path: PathBuf,
    log: AppendFile,
    /// Where our last append ended.
    end: u64,
    buffer: Vec<u8>,
    /// The keys of what was appended, beside the file.
    key_log: KeyLog,
    rotation: Rotation,
    _lock: File,
}

impl LineFile {
    /// Opens the file, takes its lock (a file beside it, so that rotation cannot take the lock
    /// away), and repairs its end.
    pub(in crate::journal) fn open(path: &Path, rotation: Rotation) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(path, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| OpenError::io(parent, error))?;
        }
        let log = AppendFile::open(path).map_err(io)?;
        // By the file's own name, whatever links lead to it.
        let name = std::fs::canonicalize(path).map_err(io)?;
        let lock = lock::acquire(&with_suffix(&name, ".lock"))?;
        let mut lines = Self {
            path: path.to_owned(),
            log,
            end: 0,
            buffer: Vec::new(),
            key_log: KeyLog::new(with_suffix(path, ".keys")),
            rotation,
            _lock: lock,
        };
        lines.repair_tail().map_err(io)?;
        lines.rotation.delete_expired(path);
        lines.end = lines.log.file().metadata().map_err(io)?.len();
        Ok(lines)
    }

    /// Finishes a last line that only lacks its line feed (an editor's work); moves any other torn
    /// tail aside, to a file of the same name with `.torn` after it.
    fn repair_tail(&mut self) -> io::Result<()> {
        let (start, tail) = self.log.torn_tail()?;
        if tail.is_empty() {
            return Ok(());
        }
        let fatal = |error| match error {
            LogError::Write(error) | LogError::Fatal(error) => error,
            LogError::Full(_) => io::ErrorKind::StorageFull.into(),
        };
        if serde_json::from_slice::<serde::de::IgnoredAny>(&tail).is_ok() {
            self.log.append(b"\n").map_err(fatal)?;
            return Ok(());
        }
        let aside = with_suffix(&self.path, ".torn");
        let mut bytes = tail;
        bytes.push(b'\n');
        AppendFile::open(&aside)?.append(&bytes).map_err(fatal)?;
        self.log.file().set_len(start)?;
        self.log.file().sync_all()?;
        tracing::warn!(
            file = %self.path.display(), aside = %aside.display(), bytes = bytes.len() - 1,
            "the last line was torn by a crash before it was acknowledged; moved aside"
        );
        Ok(())
    }

    /// Appends whole lines, which have these keys, and makes them durable.
    pub(in crate::journal) fn append(
        &mut self,
        bytes: &[u8],
        keys: &[u128],
    ) -> Result<u64, LogError> {
        let mut end = self.follow_path()?;
        if self.rotation.is_due(self.log.file(), end)? {
            // Events matter more than tidiness: where it fails, the file grows on.
            if self.rotation.rotate(&self.path)? {
                end = self.reopen()?;
            }
        }
        let unfinished =
            self.log.unfinished || (end != self.end && end > 0 && !self.ends_line(end)?);
        if unfinished {
            // Someone else's line is not finished: ours must not become part of it.
            self.end = self.append_on_new_line(bytes)?;
            self.note_keys(bytes, keys);
            return Ok(self.end);
        }
        self.end = self.log.append(bytes)?;
        let begun = self.end - bytes.len() as u64;
        if begun != end && self.is_inside_line(begun) {
            // Half a line came between the look and the write, and has taken our first one in.
            let first = memchr::memchr(b'\n', bytes).map_or(bytes, |at| &bytes[..=at]);
            // The others are there, so from here on nothing may be tried again by the sender before
            // the file has been read anew.
            self.end = self.append_on_new_line(first).map_err(|error| match error {
                LogError::Write(error) => LogError::Fatal(error),
                error => error,
            })?;
        } else {
            self.note_keys(bytes, keys);
        }
        Ok(self.end)
    }

    /// Takes note of the keys of the lines with which the file ends.
    fn note_keys(&mut self, bytes: &[u8], keys: &[u128]) {
        self.key_log.add(self.log.inode(), self.end - bytes.len() as u64, bytes, keys);
    }

    pub(in crate::journal) fn key_log(&mut self) -> &mut KeyLog {
        &mut self.key_log
    }

    fn append_on_new_line(&mut self, bytes: &[u8]) -> Result<u64, LogError> {
        self.buffer.clear();
        self.buffer.push(b'\n');
        self.buffer.extend_from_slice(bytes);
        self.log.append(&self.buffer)
    }

    /// Whether no line ends right before that place; if that cannot be read any more, someone has
    /// cut the file, and it does not matter.
    fn is_inside_line(&self, at: u64) -> bool {
        let mut before = [b'\n'];
        at > 0 && self.log.file().read_exact_at(&mut before, at - 1).is_ok() && before != *b"\n"
    }

    /// Opens the file anew if the path no longer leads to it (deleted, or renamed by logrotate);
    /// returns its length.
    fn follow_path(&mut self) -> io::Result<u64> {
        let open = self.log.file().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(named) if named.dev() == open.dev() && named.ino() == open.ino() => Ok(open.len()),
            Ok(_) => self.moved(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.moved(),
            Err(error) => Err(error),
        }
    }

    fn moved(&mut self) -> io::Result<u64> {
        tracing::info!(file = %self.path.display(), "the file was moved or deleted; opening it anew");
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<u64> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        self.log = AppendFile::open(&self.path)?;
        self.end = 0;
        Ok(self.log.file().metadata()?.len())
    }

    /// Whether the file ends with a whole line. Someone else's may be on its way, and is given the
    /// moment that a write takes.
    fn ends_line(&self, mut end: u64) -> io::Result<bool> {
        for _ in 0..10 {
            let mut last = [0];
            self.log.file().read_exact_at(&mut last, end - 1)?;
            if last == *b"\n" {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(1));
            end = self.log.file().metadata()?.len();
            if end == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys of the newest records, newest first.
    pub(in crate::journal) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        // Whatever stands in the file counts as seen from now on, so it has to be durable first.
        self.log.file().sync_all()?;
        if let Some(parent) = self.path.parent() {
            sync_dir(parent)?;
        }
        let mut files = RotatedNames::of(&self.path).by_server()?;
        files.push(self.path.clone());
        let saved = self.key_log.open();
        let mut newest_first = Vec::with_capacity(WINDOW_ROOM);
        for path in files.into_iter().rev() {
            let file = match File::open(&path) {
                // Renamed or deleted by someone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let mut reading = Reading {
                log: &mut self.key_log,
                saved: &saved,
                key_of,
                keys_max: WINDOW_RECORDS,
                newest_first: &mut newest_first,
            };
            reading.read(&file)?;
            if newest_first.len() >= WINDOW_RECORDS {
                break;
            }
        }
        Ok(newest_first)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
