//! Events in the order of their arrival.
//!
//! Servers commit concurrently, so neither times nor a sequence grow in the order in which rows become
//! visible: a reader that follows either of them would miss a row that was numbered early and committed
//! late. But each journal is forwarded strictly in order, and its position is updated in the transaction
//! that inserts the rows. So a reader keeps one position for each journal: once it sees a journal's
//! position, it sees all rows before it, and no row will appear there later.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::error::read_error;
use super::event_row::{EVENT_COLUMNS, event_columns, line};
use super::pool::{Planning, Pool, PooledConnection};
use crate::query::sql::{SqlValue, Statement};
use crate::query::{ChunkBuilder, PageQuery, ReadError, StreamPosition, TailChunk, TailQuery};

/// Maximum bytes of one journal whose events one response looks at: some 100,000 events. So a client that
/// returns after a long time makes progress even if its filter matches few of them.
const TAIL_BYTES_MAX: i64 = 64 << 20;

/// What a [`StreamPosition`] means here: for each journal, by its number, the position up to which its
/// events were seen. No events of the other journals were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JournalPositions(BTreeMap<i32, i64>);

impl JournalPositions {
    fn parse(position: &StreamPosition) -> Option<Self> {
        let journals = position.0.split('.').filter(|journal| !journal.is_empty());
        let journals = journals.map(|journal| {
            let (number, position) = journal.split_once('-')?;
            let position = i64::from_str_radix(position, 16).ok()?;
            Some((i32::from_str_radix(number, 16).ok()?, position))
        });
        journals.collect::<Option<_>>().map(Self)
    }

    fn format(&self) -> StreamPosition {
        let mut text = String::new();
        for (number, position) in &self.0 {
            let dot = if text.is_empty() { "" } else { "." };
            // Writing to a string cannot fail.
            let _ = write!(text, "{dot}{number:x}-{position:x}");
        }
        // Clients do not send back an empty one.
        StreamPosition(if text.is_empty() { ".".to_owned() } else { text })
    }
}

/// The position after all committed events.
pub(super) async fn newest(pool: &Pool) -> Result<StreamPosition, ReadError> {
    let mut connection = pool.take(Planning::Generic).await?;
    let newest = JournalPositions(stored_positions(&mut connection).await?);
    connection.give_back();
    Ok(newest.format())
}

/// Reads the first events after a position: those of one journal after the other.
pub(super) async fn read(
    pool: &Pool,
    tail: &TailQuery,
    after: &StreamPosition,
) -> Result<TailChunk, ReadError> {
    let mut after = JournalPositions::parse(after).ok_or_else(|| {
        ReadError::Gone(format!(
            "{:?} (Last-Event-ID) is not a position in this database; connect without it, and read \
             older events with GET /events",
            after.0
        ))
    })?;
    let mut connection = pool.take(Planning::Generic).await?;
    let mut chunk = ChunkBuilder::new(tail.clone().into_page());
    let more = add_events(&mut chunk, &mut connection, &mut after).await?;
    // Rows of the query are left only if the chunk ended before them.
    if !(more && chunk.is_heavy()) {
        connection.give_back();
    }
    Ok(chunk.tail(after.format(), more))
}

/// The position up to which each journal is stored.
async fn stored_positions(
    connection: &mut PooledConnection,
) -> Result<BTreeMap<i32, i64>, ReadError> {
    let select = Statement::new("SELECT number, position FROM hook_positions".to_owned());
    let mut rows = connection.query(&select).await?;
    let mut positions = BTreeMap::new();
    while let Some(row) = rows.next().await? {
        positions.insert(row.get(0), row.get(1));
    }
    Ok(positions)
}

/// Adds events, and moves the positions after them. Returns whether there are more.
async fn add_events(
    chunk: &mut ChunkBuilder,
    connection: &mut PooledConnection,
    after: &mut JournalPositions,
) -> Result<bool, ReadError> {
    let mut more = false;
    for (journal, stored) in stored_positions(connection).await? {
        let seen = after.0.get(&journal).copied().unwrap_or_default();
        if seen >= stored {
            after.0.entry(journal).or_insert(stored);
            continue;
        }
        let upto = stored.min(seen.saturating_add(TAIL_BYTES_MAX));
        more |= upto < stored;
        let statement = events_between(journal, seen, upto, chunk.query());
        let mut rows = connection.query(&statement).await?;
        while let Some(row) = rows.next().await? {
            if chunk.is_full() {
                return Ok(true);
            }
            let (key, line) = line(&row).map_err(|error| read_error(&error))?;
            let position = row.try_get(EVENT_COLUMNS).map_err(|error| read_error(&error))?;
            after.0.insert(journal, position);
            chunk.add(key, Some(after.format()), Some(line));
        }
        after.0.insert(journal, upto);
    }
    Ok(more)
}

/// The query for a journal's events after one position and up to another. The subquery selects by
/// position alone, because a plan for all values cannot know that these are few rows.
fn events_between(journal: i32, after: i64, upto: i64, page: &PageQuery) -> Statement {
    let columns = event_columns(page.needs_data());
    let mut statement = Statement::new(format!("SELECT {columns}, position FROM ("));
    statement.push(
        "SELECT * FROM hook_events WHERE journal = ? AND position > ? AND position <= ? \
         ORDER BY position OFFSET 0) AS arrived",
        [journal.into(), after, upto].map(SqlValue::Integer),
    );
    statement.push_where(page.filter.conditions());
    statement.push(&format!(" ORDER BY position LIMIT {}", page.rows() + 1), []);
    statement
}
