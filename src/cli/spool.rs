//! The spool: lines of hooks that no server took yet, in a file of this machine's user.
//!
//! `spool.jsonl` is appended to by whichever hook finds no server. Who finds one again moves the file
//! to `spool.sending.jsonl` and sends that, oldest first, under a lock of its own, so that appending
//! never waits for the network. What was sent when the sender was killed is sent again: the server
//! knows it by its id, which the line determines.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes that wait. What comes then is lost: an agent must not fill the disk.
const SPOOL_BYTES_MAX: u64 = 64 << 20;

/// What is sent at a time: well below the server's limits for a request.
const CHUNK_BYTES: usize = 2 << 20;
const CHUNK_LINES: usize = 1000;

/// How long an append waits for its turn. Who has it only writes or renames.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// What became of lines that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The server has them.
    Taken,
    /// It will never take them as they are.
    Refused,
    /// It does not take them now.
    Later,
}

/// The files, in one directory.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// `$XDG_STATE_HOME/agentic-hooks`, which is `~/.local/state/agentic-hooks` if not set.
    pub(super) fn of_user() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/state")))
            .unwrap_or_else(std::env::temp_dir);
        Self { directory: state.join("agentic-hooks") }
    }

    /// Where lines wait.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("spool.jsonl")
    }

    /// Lines that a server refused, which are kept for a person to look at.
    pub(super) fn refused_path(&self) -> PathBuf {
        self.directory.join("spool.refused.jsonl")
    }

    fn sending_path(&self) -> PathBuf {
        self.directory.join("spool.sending.jsonl")
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> u64 {
        length(&self.path()) + length(&self.sending_path())
    }

    /// How many lines wait.
    pub(super) fn lines(&self) -> usize {
        let waiting = [self.path(), self.sending_path()];
        waiting
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .map(|text| memchr::memchr_iter(b'\n', &text).count())
            .sum()
    }

    /// Adds a line, which is then safe from everything but the machine's crash.
    pub(super) fn append(&self, line: &str) -> io::Result<()> {
        let _turn = self.turn()?;
        if self.bytes() + line.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(&self.path(), line.as_bytes())
    }

    /// Keeps a line that a server refused.
    pub(super) fn refuse(&self, line: &[u8]) -> io::Result<()> {
        self.make_directory()?;
        if length(&self.refused_path()) + line.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(&self.refused_path(), line)
    }

    /// Sends what waits, in its order, until nothing does, the server does not take it or the time is
    /// over. Returns without doing anything if another process is at it.
    pub(super) fn drain(
        &self,
        deadline: Instant,
        mut send: impl FnMut(&[u8]) -> Sent,
    ) -> io::Result<()> {
        self.make_directory()?;
        let draining = open(&self.directory.join("spool.drain.lock"))?;
        match draining.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let sending = self.sending_path();
        loop {
            if length(&sending) == 0 {
                let _turn = self.turn()?;
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
                    Sent::Refused => self.send_one_by_one(chunk, &mut send)?,
                    Sent::Taken => (chunk.len(), Sent::Taken),
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

    /// Finds the lines of a refused chunk that are refused by themselves. Returns how many bytes are
    /// done with.
    fn send_one_by_one(
        &self,
        chunk: &[u8],
        send: &mut impl FnMut(&[u8]) -> Sent,
    ) -> io::Result<(usize, Sent)> {
        let mut done = 0;
        while done < chunk.len() {
            let line = self::chunk(&chunk[done..], 1);
            match send(line) {
                Sent::Taken => {}
                Sent::Refused => self.refuse(line)?,
                Sent::Later => return Ok((done, Sent::Later)),
            }
            done += line.len();
        }
        Ok((done, Sent::Taken))
    }

    /// The right to append or rename, until the file is dropped. A process that has it and hangs does
    /// not keep others from appending: that is safe but for the one moment of renaming.
    fn turn(&self) -> io::Result<File> {
        self.make_directory()?;
        let file = open(&self.directory.join("spool.lock"))?;
        let begun = Instant::now();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            if begun.elapsed() > LOCK_PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(file)
    }

    /// Payloads can have secrets in them: the directory is the user's alone.
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

/// Appends one line. One that a crash left without its end is ended first.
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

/// Whole lines from the beginning: at least one, and no more than are sent at a time.
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

/// Makes the file one of what is left of it.
fn keep(path: &Path, all: &[u8], left: &[u8]) -> io::Result<()> {
    if left.len() == all.len() {
        return Ok(());
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    open(&new)?.write_all(left)?;
    fs::rename(new, path)
}
