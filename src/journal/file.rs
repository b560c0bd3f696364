//! A file that grows by whole, synced writes: what both kinds of journal append with.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Why bytes are not in the log.
#[derive(Debug)]
pub(super) enum LogError {
    /// The journal has reached its limit, in bytes.
    Full(u64),
    /// The write failed and left nothing behind; a later one may succeed.
    Write(io::Error),
    /// What is on disk is no longer known: a failed sync, or a partial write that could not be
    /// undone. Final: the kernel may have dropped the pages, and a second sync would succeed
    /// without them (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
    Fatal(io::Error),
}

impl From<io::Error> for LogError {
    /// A failed sync is final wherever it happens; whatever else fails may succeed later.
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<SyncFailed>) {
            Self::Fatal(error)
        } else {
            Self::Write(error)
        }
    }
}

/// Marks the error of a sync.
#[derive(Debug, thiserror::Error)]
#[error("sync: {0}")]
struct SyncFailed(io::Error);

fn sync_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), SyncFailed(error))
}

#[derive(Debug)]
pub(super) struct AppendFile {
    file: File,
    inode: u64,
    /// The file ends in part of a record that could not be cut off, because another process had
    /// appended after it.
    pub(super) unfinished: bool,
}

impl AppendFile {
    /// Opens the file, making it if need be.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, unfinished: false })
    }

    /// By which the file is known again under another name.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Appends the bytes and makes them durable; returns where the file then ends.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64, LogError> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err(self.cut_back(written, io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut_back(written, error)),
            }
        }
        self.file.sync_data().map_err(LogError::Fatal)?;
        self.unfinished = false;
        self.file.stream_position().map_err(LogError::Fatal)
    }

    /// Undoes a partial write.
    fn cut_back(&mut self, written: usize, error: io::Error) -> LogError {
        if written == 0 {
            return LogError::Write(error);
        }
        let mut undo = || -> io::Result<bool> {
            // After a write in append mode the file position is where that write ended.
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() != end {
                return Ok(false);
            }
            self.file.set_len(end - written as u64)?;
            self.file.sync_data()?;
            Ok(true)
        };
        match undo() {
            Ok(done) => {
                self.unfinished = !done;
                LogError::Write(error)
            }
            Err(undo) => LogError::Fatal(undo),
        }
    }

    /// The part of the file after its last line feed.
    pub(super) fn torn_tail(&self) -> io::Result<(u64, Vec<u8>)> {
        let len = self.file.metadata()?.len();
        let start = line_start(&self.file, len)?;
        let mut tail = vec![0; (len - start) as usize];
        self.file.read_exact_at(&mut tail, start)?;
        Ok((start, tail))
    }
}

/// Where the line begins that `end` is in or at the end of: after the last line feed before `end`.
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

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all().map_err(sync_failed)
}

/// Writes a whole file so that after a crash it is there complete or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all().map_err(sync_failed)?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}
