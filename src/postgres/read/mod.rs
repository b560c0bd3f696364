//! Queries to the database.

mod error;
mod event_row;
mod page;
mod pool;
mod sql;
mod tail;

use self::pool::{Planning, Pool};
use super::Address;
use crate::query::{
    FromRow, PageChunk, PageQuery, ReadError, Select, StreamPosition, TailChunk, TailQuery,
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

    /// Reads the first events of a page.
    ///
    /// # Errors
    /// If too many queries wait, the database is unreachable, or the query fails.
    pub async fn page(&self, page: &PageQuery) -> Result<PageChunk, ReadError> {
        page::read(&self.pool, page).await
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
