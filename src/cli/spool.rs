//! The spool: hook lines that no server has accepted yet, in the user's state directory.
//!
//! A hook that reaches no server appends its line to `spool.jsonl`. The next hook that reaches one
//! renames the file to `spool.sending.jsonl` and sends its lines, oldest first. Sending has a separate
//! lock, so that appending never waits for the network. Lines that were sent just before the sender was
//! killed are sent again; the server recognises them as duplicates, because their ids are derived from
//! the lines.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Maximum size of the spool. Further lines are lost: an agent must not fill the disk.
const SPOOL_BYTES_MAX: u64 = 64 << 20;

/// Maximum size and lines of a request; well below the server's limits.
const CHUNK_BYTES: usize = 2 << 20;
const CHUNK_LINES: usize = 1000;

/// Maximum time that an append waits for the lock. Its holders only write or rename.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// The result of sending lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The server accepted them.
    Accepted,
    /// The server will never accept them in this form.
    Rejected,
    /// The server cannot accept them now.
    Later,
}

/// The files, in one directory.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// Returns the spool in `$XDG_STATE_HOME/agentic-hooks`, by default `~/.local/state/agentic-hooks`.
    pub(super) fn of_user() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/state")))
            .unwrap_or_else(std::env::temp_dir);
        Self { directory: state.join("agentic-hooks") }
    }

    /// The file with waiting lines.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("spool.jsonl")
    }

    /// The file with lines that the server rejected, kept for the user to inspect.
    pub(super) fn rejected_path(&self) -> PathBuf {
        self.directory.join("spool.refused.jsonl")
    }

    fn sending_path(&self) -> PathBuf {
        self.directory.join("spool.sending.jsonl")
    }

    /// Returns the size of the waiting lines.
    pub(super) fn bytes(&self) -> u64 {
        length(&self.path()) + length(&self.sending_path())
    }

    /// Returns the number of waiting lines.
    pub(super) fn lines(&self) -> usize {
        let waiting = [self.path(), self.sending_path()];
        waiting
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .map(|text| memchr::memchr_iter(b'\n', &text).count())
            .sum()
    }

    /// Appends a line. It is not synced: only a crash of the machine can lose it.
    pub(super) fn append(&self, line: &str) -> io::Result<()> {
        let _lock = self.lock()?;
        if self.bytes() + line.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(&self.path(), line.as_bytes())
    }

    /// Keeps a line that the server rejected.
    pub(super) fn keep_rejected(&self, line: &[u8]) -> io::Result<()> {
        self.make_directory()?;
        if length(&self.rejected_path()) + line.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(&self.rejected_path(), line)
    }

    /// Sends the waiting lines in order, until none is left, the server cannot accept more, or the time
    /// is over. Does nothing if another process is sending.
    pub(super) fn drain(
        &self,
        deadline: Instant,
        mut send: impl FnMut(&[u8]) -> Sent,
    ) -> io::Result<()> {
        self.make_directory()?;
        let lock = open(&self.directory.join("spool.drain.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let sending = self.sending_path();
        loop {
            if length(&sending) == 0 {
                let _lock = self.lock()?;
                if length(&self.path()) == 0 {
                    return Ok(());
                }
                fs::rename(self.path(), &sending)?;
            }
            let lines = fs::read(&sending)?;
            let mut left = &*lines;
            while !left.is_empty() {
                let chunk = chunk(left, CHUNK_LINES);
                let in_time = Instant::now() < deadline;
                let (done, outcome) = match if in_time { send(chunk) } else { Sent::Later } {
                    Sent::Rejected => self.send_one_by_one(chunk, &mut send)?,
                    Sent::Accepted => (chunk.len(), Sent::Accepted),
                    Sent::Later => (0, Sent::Later),
                };
                left = &left[done..];
                if outcome == Sent::Later {
                    return keep(&sending, &lines, left);
                }
            }
            fs::remove_file(&sending)?;
        }
    }

    /// Sends the lines of a rejected chunk one by one, and keeps those that are rejected again. Returns
    /// the number of bytes that are done.
    fn send_one_by_one(
        &self,
        chunk: &[u8],
        send: &mut impl FnMut(&[u8]) -> Sent,
    ) -> io::Result<(usize, Sent)> {
        let mut done = 0;
        while done < chunk.len() {
            let line = self::chunk(&chunk[done..], 1);
            match send(line) {
                Sent::Accepted => {}
                Sent::Rejected => self.keep_rejected(line)?,
                Sent::Later => return Ok((done, Sent::Later)),
            }
            done += line.len();
        }
        Ok((done, Sent::Accepted))
    }

    /// Locks appending and renaming until the file is dropped. If the holder hangs, others continue
    /// without the lock: that is safe except while the file is being renamed.
    fn lock(&self) -> io::Result<File> {
        self.make_directory()?;
        let file = open(&self.directory.join("spool.lock"))?;
        let begun = Instant::now();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            if begun.elapsed() > LOCK_TIMEOUT {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(file)
    }

    /// Creates the directory for the user alone: payloads can contain secrets.
    fn make_directory(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Appends a line. If a crash left the last one without a line feed, adds it first.
fn write(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if let Some(last) = length(path).checked_sub(1) {
        let mut byte = [0];
        File::open(path)?.read_exact_at(&mut byte, last)?;
        if byte != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(line.trim_ascii_end());
    bytes.push(b'\n');
    file.write_all(&bytes)
}

/// Returns whole lines from the beginning: at least one, and no more than a request can hold.
fn chunk(lines: &[u8], lines_max: usize) -> &[u8] {
    let mut end = 0;
    for line in lines.split_inclusive(|&byte| byte == b'\n').take(lines_max) {
        if end > 0 && end + line.len() > CHUNK_BYTES {
            break;
        }
        end += line.len();
    }
    &lines[..end]
}

/// Replaces the file with the lines that are left of it.
fn keep(path: &Path, all: &[u8], left: &[u8]) -> io::Result<()> {
    if left.len() == all.len() {
        return Ok(());
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    open(&new)?.write_all(left)?;
    fs::rename(new, path)
}
