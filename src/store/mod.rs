//! The store that events are read from, and what is computed from its rows: sessions and statistics.

mod open_tools;
mod payload_text;
mod recent_sessions;
mod session_parent;
mod session_state;
mod sessions;
mod stats;

pub use open_tools::OpenTool;
pub use session_state::SessionState;
pub use sessions::{Session, SessionDetails, Sessions, SubAgent};
pub use stats::{Distribution, Stats, StatsBucket, ToolStats};

use tokio::sync::OwnedSemaphorePermit;

use crate::index;
use crate::postgres;
use crate::query::{
    Chunks, FromRow, PageQuery, ReadError, Select, StreamPosition, TailChunk, TailQuery,
};

/// The one store that a server reads from.
#[derive(Clone, Debug)]
pub enum Store {
    /// The index of `jsonl` storage.
    Index(index::Index),
    /// The database of `postgres` storage.
    Postgres(postgres::Database),
}

impl Store {
    /// Starts a query for the first events of a page; see [`PageQuery::advance`]. `turn` is held until it
    /// has ended.
    ///
    /// # Errors
    /// If the store is unavailable or fails.
    pub async fn page(
        &self,
        page: PageQuery,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Chunks, ReadError> {
        match self {
            Self::Index(index) => index.page(page).await,
            Self::Postgres(database) => database.page(page, turn).await,
        }
    }

    /// The position after all events that can be read now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn newest(&self) -> Result<StreamPosition, ReadError> {
        match self {
            Self::Index(index) => index.newest().await,
            Self::Postgres(database) => database.newest().await,
        }
    }

    /// Reads the first events that arrived after a position.
    ///
    /// # Errors
    /// If the store is unavailable, fails, or does not know the position.
    pub async fn tail(
        &self,
        tail: &TailQuery,
        after: &StreamPosition,
    ) -> Result<TailChunk, ReadError> {
        match self {
            Self::Index(index) => index.tail(tail.clone(), after.clone()).await,
            Self::Postgres(database) => database.tail(tail, after).await,
        }
    }

    /// Calls `add` with each row of the result, and returns the state that it built.
    async fn fold<R: FromRow, S: Send + 'static>(
        &self,
        select: &Select,
        state: S,
        add: fn(&mut S, R),
    ) -> Result<S, ReadError> {
        match self {
            Self::Index(index) => index.fold(select, state, add).await,
            Self::Postgres(database) => database.fold(select, state, add).await,
        }
    }
}
