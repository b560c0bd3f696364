//! Pages of events in the order of their time.

use super::error::read_error;
use super::event_row::{event_columns, line};
use super::pool::{Planning, Pool, ResultRows};
use super::sql;
use crate::query::{Offered, PageQuery, PageReader, PageWriter, ReadError};

/// Starts to read a page.
pub(super) async fn read(pool: &Pool, page: PageQuery) -> Result<PageReader, ReadError> {
    let mut connection = pool.take(Planning::Custom).await?;
    let statement = sql::select(&event_columns(page.needs_data()), &page.select());
    let rows = connection.query(&statement).await?;
    let (mut writer, reader) = PageWriter::new(page);
    tokio::spawn(async move {
        match write(&mut writer, rows).await {
            Ok(Some(full)) => {
                connection.give_back();
                writer.end(full).await;
            }
            Ok(None) => {}
            Err(error) => writer.fail(error).await,
        }
    });
    Ok(reader)
}

/// Writes the rows. Returns whether there are more than the page takes, or `None` if the client is gone.
async fn write(writer: &mut PageWriter, mut rows: ResultRows) -> Result<Option<bool>, ReadError> {
    while let Some(row) = rows.next().await? {
        if writer.is_full() {
            // This was the one row after the page's last, so no further row is left unread.
            return Ok(Some(true));
        }
        let (key, line) = line(&row).map_err(|error| read_error(&error))?;
        if writer.offer(key, Some(line)) == Offered::ChunkFull && !writer.send().await {
            return Ok(None);
        }
    }
    Ok(Some(false))
}
