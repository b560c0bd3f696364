//! Pages of events in the order of their time.

use super::error::read_error;
use super::event_row::{event_columns, line};
use super::pool::{Planning, Pool};
use super::sql;
use crate::query::{ChunkBuilder, PageChunk, PageQuery, ReadError};

/// Reads the first events of a page.
pub(super) async fn read(pool: &Pool, page: &PageQuery) -> Result<PageChunk, ReadError> {
    let mut connection = pool.take(Planning::Custom).await?;
    let statement = sql::select(&event_columns(page.needs_data()), &page.select());
    let mut rows = connection.query(&statement).await?;
    let mut chunk = ChunkBuilder::new(page);
    let mut more = false;
    while let Some(row) = rows.next().await? {
        more = chunk.is_full();
        if more {
            break;
        }
        let (key, line) = line(&row).map_err(|error| read_error(&error))?;
        chunk.add(key, None, Some(line));
    }
    // Rows of the query are left only if the chunk ended before them.
    if !(more && chunk.is_heavy()) {
        connection.give_back();
    }
    Ok(chunk.page(more))
}
