//! The index: what `jsonl` storage is searched by. A SQLite database beside the JSON Lines file that
//! knows of each line where it stands, and what it can be found by; the line itself stays in the file
//! alone. Derived and disposable: one that is missing, damaged or of another version is built again
//! from the file.

mod files;
mod follow;
mod ids;
mod lines;
mod read;
mod rows;
mod schema;
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

pub use follow::Status;

use crate::journal::Appended;
use crate::metrics::Metrics;
use crate::query::answer::{Answer, Answering, Place, ReadError};
use crate::query::{Cell, Kind, Page, Statement, Tail};

/// How many questions are answered at once. More wait a moment.
const READERS_MAX: usize = 4;

/// How long a question waits for its turn.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// An event's id in the index is its file's number, shifted by so many bits, and its offset in the
/// file: so ids grow in the order in which events arrived.
const OFFSET_BITS: i64 = 40;

/// The index, to read from; clones share it.
#[derive(Clone, Debug)]
pub struct Index {
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    turns: Arc<Semaphore>,
}

/// What the follower and the readers share.
#[derive(Debug)]
struct Shared {
    jsonl: PathBuf,
    index: PathBuf,
    is_damaged: AtomicBool,
    /// Connections that no one uses, and which index they are connected to.
    connections: Mutex<(u64, Vec<Connection>)>,
}

impl Shared {
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
    /// Starts to follow the JSON Lines file, until `stop` turns true. Needs a runtime; the task is
    /// done when nothing more is written to the index.
    pub fn follow(
        jsonl: &Path,
        appended: watch::Receiver<Appended>,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let shared = Arc::new(Shared {
            jsonl: jsonl.to_owned(),
            index: schema::path_of(jsonl),
            is_damaged: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let sender = watch::Sender::new(Status::default());
        let status = sender.subscribe();
        let follower = follow::Follower::new(shared.clone(), sender, metrics);
        let task = tokio::task::spawn_blocking(move || {
            follower.run(&Handle::current(), appended, stop);
        });
        (Self { shared, status, turns: Arc::new(Semaphore::new(READERS_MAX)) }, task)
    }

    /// Follows how the index gets on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Answers with a page of events.
    ///
    /// # Errors
    /// If too many questions wait, or the index is not there yet.
    pub async fn page(&self, page: Page) -> Result<Answer, ReadError> {
        let (answering, answer) = Answering::new(page);
        self.read(move |reader, runtime| {
            let mut answering = answering;
            match reader.page(&mut answering, runtime) {
                Ok(full) => runtime.block_on(answering.end(full)),
                Err(error) => {
                    runtime.block_on(answering.fail(error));
                }
            }
        })
        .await?;
        Ok(answer)
    }

    /// The place after the newest event.
    ///
    /// # Errors
    /// As [`Index::page`].
    pub async fn newest(&self) -> Result<Place, ReadError> {
        let (sender, newest) = tokio::sync::oneshot::channel();
        // Whoever asked may have gone away.
        self.read(move |reader, _| drop(sender.send(reader.newest()))).await?;
        newest.await.unwrap_or_else(|_| Err(ReadError::Failed("the index: panic".to_owned())))
    }

    /// Answers with the next events after a place.
    ///
    /// # Errors
    /// As [`Index::page`].
    pub async fn tail(&self, tail: Tail, after: &Place) -> Result<Answer, ReadError> {
        let (answering, answer) = Answering::new(tail.page());
        let after = after.clone();
        self.read(move |reader, runtime| {
            let mut answering = answering;
            match reader.tail(&mut answering, &after, runtime) {
                Ok((place, more)) => runtime.block_on(answering.reached(place, more)),
                Err(error) => runtime.block_on(answering.fail(error)),
            }
        })
        .await?;
        Ok(answer)
    }

    /// Calls `add` with every row of an answer.
    pub(crate) async fn fold<S: Send + 'static>(
        &self,
        statement: Statement,
        kinds: &'static [Kind],
        mut state: S,
        add: fn(&mut S, &[Cell]),
    ) -> Result<S, ReadError> {
        let (sender, folded) = tokio::sync::oneshot::channel();
        let work = move |reader: &mut read::Reader<'_>, _: &Handle| {
            let rows = reader.each(&statement, kinds, |row| add(&mut state, row));
            // Whoever asked may have gone away.
            drop(sender.send(rows.map(|()| state)));
        };
        self.read(work).await?;
        folded.await.unwrap_or_else(|_| Err(ReadError::Failed("the index: panic".to_owned())))
    }

    /// Starts work on a connection of its own, on a thread that may block.
    async fn read(
        &self,
        work: impl FnOnce(&mut read::Reader<'_>, &Handle) + Send + 'static,
    ) -> Result<(), ReadError> {
        let generation = self.status.borrow().generation;
        if generation == 0 {
            let starting = "the index is being opened; try again in a moment";
            return Err(ReadError::Unavailable(starting.to_owned()));
        }
        let turn = tokio::time::timeout(WAIT_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let busy = format!("{READERS_MAX} questions are being answered; try again in a moment");
            return Err(ReadError::Unavailable(busy));
        };
        let shared = self.shared.clone();
        let (opened, was_opened) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match read::Reader::open(&shared, generation) {
                Ok(mut reader) => {
                    // Whoever asked may have gone away.
                    let _ = opened.send(Ok(()));
                    work(&mut reader, &Handle::current());
                    reader.close(generation);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        was_opened.await.unwrap_or_else(|_| Err(ReadError::Failed("the index: panic".to_owned())))
    }
}
