//! Queries to the index. They block, so they run on threads that may.

use std::time::Instant;

use rusqlite::{Connection, Rows, params_from_iter};

use super::error::{QUERY_TIMEOUT, read_error};
use super::source_files::{LINE_POSITION_COLUMNS, LinePosition, SourceFiles};
use super::{SharedState, lines, schema, sql};
use crate::query::sql::Statement;
use crate::query::{ChunkBuilder, FromRow, PageChunk, PageQuery, ReadError};

/// Number of SQLite's virtual machine instructions between two checks of the time limit.
const CLOCK_STEPS: i32 = 10_000;

/// Number of lines that are requested from the operating system before the first is read.
const PREFETCH_LINES: usize = 256;

/// A connection to the index, used by one query at a time.
pub(super) struct IndexReader<'s> {
    pub(super) index: Connection,
    pub(super) shared: &'s SharedState,
    pub(super) files: SourceFiles,
}

impl<'s> IndexReader<'s> {
    pub(super) fn open(shared: &'s SharedState, generation: u64) -> Result<Self, ReadError> {
        let mut index = shared
            .take_connection(generation)
            .map_or_else(|| schema::open_to_read(&shared.index), Ok)
            .map_err(|error| read_error(&error))?;
        let deadline = Instant::now() + QUERY_TIMEOUT;
        index
            .progress_handler(CLOCK_STEPS, Some(move || Instant::now() > deadline))
            .map_err(|error| read_error(&error))?;
        Ok(Self { index, shared, files: SourceFiles::default() })
    }

    /// Gives the connection back for the next query.
    pub(super) fn close(self, generation: u64) {
        self.shared.give_connection(generation, self.index);
    }

    /// Reads the first events of a page.
    pub(super) fn page(&mut self, page: &PageQuery) -> Result<PageChunk, ReadError> {
        let statement = sql::select(LINE_POSITION_COLUMNS, &page.select());
        let Self { index, shared, files } = self;
        let mut prepared = prepare(index, &statement)?;
        let mut rows = query(&mut prepared, &statement)?;
        let mut chunk = ChunkBuilder::new(page.clone());
        loop {
            let ahead = read_ahead(&mut rows, files, index, shared)?;
            if ahead.is_empty() {
                return Ok(chunk.page(false));
            }
            for event in ahead {
                if chunk.is_full() {
                    return Ok(chunk.page(true));
                }
                let line = files.line(&event, index, shared)?;
                chunk.add(event.key, None, line);
            }
        }
    }

    /// Calls `add` with each row of the result.
    pub(super) fn each<R: FromRow>(
        &mut self,
        statement: &Statement,
        mut add: impl FnMut(R),
    ) -> Result<(), ReadError> {
        let mut prepared = prepare(&self.index, statement)?;
        let mut rows = query(&mut prepared, statement)?;
        while let Some(row) = rows.next().map_err(|error| read_error(&error))? {
            add(R::from_row(row)?);
        }
        Ok(())
    }
}

pub(super) fn prepare<'i>(
    index: &'i Connection,
    statement: &Statement,
) -> Result<rusqlite::Statement<'i>, ReadError> {
    index.prepare(&statement.text).map_err(|error| read_error(&error))
}

pub(super) fn query<'p>(
    prepared: &'p mut rusqlite::Statement<'_>,
    statement: &Statement,
) -> Result<Rows<'p>, ReadError> {
    prepared.query(params_from_iter(&statement.values)).map_err(|error| read_error(&error))
}

/// Reads the next rows, and requests their lines from the operating system.
fn read_ahead(
    rows: &mut Rows<'_>,
    files: &mut SourceFiles,
    index: &Connection,
    shared: &SharedState,
) -> Result<Vec<LinePosition>, ReadError> {
    let sql = |error: rusqlite::Error| read_error(&error);
    let mut ahead: Vec<LinePosition> = Vec::new();
    while ahead.len() < PREFETCH_LINES
        && let Some(row) = rows.next().map_err(sql)?
    {
        let event = LinePosition::from_row(row).map_err(sql)?;
        let is_near = |last: &LinePosition| last.id.abs_diff(event.id) < lines::READ_TOGETHER_BYTES;
        if !ahead.last().is_some_and(is_near)
            && let Some((file, offset)) = files.locate(event.id, index, shared)?
        {
            lines::prefetch(file, offset);
        }
        ahead.push(event);
    }
    Ok(ahead)
}
