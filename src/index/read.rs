//! Questions to the index. All of it blocks, and runs on threads that may.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter, types::ToSql};
use tokio::runtime::Handle;

use super::files::{self, Identity};
use super::{OFFSET_BITS, Shared, ids, lines, schema};
use crate::event::Timestamp;
use crate::query::answer::{Answering, ReadError, Step};
use crate::query::{Cell, Key, Kind, Statement, Value};

/// How long SQLite may look before the next row comes.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many steps of SQLite's machine lie between two looks at the clock.
const CLOCK_STEPS: i32 = 10_000;

/// A connection that is used by one question.
pub(super) struct Reader<'s> {
    pub(super) index: Connection,
    pub(super) shared: &'s Shared,
    pub(super) files: Files,
    pub(super) deadline: Deadline,
}

/// When a question has taken too long; it begins anew with every part of the answer.
#[derive(Clone)]
pub(super) struct Deadline(Arc<AtomicU64>, Instant);

impl Deadline {
    fn new() -> Self {
        let deadline = Self(Arc::new(AtomicU64::new(0)), Instant::now());
        deadline.begin_anew();
        deadline
    }

    pub(super) fn begin_anew(&self) {
        let at = self.1.elapsed() + QUERY_TIMEOUT;
        self.0.store(at.as_millis() as u64, Ordering::Relaxed);
    }

    fn has_passed(&self) -> bool {
        self.1.elapsed().as_millis() as u64 > self.0.load(Ordering::Relaxed)
    }
}

pub(super) fn read_error(error: &rusqlite::Error) -> ReadError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => ReadError::Slow(QUERY_TIMEOUT),
        Some(rusqlite::ErrorCode::CannotOpen) => {
            ReadError::Unavailable("the index is being built; try again in a moment".to_owned())
        }
        _ => ReadError::Failed(format!("the index: {error}")),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Time(time) => Ok(time.micros().into()),
            Self::Number(number) => Ok((*number).into()),
        }
    }
}

/// The columns from which an event is found in its file, in the order of [`Located::by`]. The index by session
/// has all of them, so that a session's rows need not be read.
pub(super) const PLACE_COLUMNS: &str = "id, session_id, event_id, \"timestamp\"";

/// So many lines are announced to the system before the first is read.
const LINES_AHEAD: usize = 256;

/// An event that was found, and where its line stands.
pub(super) struct Located {
    pub(super) id: i64,
    pub(super) key: Key,
}

impl Located {
    pub(super) fn by(row: &Row<'_>) -> rusqlite::Result<Self> {
        let timestamp = Timestamp::from_micros(row.get(3)?).unwrap_or(Timestamp::MIN);
        let key = Key { timestamp, session_id: row.get(1)?, event_id: row.get(2)? };
        Ok(Self { id: row.get(0)?, key })
    }
}

/// The files that a question reads from.
#[derive(Default)]
pub(super) struct Files(HashMap<i64, Option<File>>);

impl Files {
    /// The file of an event, unless it is gone, and the event's offset there.
    fn of(
        &mut self,
        id: i64,
        index: &Connection,
        shared: &Shared,
    ) -> Result<Option<(&File, u64)>, ReadError> {
        let (number, offset) = (id >> OFFSET_BITS, id & ((1 << OFFSET_BITS) - 1));
        let file = match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(open_file(number, index, shared)?),
        };
        Ok(file.as_ref().map(|file| (file, offset.cast_unsigned())))
    }

    /// Its line, unless the file no longer has it.
    pub(super) fn line(
        &mut self,
        found: &Located,
        index: &Connection,
        shared: &Shared,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some((file, offset)) = self.of(found.id, index, shared)? else { return Ok(None) };
        Ok(lines::read_back(file, offset, &found.key.event_id, found.key.timestamp)?)
    }
}

impl<'s> Reader<'s> {
    pub(super) fn open(shared: &'s Shared, generation: u64) -> Result<Self, ReadError> {
        let mut index = shared
            .take_connection(generation)
            .map_or_else(|| schema::open_to_read(&shared.index), Ok)
            .map_err(|error| read_error(&error))?;
        let deadline = Deadline::new();
        let clock = deadline.clone();
        index
            .progress_handler(CLOCK_STEPS, Some(move || clock.has_passed()))
            .map_err(|error| read_error(&error))?;
        Ok(Self { index, shared, files: Files::default(), deadline })
    }

    /// Gives the connection back for the next question.
    pub(super) fn close(self, generation: u64) {
        self.shared.give_connection(generation, self.index);
    }

    /// Answers with a page of events.
    pub(super) fn page(
        &mut self,
        answering: &mut Answering,
        runtime: &Handle,
    ) -> Result<bool, ReadError> {
        let mut select = Statement::new(&format!("SELECT {PLACE_COLUMNS} FROM hook_events"));
        select.page(answering.page());
        let Self { index, shared, files, deadline } = self;
        let sql = |error: rusqlite::Error| read_error(&error);
        let mut statement = index.prepare(&text(&select)).map_err(sql)?;
        let mut rows = statement.query(params_from_iter(&select.values)).map_err(sql)?;
        loop {
            let mut ahead: Vec<Located> = Vec::new();
            while ahead.len() < LINES_AHEAD
                && let Some(row) = rows.next().map_err(sql)?
            {
                let found = Located::by(row).map_err(sql)?;
                let is_near =
                    |last: &Located| last.id.abs_diff(found.id) < lines::READ_TOGETHER_BYTES;
                if !ahead.last().is_some_and(is_near)
                    && let Some((file, offset)) = files.of(found.id, index, shared)?
                {
                    lines::prefetch(file, offset);
                }
                ahead.push(found);
            }
            if ahead.is_empty() {
                return Ok(false);
            }
            for found in ahead {
                if answering.is_full() {
                    return Ok(true);
                }
                let line = files.line(&found, index, shared)?;
                if answering.offer(found.key, line) == Step::Send {
                    if !runtime.block_on(answering.send()) {
                        return Ok(false);
                    }
                    deadline.begin_anew();
                }
            }
        }
    }

    /// Calls with every row of the answer to a statement.
    pub(super) fn each(
        &mut self,
        statement: &Statement,
        kinds: &[Kind],
        mut call: impl FnMut(&[Cell]),
    ) -> Result<(), ReadError> {
        let sql = |error: rusqlite::Error| read_error(&error);
        let mut prepared = self.index.prepare(&text(statement)).map_err(sql)?;
        let mut rows = prepared.query(params_from_iter(&statement.values)).map_err(sql)?;
        let mut cells = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            cells.clear();
            for (at, kind) in kinds.iter().enumerate() {
                cells.push(cell(row, at, *kind).map_err(sql)?);
            }
            call(&cells);
        }
        Ok(())
    }
}

/// The text for SQLite, which has no statistics from which it could tell how best to find the events.
fn text(statement: &Statement) -> String {
    let (table, by) = match (&statement.by_id, statement.by) {
        // Without an index it looks up rows by their own ids.
        (Some(by_id), _) => (
            "FROM hook_events WHERE",
            format!(
                "FROM hook_events NOT INDEXED WHERE id IN ({}) AND",
                ids::candidates(&by_id.id)
            ),
        ),
        (None, Some(index)) => ("FROM hook_events", format!("FROM hook_events INDEXED BY {index}")),
        (None, None) => return statement.text.clone(),
    };
    statement.text.replacen(table, &by, 1)
}

fn cell(row: &Row<'_>, at: usize, kind: Kind) -> rusqlite::Result<Cell> {
    let cell = match kind {
        Kind::Text => row.get::<_, Option<String>>(at)?.map(Cell::Text),
        Kind::Time => {
            row.get::<_, Option<i64>>(at)?.and_then(Timestamp::from_micros).map(Cell::Time)
        }
        Kind::Number => row.get::<_, Option<i64>>(at)?.map(Cell::Number),
        Kind::Float => row.get::<_, Option<f64>>(at)?.map(Cell::Float),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

/// The file of that number, whatever its name is now.
fn open_file(number: i64, index: &Connection, shared: &Shared) -> Result<Option<File>, ReadError> {
    let identity = index
        .query_row("SELECT device, inode FROM files WHERE number = ?1", [number], |row| {
            let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            Ok(Identity { device: unsigned(0)?, inode: unsigned(1)? })
        })
        .optional()
        .map_err(|error| read_error(&error))?;
    let Some(identity) = identity else { return Ok(None) };
    let open = |path: &std::path::Path| -> std::io::Result<Option<File>> {
        match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            file => {
                let file = file?;
                let is_it = Identity::of_metadata(&file.metadata()?) == identity;
                Ok(is_it.then_some(file))
            }
        }
    };
    if let Some(file) = open(&shared.jsonl)? {
        return Ok(Some(file));
    }
    for (found, path) in files::survey(&shared.jsonl)? {
        if found == identity {
            return Ok(open(&path)?);
        }
    }
    Ok(None)
}
