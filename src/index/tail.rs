//! Events in the order of their arrival, which is the order of their ids in the index.

use std::collections::HashMap;

use rusqlite::OptionalExtension;

use super::OFFSET_BITS;
use super::error::read_error;
use super::read::{IndexReader, prepare, query};
use super::source_files::{LINE_POSITION_COLUMNS, LinePosition};
use crate::query::sql::{SqlValue, Statement};
use crate::query::{ChunkBuilder, PageQuery, ReadError, StreamPosition, TailChunk};

/// What a [`StreamPosition`] means here: after the event at an offset of a file. In the index whose name
/// it has, the number identifies the file, even a deleted one. In an index that was built since, the
/// inode does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FilePosition {
    index: i64,
    number: i64,
    inode: i64,
    offset: i64,
}

impl FilePosition {
    fn parse(position: &StreamPosition) -> Option<Self> {
        let numbers = position.0.split('.').map(|number| i64::from_str_radix(number, 16));
        let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().ok()?;
        let [index, number, inode, offset] = numbers[..] else { return None };
        let is_id = (0..1 << (63 - OFFSET_BITS)).contains(&number)
            && (0..1 << OFFSET_BITS).contains(&offset);
        is_id.then_some(Self { index, number, inode, offset })
    }

    fn format(self) -> StreamPosition {
        let Self { index, number, inode, offset } = self;
        StreamPosition(format!("{index:x}.{number:x}.{inode:x}.{offset:x}"))
    }
}

/// Translates the ids of events into positions.
struct Positions {
    index: i64,
    inodes: HashMap<i64, i64>,
}

impl Positions {
    fn after(&self, id: i64) -> StreamPosition {
        let (number, offset) = (id >> OFFSET_BITS, id & ((1 << OFFSET_BITS) - 1));
        let inode = self.inodes.get(&number).copied().unwrap_or_default();
        FilePosition { index: self.index, number, inode, offset }.format()
    }
}

impl IndexReader<'_> {
    /// The position after the newest event.
    pub(super) fn newest(&self) -> Result<StreamPosition, ReadError> {
        Ok(self.positions()?.after(self.newest_id()?))
    }

    fn newest_id(&self) -> Result<i64, ReadError> {
        let newest = self.index.query_row("SELECT max(id) FROM hook_events", [], |row| row.get(0));
        // Files with negative numbers are not streamed.
        let newest = newest.map(|id: Option<i64>| id.unwrap_or_default().max(0));
        newest.map_err(|error| read_error(&error))
    }

    fn positions(&self) -> Result<Positions, ReadError> {
        let positions = || -> rusqlite::Result<_> {
            let index = self.index.query_row("SELECT name FROM indexes", [], |row| row.get(0))?;
            let mut files = self.index.prepare("SELECT number, inode FROM files")?;
            let inodes = files.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Positions { index, inodes: inodes.collect::<Result<_, _>>()? })
        };
        positions().map_err(|error| read_error(&error))
    }

    /// Reads the first events after a position.
    pub(super) fn tail(
        &mut self,
        page: &PageQuery,
        after: &StreamPosition,
    ) -> Result<TailChunk, ReadError> {
        // A transaction, so that all statements see the same state of the index.
        self.index.execute_batch("BEGIN").map_err(|error| read_error(&error))?;
        let chunk = self.tail_in_transaction(page, after);
        self.index.execute_batch("COMMIT").map_err(|error| read_error(&error))?;
        chunk
    }

    fn tail_in_transaction(
        &mut self,
        page: &PageQuery,
        after: &StreamPosition,
    ) -> Result<TailChunk, ReadError> {
        let positions = self.positions()?;
        let after = self.id_at(after, positions.index)?;
        let newest = self.newest_id()?;
        let statement = events_after(after, page);
        let sql = |error: rusqlite::Error| read_error(&error);
        let Self { index, shared, files } = self;
        let mut prepared = prepare(index, &statement)?;
        let mut rows = query(&mut prepared, &statement)?;
        let mut chunk = ChunkBuilder::new(page.clone());
        let mut reached = after;
        while let Some(row) = rows.next().map_err(sql)? {
            if chunk.is_full() {
                return Ok(chunk.tail(positions.after(reached), true));
            }
            let event = LinePosition::from_row(row).map_err(sql)?;
            reached = event.id;
            let line = files.line(&event, index, shared)?;
            chunk.add(event.key, Some(positions.after(reached)), line);
        }
        // All matching events were seen. An index that is being built again may not have reached the
        // position yet, which then stays where it is.
        Ok(chunk.tail(positions.after(newest.max(after)), false))
    }

    /// The id of the event at a position.
    fn id_at(&self, position: &StreamPosition, index: i64) -> Result<i64, ReadError> {
        let unknown = || {
            ReadError::Gone(format!(
                "the position {:?} (Last-Event-ID) is unknown, or its file was deleted; connect \
                 without it, and read older events with GET /events",
                position.0
            ))
        };
        let after = FilePosition::parse(position).ok_or_else(unknown)?;
        let number = if after.index == index || after.number == 0 {
            Some(after.number)
        } else {
            let by_inode = "SELECT number FROM files WHERE inode = ?1 AND number > 0 \
                            ORDER BY number DESC";
            let number = self.index.query_row(by_inode, [after.inode], |row| row.get(0));
            number.optional().map_err(|error| read_error(&error))?
        };
        Ok(number.ok_or_else(unknown)? << OFFSET_BITS | after.offset)
    }
}

/// The query for the events with larger ids. It reads them in the order of their ids; another index
/// would need a sort.
fn events_after(id: i64, page: &PageQuery) -> Statement {
    let columns = LINE_POSITION_COLUMNS;
    let mut statement = Statement::new(format!("SELECT {columns} FROM hook_events NOT INDEXED"));
    statement.push(" WHERE id > ?", [SqlValue::Integer(id)]);
    statement.push_and(page.filter.conditions());
    statement.push(&format!(" ORDER BY id LIMIT {}", page.rows() + 1), []);
    statement
}
