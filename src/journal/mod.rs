//! The journal: the write-ahead log in which events become durable before a request is answered.
//!
//! A single writer thread appends to the files. It takes all queued batches, drops duplicates, writes
//! the rest with one write and one fsync (group commit), and sends every batch in the group its result.
//! In `postgres` storage the forwarder reads the files through a [`Reader`] and deletes what is
//! delivered. The journal has records and their keys; it depends on neither HTTP nor SQL.

mod appender;
mod dedup;
mod error;
mod file;
mod jsonl;
mod lock;
#[cfg(test)]
mod model;
mod record;
mod segments;
mod state;
mod writer;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use error::{AppendError, Fatal, OpenError};
pub(crate) use file::write_atomically;
pub(crate) use jsonl::file_names::RotatedNames;
pub use jsonl::{Rotate, Rotation};
pub use record::{Batch, Framing};
pub use segments::{JournalChunk, Reader, Record};
pub use state::{Appended, SyncObserver};

use appender::Appender;
use jsonl::JsonlAppender;
use segments::appender::SegmentAppender;
use state::State;

/// Capacity of the writer's queue, in requests. Their bytes are bounded by the memory budget of the
/// HTTP server.
const QUEUE_REQUESTS: usize = 16 * 1024;

/// Returns the key of a stored line; `None` if it has none. Used to fill the dedup window at start.
pub type KeyOf = fn(&[u8]) -> Option<u128>;

/// A handle for appending to the journal; clones share the writer.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: mpsc::Sender<Message>,
    state: Arc<State>,
}

/// Confirmation that the records of an append are durable.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Position up to which the journal is durable. The records of the batch are before it, and so are
    /// the earlier records that made some of them duplicates.
    pub end: u64,
    /// Number of records that were not written because they are duplicates.
    pub duplicates: usize,
}

/// A message to the writer.
enum Message {
    Append(Append),
    /// End once the queued appends are done.
    Close,
}

struct Append {
    batch: Batch,
    /// Share of the memory budget. Dropped when the batch's group is durable or has failed, even if the
    /// request was cancelled before.
    _held: Box<dyn Any + Send>,
    response: oneshot::Sender<Result<Receipt, AppendError>>,
}

/// An open and locked journal whose writer thread has not been started.
#[derive(Debug)]
pub struct OpenJournal {
    appender: Appender,
    framing: Framing,
}

/// Opens the journal of `jsonl` storage: the JSON Lines file at `path`.
///
/// # Errors
/// If another server has locked it, or on an I/O error.
pub fn open_lines(path: &Path, rotation: Rotation) -> Result<OpenJournal, OpenError> {
    let appender = Appender::Jsonl(JsonlAppender::open(path, rotation)?);
    Ok(OpenJournal { appender, framing: Framing::Plain })
}

/// Opens the journal of `postgres` storage: a directory of segments. Appends that would make the backlog
/// larger than `bytes_max` fail, except the first group of an empty backlog. Delivered segments are kept
/// for `retention`, or until their space is needed to keep all segments within `bytes_max`.
///
/// # Errors
/// If another server has locked it, or on an I/O error.
pub fn open_segments(
    dir: &Path,
    bytes_max: u64,
    retention: Duration,
) -> Result<OpenJournal, OpenError> {
    let appender = Appender::Segments(SegmentAppender::open(dir, bytes_max, retention)?);
    Ok(OpenJournal { appender, framing: Framing::Checksummed })
}

impl OpenJournal {
    /// The framing that batches for this journal must have.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// A reader, if this is a journal of segments.
    pub fn reader(&self) -> Option<Reader> {
        match &self.appender {
            Appender::Jsonl(_) => None,
            Appender::Segments(segments) => Some(Reader::new(segments.segments().clone())),
        }
    }

    /// Starts the writer thread. The receiver gets the writer's result when it ends; the sender is
    /// dropped without a result if the writer panicked.
    ///
    /// # Errors
    /// If the thread cannot be created.
    pub fn start(
        self,
        key_of: KeyOf,
        sync_observer: SyncObserver,
    ) -> io::Result<(Journal, oneshot::Receiver<Result<(), Fatal>>)> {
        let (queue, appends) = mpsc::channel(QUEUE_REQUESTS);
        let state = Arc::new(State::new(sync_observer));
        let (end, ended) = oneshot::channel();
        let journal = Journal { queue, state: state.clone() };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let result = writer::run(self.appender, appends, &state, key_of);
            // The receiver is dropped only when the process is already shutting down.
            let _ = end.send(result);
        })?;
        Ok((journal, ended))
    }
}

impl Journal {
    /// Appends records and returns once they are durable. Cancelling the call does not cancel the
    /// append. `held` is dropped when the records are durable or the append has failed.
    ///
    /// # Errors
    /// If the records are not durable; see [`AppendError`].
    pub async fn append(
        &self,
        batch: Batch,
        held: impl Any + Send,
    ) -> Result<Receipt, AppendError> {
        let (response, outcome) = oneshot::channel();
        let append = Append { batch, _held: Box::new(held), response };
        self.queue.try_send(Message::Append(append)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => AppendError::Failed,
        })?;
        outcome.await.unwrap_or(Err(AppendError::Failed))
    }

    /// Ends the writer once everything queued has been written and answered.
    pub async fn close(&self) {
        // An error means that the writer has ended already.
        let _ = self.queue.send(Message::Close).await;
    }

    /// Returns true once the dedup window is filled, so that appends do not wait for it.
    pub fn is_ready(&self) -> bool {
        self.state.appended.borrow().ready
    }

    /// The error of the last append, if it failed within the last 10 seconds.
    pub fn blocked(&self) -> Option<AppendError> {
        self.state.blocked()
    }

    /// Watches the durable end of the journal.
    pub fn appended(&self) -> watch::Receiver<Appended> {
        self.state.appended.subscribe()
    }
}
