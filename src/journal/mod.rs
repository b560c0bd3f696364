//! The journal: where events become durable, before anyone is answered.
//!
//! One writer thread owns the file. It takes whatever waits, writes it in one go, syncs once and
//! answers all. It knows records and their keys, but no event, no HTTP and no SQL.

mod dedup;
mod file;
mod jsonl;
mod lock;
#[cfg(test)]
mod model;
mod record;
mod segments;
mod writer;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

pub use dedup::WINDOW_RECORDS;
pub(crate) use jsonl::file_names::RotatedNames;
pub use jsonl::{Rotate, Rotation};
pub use record::{Batch, Framing};
pub use segments::{Chunk, Reader, Record};
pub use writer::Fatal;

/// Most requests that wait for the writer. Their bytes are limited where they are received.
const QUEUE_REQUESTS: usize = 16 * 1024;

/// How long a failed append counts as "events can't be taken".
pub const BLOCKED_FOR: Duration = Duration::from_secs(10);

/// How the key is found again in a stored line, for the window at start.
pub type KeyOf = fn(&[u8]) -> Option<u128>;

/// The sender's end of the journal; clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: mpsc::Sender<Message>,
    state: Arc<State>,
}

/// What the writer tells the world.
#[derive(Debug)]
struct State {
    /// Why and when the last append failed, if it did.
    blocked: watch::Sender<Option<(AppendError, Instant)>>,
    appended: watch::Sender<Appended>,
    sync_observer: SyncObserver,
}

/// Called after every sync with how long write and sync took, and how many records they made
/// durable.
pub struct SyncObserver(pub Box<dyn Fn(Duration, usize) + Send + Sync>);

impl std::fmt::Debug for SyncObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncObserver")
    }
}

/// How far the journal is durable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Appended {
    /// Whether the writer has read the journal, and takes records.
    pub ready: bool,
    /// Where the newest durable record ends.
    pub end: u64,
    /// Records made durable since the process began.
    pub records: u64,
}

/// The outcome of one append.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The journal's end when the records were durable: they all stand before it.
    pub end: u64,
    /// How many were not written, because they had been before.
    pub duplicates: usize,
}

/// Why records are not in the journal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Too many requests wait for the disk.
    #[error("too many requests wait for the disk; try again in a moment")]
    Busy,
    /// The limit is reached because the database has been away for too long.
    #[error(
        "the journal is full ({bytes_max} bytes, JOURNAL_MAX_BYTES): the database is not taking \
         events fast enough, or is away"
    )]
    Full {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The disk did not take the records. Nothing of them is left in the file.
    #[error("the journal could not be written: {0}")]
    Write(String),
    /// The writer has ended. Whether the records are on disk is unknown.
    #[error("the journal has failed, the server is going down")]
    Failed,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("{path} is locked by another server ({holder}); two servers must not share a journal")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the other server wrote about itself.
        holder: String,
    },
    /// The file system said no.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

enum Message {
    Append(Append),
    /// Nothing more will come after what is queued.
    Close,
}

struct Append {
    batch: Batch,
    /// The sender's, until the records are durable, even if the sender goes away before.
    _held: Box<dyn Any + Send>,
    answer: oneshot::Sender<Result<Receipt, AppendError>>,
}

/// A journal whose files are open and locked, but whose writer does not run yet.
#[derive(Debug)]
pub struct Opened {
    log: writer::Log,
    framing: Framing,
}

/// Opens the journal of `jsonl` storage: the file at `path` itself.
///
/// # Errors
/// If another server has it, or the file system refuses.
pub fn open_lines(path: &Path, rotation: Rotation) -> Result<Opened, OpenError> {
    let log = jsonl::LineFile::open(path, rotation)?;
    Ok(Opened { log: writer::Log::Lines(log), framing: Framing::Plain })
}

/// Opens the journal of `postgres` storage: a directory of segments of at most `bytes_max` bytes in
/// all, each kept for `retention` after it was delivered, if there is room.
///
/// # Errors
/// If another server has it, or the file system refuses.
pub fn open_segments(dir: &Path, bytes_max: u64, retention: Duration) -> Result<Opened, OpenError> {
    let log = segments::writer::SegmentLog::open(dir, bytes_max, retention)?;
    Ok(Opened { log: writer::Log::Segments(log), framing: Framing::Checksummed })
}

impl Opened {
    /// How batches for this journal must be framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The reader of a journal of segments.
    pub fn reader(&self) -> Option<Reader> {
        match &self.log {
            writer::Log::Lines(_) => None,
            writer::Log::Segments(log) => Some(Reader::new(log.segments().clone())),
        }
    }

    /// Starts the writer thread. The receiver hears how it ended; if it was dropped without a word,
    /// the writer panicked.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn start(
        self,
        key_of: KeyOf,
        sync_observer: SyncObserver,
    ) -> io::Result<(Journal, oneshot::Receiver<Result<(), Fatal>>)> {
        let (queue, appends) = mpsc::channel(QUEUE_REQUESTS);
        let state = Arc::new(State {
            blocked: watch::Sender::new(None),
            appended: watch::Sender::new(Appended::default()),
            sync_observer,
        });
        let (end, ended) = oneshot::channel();
        let journal = Journal { queue, state: state.clone() };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let result = writer::run(self.log, appends, &state, key_of);
            // Nobody listens any more only when the process is ending anyway.
            let _ = end.send(result);
        })?;
        Ok((journal, ended))
    }
}

impl Journal {
    /// Appends records; returns when they are durable. If the caller goes away meanwhile, they are
    /// appended all the same. `held` is kept for as long as the records are in memory.
    ///
    /// # Errors
    /// If they are not: see [`AppendError`].
    pub async fn append(
        &self,
        batch: Batch,
        held: impl Any + Send,
    ) -> Result<Receipt, AppendError> {
        let (answer, answered) = oneshot::channel();
        let append = Append { batch, _held: Box::new(held), answer };
        self.queue.try_send(Message::Append(append)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => AppendError::Failed,
        })?;
        answered.await.unwrap_or(Err(AppendError::Failed))
    }

    /// Lets the writer end once what is queued has been written and answered.
    pub async fn close(&self) {
        // A writer that is gone needs no telling.
        let _ = self.queue.send(Message::Close).await;
    }

    /// Whether the journal has been read and appends go through without delay.
    pub fn is_ready(&self) -> bool {
        self.state.appended.borrow().ready
    }

    /// Why the last append failed, if that was in the last [`BLOCKED_FOR`]. After that only
    /// another append can tell, so the journal must not keep them away for ever.
    pub fn blocked(&self) -> Option<AppendError> {
        let blocked = self.state.blocked.borrow();
        let (error, at) = blocked.as_ref()?;
        (at.elapsed() < BLOCKED_FOR).then(|| error.clone())
    }

    /// Follows how far the journal is durable.
    pub fn appended(&self) -> watch::Receiver<Appended> {
        self.state.appended.subscribe()
    }
}
