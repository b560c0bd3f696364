//! The spool: hook lines that no server has accepted yet, in the user's state directory.
//!
//! A hook appends its line to `spool.jsonl` before anything is sent. A process that sends renames the file
//! to `spool.sending.jsonl` and sends its lines, oldest first. Sending has a separate lock, so that
//! appending never waits for the network. Lines that were sent just before the sender was killed are sent
//! again; the server recognizes them as duplicates, because the lines have the ids of their events.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::decode::newest_claims;

/// Maximum size of the spool. Further lines are counted, not kept: an agent must not fill the disk.
const SPOOL_BYTES_MAX: u64 = 64 << 20;

/// Maximum size of the file with the lost lines' agents and times.
const LOST_BYTES_MAX: u64 = 1 << 20;

/// Size of the file of claims from which on old ones are removed.
const CLAIMS_BYTES_MAX: usize = 64 << 10;

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

/// The result of sending the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// All lines were sent.
    Empty,
    /// Lines are left, since the server cannot accept them now.
    Later,
    /// Another process is sending.
    Busy,
}

/// The files, in one directory.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    /// True if other users can create files next to the directory.
    is_shared: bool,
}

impl Spool {
    /// Returns the spool in `$XDG_STATE_HOME/agentic-hooks`, by default `~/.local/state/agentic-hooks`.
    /// Without a home directory, it is in `$XDG_RUNTIME_DIR`, or in a directory for temporary files.
    pub(super) fn of_user() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state =
            variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        match state {
            Some(state) => Self { directory: state.join("agentic-hooks"), is_shared: false },
            None => Self { directory: temporary(variable("XDG_RUNTIME_DIR")), is_shared: true },
        }
    }

    /// The file with waiting lines.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("spool.jsonl")
    }

    /// The file with lines that the server rejected, kept for the user to inspect.
    pub(super) fn rejected_path(&self) -> PathBuf {
        self.directory.join("spool.refused.jsonl")
    }

    /// The file with a line for each event that could be neither sent nor kept.
    pub(super) fn lost_path(&self) -> PathBuf {
        self.directory.join("spool.lost.jsonl")
    }

    fn sending_path(&self) -> PathBuf {
        self.directory.join("spool.sending.jsonl")
    }

    fn claims_path(&self) -> PathBuf {
        self.directory.join("spool.claims")
    }

    /// Returns the size of the waiting lines.
    pub(super) fn bytes(&self) -> u64 {
        length(&self.path()) + length(&self.sending_path())
    }

    /// Returns the number of waiting lines.
    pub(super) fn lines(&self) -> usize {
        lines(&self.path()) + lines(&self.sending_path())
    }

    /// Returns the number of events that were lost.
    pub(super) fn lost(&self) -> usize {
        lines(&self.lost_path())
    }

    /// Locks appending and renaming until the result is dropped. If the holder hangs, others continue
    /// without the lock: that is safe except while the file is being renamed.
    pub(super) fn lock(&self) -> io::Result<Locked<'_>> {
        self.make_directory()?;
        let file = open(&self.directory.join("spool.lock"))?;
        let begun = Instant::now();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            if begun.elapsed() > LOCK_TIMEOUT {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Locked { spool: self, _lock: file })
    }

    /// Keeps a line that the server rejected.
    fn keep_rejected(&self, line: &[u8]) -> io::Result<()> {
        if length(&self.rejected_path()) + line.len() as u64 > SPOOL_BYTES_MAX {
            return self.count_lost(&String::from_utf8_lossy(line));
        }
        write(&self.rejected_path(), line)
    }

    /// Notes that a line could be neither sent nor kept.
    pub(super) fn count_lost(&self, line: &str) -> io::Result<()> {
        self.make_directory()?;
        if length(&self.lost_path()) > LOST_BYTES_MAX {
            return Ok(());
        }
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let note = serde_json::json!({
            "agent": event["agent"], "fired_at": event["fired_at"], "event_id": event["event_id"],
            "bytes": line.len(),
        });
        write(&self.lost_path(), note.to_string().as_bytes())
    }

    /// True if a process is sending. It also sends what is appended until it has finished.
    pub(super) fn is_draining(&self) -> bool {
        let lock = open(&self.drain_lock_path());
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn drain_lock_path(&self) -> PathBuf {
        self.directory.join("spool.drain.lock")
    }

    /// Sends the waiting lines in order, until none is left, the server cannot accept more, or the time
    /// is over. Does nothing if another process is sending.
    pub(super) fn drain(
        &self,
        deadline: Instant,
        mut send: impl FnMut(&[u8]) -> Sent,
    ) -> io::Result<Drained> {
        self.make_directory()?;
        let lock = open(&self.drain_lock_path())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Drained::Busy),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let sending = self.sending_path();
        loop {
            if length(&sending) == 0 {
                let _lock = self.lock()?;
                if length(&self.path()) == 0 {
                    return Ok(Drained::Empty);
                }
                fs::rename(self.path(), &sending)?;
            }
            let mut lines = Vec::new();
            open_existing(&sending)?.read_to_end(&mut lines)?;
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
                    return keep(&sending, &lines, left).map(|()| Drained::Later);
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

    /// Creates the directory for the user alone: payloads can contain secrets.
    fn make_directory(&self) -> io::Result<()> {
        let create = |recursive| {
            fs::DirBuilder::new().recursive(recursive).mode(0o700).create(&self.directory)
        };
        if !self.is_shared {
            return create(true);
        }
        match create(false) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Another user may have created it, as a directory or as a link.
        let found = fs::symlink_metadata(&self.directory)?;
        let user = rustix::process::geteuid().as_raw();
        if found.is_dir() && found.uid() == user && found.mode().trailing_zeros() >= 6 {
            return Ok(());
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// The spool while appending and renaming are locked.
pub(super) struct Locked<'s> {
    spool: &'s Spool,
    _lock: File,
}

impl Locked<'_> {
    /// Appends a line.
    pub(super) fn append(&self, line: &str) -> io::Result<()> {
        if self.spool.bytes() + line.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(&self.spool.path(), line.as_bytes())
    }

    /// Returns the newest claims; none if they cannot be read.
    pub(super) fn claims(&self) -> Vec<u8> {
        let mut claims = Vec::new();
        let read = open_existing(&self.spool.claims_path())
            .and_then(|file| file.take(2 * CLAIMS_BYTES_MAX as u64).read_to_end(&mut claims));
        if read.is_err() {
            claims.clear();
        }
        claims
    }

    /// Appends a claim, and removes old ones if there are many.
    pub(super) fn claim(&self, claim: &[u8]) -> io::Result<()> {
        let path = self.spool.claims_path();
        let size = length(&path) as usize;
        // A claim that was written in part is removed, too: records are found by their position.
        if size > CLAIMS_BYTES_MAX || !size.is_multiple_of(claim.len()) {
            let claims = self.claims();
            replace(&path, &[newest_claims(&claims), claim].concat())
        } else {
            open(&path)?.write_all(claim)
        }
    }
}

/// Returns the directory of a user without a home directory.
fn temporary(runtime: Option<PathBuf>) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    match runtime {
        Some(runtime) => runtime.join("agentic-hooks"),
        None => std::env::temp_dir().join(format!("agentic-hooks-{user}")),
    }
}

fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}

fn lines(path: &Path) -> usize {
    let text = fs::read(path).unwrap_or_default();
    memchr::memchr_iter(b'\n', &text).count()
}

/// Opens a file to append to; never through a link, which could lead into a file of another program.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)
}

/// Appends a line. If a crash left the last one without a line feed, adds it first.
fn write(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if let Some(last) = length(path).checked_sub(1) {
        let mut byte = [0];
        open_existing(path)?.read_exact_at(&mut byte, last)?;
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

/// Keeps the lines that are left of a file. They are synced now: the server may be away for long, and the
/// machine may crash.
fn keep(path: &Path, all: &[u8], left: &[u8]) -> io::Result<()> {
    if left.len() == all.len() {
        return open(path)?.sync_data();
    }
    replace(path, left)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = open(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(new, path)
}
