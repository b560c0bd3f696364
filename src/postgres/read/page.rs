//! Pages of events in the order of their time.

use tokio::sync::OwnedSemaphorePermit;

use super::error::read_error;
use super::event_row::{event_columns, line};
use super::pool::{Planning, Pool, ResultRows};
use super::sql;
use crate::query::{ChunkBuilder, ChunkSender, Chunks, PageQuery, ReadError};

/// Starts to read a page. `turn` is held until the query has ended.
pub(super) async fn read(
    pool: &Pool,
    page: PageQuery,
    turn: Option<OwnedSemaphorePermit>,
) -> Result<Chunks, ReadError> {
    let mut connection = pool.take(Planning::Custom).await?;
    let statement = sql::select(&event_columns(page.needs_data()), &page.select());
    let rows = connection.query(&statement).await?;
    let (sender, chunks) = Chunks::channel();
    tokio::spawn(async move {
        match send(&sender, page, rows).await {
            Ok(true) => connection.give_back(),
            // Closing the connection ends the query.
            Ok(false) => drop(connection),
            Err(error) => {
                drop(connection);
                sender.send(Err(error)).await;
            }
        }
        drop(turn);
    });
    Ok(chunks)
}

/// Sends the rows in chunks. Returns whether no row is left.
async fn send(
    sender: &ChunkSender,
    page: PageQuery,
    mut rows: ResultRows,
) -> Result<bool, ReadError> {
    let mut left = page.rows();
    let mut chunk = ChunkBuilder::new(page);
    while let Some(row) = rows.next().await? {
        if left == 0 || chunk.is_page_full() {
            sender.send(Ok(chunk.page(true))).await;
            return Ok(left == 0);
        }
        if chunk.is_heavy() {
            let (full, next) = chunk.split();
            if !sender.send(Ok(full)).await {
                return Ok(false);
            }
            chunk = next;
        }
        let (key, line) = line(&row).map_err(|error| read_error(&error))?;
        chunk.add(key, None, Some(line));
        left -= 1;
    }
    sender.send(Ok(chunk.page(false))).await;
    Ok(true)
}
