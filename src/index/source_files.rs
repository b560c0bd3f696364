//! The JSON Lines files that a query reads lines from.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;

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

/// Maximum number of open files of one query. An index of many files would use up all descriptors.
const OPEN_MAX: usize = 16;

/// The files of a query, by their numbers in the index.
#[derive(Default)]
pub(super) struct SourceFiles {
    /// The files that were opened last, the latest at the end; `None` for a file that was deleted.
    open: VecDeque<(i64, Option<File>)>,
    /// Paths, once a file that was rotated was needed.
    listed: Option<HashMap<FileIdentity, PathBuf>>,
}

impl SourceFiles {
    /// The file that has an event, and the offset of the event's line in it.
    pub(super) fn locate(
        &mut self,
        id: i64,
        index: &Connection,
        shared: &SharedState,
    ) -> Result<Option<(&File, u64)>, ReadError> {
        let (number, offset) = (id >> OFFSET_BITS, id & ((1 << OFFSET_BITS) - 1));
        let known = self.open.iter().rposition(|(open, _)| *open == number);
        let at = if let Some(at) = known {
            at
        } else {
            let file = self.open(number, index, shared)?;
            if self.open.len() == OPEN_MAX {
                self.open.pop_front();
            }
            self.open.push_back((number, file));
            self.open.len() - 1
        };
        Ok(self.open[at].1.as_ref().map(|file| (file, offset.cast_unsigned())))
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

    /// Opens the file with that number. It may have been renamed since it was listed.
    fn open(
        &mut self,
        number: i64,
        index: &Connection,
        shared: &SharedState,
    ) -> Result<Option<File>, ReadError> {
        let identity = index
            .query_row("SELECT device, inode FROM files WHERE number = ?1", [number], |row| {
                let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                Ok(FileIdentity { device: unsigned(0)?, inode: unsigned(1)? })
            })
            .optional()
            .map_err(|error| read_error(&error))?;
        let Some(identity) = identity else { return Ok(None) };
        if let Some(file) = files::open_if(&shared.jsonl, identity)? {
            return Ok(Some(file));
        }
        if let Some(path) = self.listed.as_ref().and_then(|listed| listed.get(&identity))
            && let Some(file) = files::open_if(path, identity)?
        {
            return Ok(Some(file));
        }
        let listed = self.listed.insert(files::list(&shared.jsonl)?.into_iter().collect());
        let Some(path) = listed.get(&identity) else { return Ok(None) };
        Ok(files::open_if(path, identity)?)
    }
}
