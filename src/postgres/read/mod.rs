//! Queries to the database.

mod error;
mod event_row;
mod page;
mod pool;
mod sql;
mod tail;

use self::pool::{Planning, Pool};
use tokio::sync::OwnedSemaphorePermit;

use super::Address;
use crate::query::{
    Chunks, FromRow, PageQuery, ReadError, Select, StreamPosition, TailChunk, TailQuery,
};

/// The database for readers. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
}

impl Database {
    /// The database at that address. The first query connects to it.
    pub fn new(address: Address) -> Self {
        Self { pool: Pool::new(address) }
    }

    /// Starts to read a page of events. `turn` is held until the query has ended.
    ///
    /// # Errors
    /// If too many queries wait, or the database is unreachable.
    pub async fn page(
        &self,
        page: PageQuery,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Chunks, ReadError> {
        page::read(&self.pool, page, turn).await
    }

    /// The position after all committed events.
    ///
    /// # Errors
    /// As [`Database::page`].
    pub async fn newest(&self) -> Result<StreamPosition, ReadError> {
        tail::newest(&self.pool).await
    }

    /// Reads the first events after a position.
    ///
    /// # Errors
    /// As [`Database::page`], and if the position is not one of this database.
    pub async fn tail(
        &self,
        tail: &TailQuery,
        after: &StreamPosition,
    ) -> Result<TailChunk, ReadError> {
        tail::read(&self.pool, tail, after).await
    }

    /// Calls `add` with each row of the result, and returns the state that it built.
    pub(crate) async fn fold<R: FromRow, S>(
        &self,
        select: &Select,
        mut state: S,
        add: fn(&mut S, R),
    ) -> Result<S, ReadError> {
        let mut connection = self.pool.take(Planning::Custom).await?;
        let mut rows = connection.query(&sql::select(&R::columns(), select)).await?;
        while let Some(row) = rows.next().await? {
            add(&mut state, R::from_row(&row)?);
        }
        connection.give_back();
        Ok(state)
    }
}
