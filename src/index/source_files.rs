//! The JSON Lines files that a query reads lines from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::read_error;
use super::files::{self, FileIdentity};
use super::{OFFSET_BITS, SharedState, lines};
use crate::event::Timestamp;
use crate::query::{PageKey, ReadError};

/// Columns by which an event's line is found, in the order of [`LinePosition::from_row`]. The index
/// `events_key` has all of them, so that a session's rows need not be read.
pub(super) const LINE_POSITION_COLUMNS: &str = "id, session_id, event_id, \"timestamp\"";

/// An event that matches a query, and where its line begins.
pub(super) struct LinePosition {
    pub(super) id: i64,
    pub(super) key: PageKey,
}

impl LinePosition {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let timestamp = Timestamp::from_micros(row.get(3)?).unwrap_or(Timestamp::MIN);
        let key = PageKey { timestamp, session_id: row.get(1)?, event_id: row.get(2)? };
        Ok(Self { id: row.get(0)?, key })
    }
}

/// Open files by their numbers in the index; `None` for a file that was deleted.
#[derive(Default)]
pub(super) struct SourceFiles(HashMap<i64, Option<File>>);

impl SourceFiles {
    /// The file that has an event, and the offset of the event's line in it.
    pub(super) fn locate(
        &mut self,
        id: i64,
        index: &Connection,
        shared: &SharedState,
    ) -> Result<Option<(&File, u64)>, ReadError> {
        let (number, offset) = (id >> OFFSET_BITS, id & ((1 << OFFSET_BITS) - 1));
        let file = match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(open(number, index, shared)?),
        };
        Ok(file.as_ref().map(|file| (file, offset.cast_unsigned())))
    }

    /// Reads an event's line; `None` if no file has it any more.
    pub(super) fn line(
        &mut self,
        event: &LinePosition,
        index: &Connection,
        shared: &SharedState,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some((file, offset)) = self.locate(event.id, index, shared)? else { return Ok(None) };
        Ok(lines::read_back(file, offset, &event.key.event_id, event.key.timestamp)?)
    }
}

/// Opens the file with that number. It may have been renamed since.
fn open(number: i64, index: &Connection, shared: &SharedState) -> Result<Option<File>, ReadError> {
    let identity = index
        .query_row("SELECT device, inode FROM files WHERE number = ?1", [number], |row| {
            let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            Ok(FileIdentity { device: unsigned(0)?, inode: unsigned(1)? })
        })
        .optional()
        .map_err(|error| read_error(&error))?;
    let Some(identity) = identity else { return Ok(None) };
    if let Some(file) = open_if(&shared.jsonl, identity)? {
        return Ok(Some(file));
    }
    for (found, path) in files::list(&shared.jsonl)? {
        if found == identity {
            return Ok(open_if(&path, identity)?);
        }
    }
    Ok(None)
}

/// Opens the file at a path if it has this identity.
fn open_if(path: &Path, identity: FileIdentity) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let file = file?;
            let is_it = FileIdentity::of_metadata(&file.metadata()?) == identity;
            Ok(is_it.then_some(file))
        }
    }
}
