//! The index of `jsonl` storage: a SQLite database beside the JSON Lines file that has the offset of each
//! line and the columns to search by, while the line itself is only in the file. The index is derived
//! from the file, and is built again if it is missing, damaged or of another version.

mod error;
mod files;
mod follow;
mod ids;
mod lines;
#[cfg(test)]
mod model;
mod read;
mod rows;
mod schema;
mod source_files;
mod sql;
mod tail;
mod unread;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

pub use follow::IndexStatus;

use self::read::IndexReader;
use crate::journal::Appended;
use crate::query::{
    Chunks, FromRow, PageQuery, ReadError, Select, StreamPosition, TailChunk, TailQuery,
};

/// Maximum number of queries at once. Further ones wait.
const READERS_MAX: usize = 4;

/// Maximum time that a query waits until it may start.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of bits for the offset in an event's id, which is the number of its file and its offset in the
/// file. So ids grow in the order of arrival.
const OFFSET_BITS: i64 = 40;

/// The index for readers. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Index {
    shared: Arc<SharedState>,
    status: watch::Receiver<IndexStatus>,
    permits: Arc<Semaphore>,
}

/// State that the follower and the readers share.
#[derive(Debug)]
struct SharedState {
    jsonl: PathBuf,
    index: PathBuf,
    is_damaged: AtomicBool,
    /// Idle connections, and the generation of the index that they are connected to.
    connections: Mutex<(u64, Vec<Connection>)>,
}

impl SharedState {
    fn damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    fn take_damaged(&self) -> bool {
        self.is_damaged.swap(false, Ordering::Relaxed)
    }

    fn take_connection(&self, generation: u64) -> Option<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.0 != generation {
            *connections = (generation, Vec::new());
        }
        connections.1.pop()
    }

    fn give_connection(&self, generation: u64, connection: Connection) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.0 == generation {
            connections.1.push(connection);
        }
    }
}

impl Index {
    /// Starts to follow the JSON Lines file, until `stop` turns true. Needs a runtime. The task ends
    /// once nothing more is written to the index.
    pub fn follow(
        jsonl: &Path,
        appended: watch::Receiver<Appended>,
        stop: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let shared = Arc::new(SharedState {
            jsonl: jsonl.to_owned(),
            index: schema::path_of(jsonl),
            is_damaged: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let sender = watch::Sender::new(IndexStatus::default());
        let status = sender.subscribe();
        let follower = follow::Follower::new(shared.clone(), sender);
        let task = tokio::task::spawn_blocking(move || {
            follower.run(&Handle::current(), appended, stop);
        });
        (Self { shared, status, permits: Arc::new(Semaphore::new(READERS_MAX)) }, task)
    }

    /// Progress of the index.
    pub fn status(&self) -> watch::Receiver<IndexStatus> {
        self.status.clone()
    }

    /// Compares the index with the files as they are now.
    pub fn current_status(&self) -> IndexStatus {
        let mut status = self.status.borrow().clone();
        // If the files cannot be listed, the follower reports the error.
        let _ = status.compare(&self.shared.jsonl);
        status
    }

    /// Reads the first chunk of a page.
    ///
    /// # Errors
    /// If too many queries wait, the index is not open yet, or the query fails.
    pub async fn page(&self, page: PageQuery) -> Result<Chunks, ReadError> {
        let (sender, chunks) = Chunks::channel();
        sender.send_only(self.read(move |reader| reader.page(&page)).await?);
        Ok(chunks)
    }

    /// The position after the newest event.
    ///
    /// # Errors
    /// As [`Index::page`].
    pub async fn newest(&self) -> Result<StreamPosition, ReadError> {
        self.read(|reader| reader.newest()).await
    }

    /// Reads the first events after a position.
    ///
    /// # Errors
    /// As [`Index::page`], and if the position is unknown.
    pub async fn tail(
        &self,
        tail: TailQuery,
        after: StreamPosition,
    ) -> Result<TailChunk, ReadError> {
        self.read(move |reader| reader.tail(&tail.into_page(), &after)).await
    }

    /// Calls `add` with each row of the result, and returns the state that it built.
    pub(crate) async fn fold<R: FromRow, S: Send + 'static>(
        &self,
        select: &Select,
        mut state: S,
        add: fn(&mut S, R),
    ) -> Result<S, ReadError> {
        let statement = sql::select(&R::columns(), select);
        self.read(move |reader| {
            reader.each(&statement, |row| add(&mut state, row))?;
            Ok(state)
        })
        .await
    }

    /// Runs a query on a thread that may block, once fewer than the maximum are running.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut IndexReader<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let generation = self.status.borrow().generation;
        if generation == 0 {
            let starting = "the index is being opened; try again in a moment";
            return Err(ReadError::Unavailable(starting.to_owned()));
        }
        let permit = tokio::time::timeout(WAIT_TIMEOUT, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let busy = format!("{READERS_MAX} queries are running; try again in a moment");
            return Err(ReadError::Unavailable(busy));
        };
        let shared = self.shared.clone();
        let query = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut reader = IndexReader::open(&shared, generation)?;
            let found = query(&mut reader);
            reader.close(generation);
            found
        });
        query.await.unwrap_or_else(|_| Err(ReadError::Failed("the index: panic".to_owned())))
    }
}
