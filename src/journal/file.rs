//! An append-only file whose writes are all or nothing, and durable. Both kinds of journal use it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why an append failed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The journal has reached its maximum size, in bytes.
    Full(u64),
    /// The write failed and left no bytes in the file; a later append may succeed.
    Undone(io::Error),
    /// The content of the disk is unknown: an fsync failed, or a partial write could not be undone.
    /// Never retried: the kernel may have dropped the dirty pages, and a second fsync would succeed
    /// without them (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
    Fatal(io::Error),
}

impl From<io::Error> for WriteError {
    /// A failed fsync is fatal wherever it happens; any other I/O error may be temporary.
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<SyncFailed>) {
            Self::Fatal(error)
        } else {
            Self::Undone(error)
        }
    }
}

/// Marks an I/O error that came from an fsync.
#[derive(Debug, thiserror::Error)]
#[error("fsync: {0}")]
struct SyncFailed(io::Error);

fn sync_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), SyncFailed(error))
}

#[derive(Debug)]
pub(super) struct AppendFile {
    file: File,
    inode: u64,
    /// True if the file ends in a partial record that could not be cut off, because another process
    /// had appended after it.
    pub(super) has_partial_end: bool,
}

impl AppendFile {
    /// Opens the file, and creates it if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, has_partial_end: false })
    }

    /// Identifies the file whatever its name.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    /// Appends the bytes and makes them durable; returns the end of the file after them.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64, WriteError> {
        // The parts of the bytes in the file, if they took more than one write.
        let mut parts: Vec<Range<u64>> = Vec::new();
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err(self.cut_back(&parts, io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n;
                    if n < bytes.len() {
                        // In append mode, the file position is the end of the last write.
                        let end = self.file.stream_position().map_err(WriteError::Fatal)?;
                        add_part(&mut parts, end - n as u64..end);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut_back(&parts, error)),
            }
        }
        if parts.len() > 1 {
            let error = io::Error::other("another program appended in the middle of a record");
            return Err(self.cut_back(&parts, error));
        }
        self.file.sync_data().map_err(WriteError::Fatal)?;
        self.has_partial_end = false;
        self.file.stream_position().map_err(WriteError::Fatal)
    }

    /// Undoes a partial write: truncates the file or, if another process has appended since, overwrites
    /// the parts, so that the line of the other process does not become part of a partial one.
    fn cut_back(&mut self, parts: &[Range<u64>], error: io::Error) -> WriteError {
        let [first, ..] = parts else { return WriteError::Undone(error) };
        let undo = || -> io::Result<bool> {
            if parts.len() == 1 && self.file.metadata()?.len() == first.end {
                self.file.set_len(first.start)?;
                self.file.sync_data()?;
                return Ok(true);
            }
            let blanked = parts.iter().try_for_each(|part| self.blank(part.clone()));
            // A file system that copies on write may have no room for it.
            Ok(blanked.is_ok())
        };
        match undo() {
            Ok(is_undone) => {
                self.has_partial_end = !is_undone;
                WriteError::Undone(error)
            }
            Err(undo) => WriteError::Fatal(undo),
        }
    }

    /// Overwrites bytes with an empty line of spaces. Unlike truncation, this cannot remove what another
    /// process appends at the same time.
    pub(super) fn blank(&self, range: Range<u64>) -> io::Result<()> {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let mut blank = vec![b' '; (range.end - range.start) as usize];
        if let Some(last) = blank.last_mut() {
            *last = b'\n';
        }
        // In append mode, the offset of a write is ignored.
        let flags = fcntl_getfl(&self.file)?;
        fcntl_setfl(&self.file, flags - OFlags::APPEND)?;
        let written = self.file.write_all_at(&blank, range.start);
        fcntl_setfl(&self.file, flags)?;
        written?;
        self.file.sync_data()
    }

    /// The bytes after the last line feed, and the offset where they start.
    pub(super) fn torn_tail(&self) -> io::Result<(u64, Vec<u8>)> {
        let len = self.file.metadata()?.len();
        let start = line_start(&self.file, len)?;
        let mut tail = vec![0; (len - start) as usize];
        self.file.read_exact_at(&mut tail, start)?;
        Ok((start, tail))
    }
}

/// The start of the line that contains or ends at `end`: the offset after the last line feed before
/// `end`.
pub(super) fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let mut block = vec![0; 64 * 1024];
    let mut at = end;
    while at > 0 {
        let size = at.min(block.len() as u64);
        at -= size;
        let block = &mut block[..size as usize];
        file.read_exact_at(block, at)?;
        if let Some(found) = memchr::memrchr(b'\n', block) {
            return Ok(at + found as u64 + 1);
        }
    }
    Ok(0)
}

/// Adds a part to those before it; joins it with the last one if nothing is in between.
fn add_part(parts: &mut Vec<Range<u64>>, part: Range<u64>) {
    match parts.last_mut() {
        Some(last) if last.end == part.start => last.end = part.end,
        _ => parts.push(part),
    }
}

/// Creates a directory and those above it that do not exist. Each new entry is durable: without its
/// directory, a durable file is lost.
pub(super) fn create_dir_all(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_dir_all(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        created => created.and_then(|()| sync_dir(parent)),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all().map_err(sync_failed)
}

/// Writes a file atomically: after a crash it has the old or the new content, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all().map_err(sync_failed)?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The path with a suffix after its name: `events.jsonl` and `.lock` make `events.jsonl.lock`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
