//! Stores: where events are read from.

mod recent_sessions;
mod sessions;
mod stats;

pub use sessions::{Session, SessionDetails, SessionState, Sessions, SubAgent};
pub use stats::{Distribution, Stats, StatsBucket, ToolStats};

use crate::index;
use crate::postgres;
use crate::query::{Answer, Cell, Kind, Page, Place, ReadError, Statement, Tail};

/// The one store that a server reads from.
#[derive(Clone, Debug)]
pub enum Store {
    /// Of `jsonl` storage.
    Index(index::Index),
    /// Of `postgres` storage.
    Postgres(postgres::Database),
}

impl Store {
    /// Answers with a page of events.
    ///
    /// # Errors
    /// If the store cannot be asked now. What goes wrong later is told in the answer.
    pub async fn page(&self, page: Page) -> Result<Answer, ReadError> {
        match self {
            Self::Index(index) => index.page(page).await,
            Self::Postgres(database) => database.page(page).await,
        }
    }

    /// The place after all events that can be read now.
    ///
    /// # Errors
    /// If the store cannot be asked now.
    pub async fn newest(&self) -> Result<Place, ReadError> {
        match self {
            Self::Index(index) => index.newest().await,
            Self::Postgres(database) => database.newest().await,
        }
    }

    /// Answers with the next events after a place, in the order in which they arrived.
    ///
    /// # Errors
    /// If the store cannot be asked now, or the place is not known.
    pub async fn tail(&self, tail: Tail, after: &Place) -> Result<Answer, ReadError> {
        match self {
            Self::Index(index) => index.tail(tail, after).await,
            Self::Postgres(database) => database.tail(tail, after).await,
        }
    }

    /// Calls `add` with every row of the answer to a statement; returns what it made of them.
    async fn fold<S: Send + 'static>(
        &self,
        statement: Statement,
        kinds: &'static [Kind],
        state: S,
        add: fn(&mut S, &[Cell]),
    ) -> Result<S, ReadError> {
        match self {
            Self::Index(index) => index.fold(statement, kinds, state, add).await,
            Self::Postgres(database) => database.fold(statement, kinds, state, add).await,
        }
    }
}
