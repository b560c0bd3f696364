//! Errors of opening a journal and of appending to it.

use std::io;
use std::path::{Path, PathBuf};

/// Why records were not appended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The writer's queue is full.
    #[error("too many requests are waiting for the disk; try again in a moment")]
    Busy,
    /// The journal has reached its maximum size.
    #[error(
        "the journal is full ({bytes_max} bytes, JOURNAL_MAX_BYTES): the database is unreachable or \
         slower than the incoming events"
    )]
    Full {
        /// Maximum size in bytes.
        bytes_max: u64,
    },
    /// The write failed and was undone: the file has no part of the records.
    #[error("writing to the journal failed: {0}")]
    Write(String),
    /// The writer has ended. The records may or may not be on disk.
    #[error("the journal has failed and the server is shutting down")]
    Failed,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server holds the lock.
    #[error("{path} is locked by another server ({holder}); two servers must not share a journal")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Content of the lock file: the other server's process id.
        holder: String,
    },
    /// An I/O error.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// A failure after which the journal acknowledges nothing more.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// Reading the journal at start failed.
    #[error("reading the journal failed: {0}")]
    Read(io::Error),
    /// An fsync failed, so the content of the disk is unknown.
    #[error("fsync of the journal failed, so what is on disk is unknown: {0}")]
    Sync(io::Error),
}
