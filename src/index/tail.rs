//! Events in the order in which they arrived: the order of their ids.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params_from_iter};
use tokio::runtime::Handle;

use super::OFFSET_BITS;
use super::read::{Located, PLACE_COLUMNS, Reader, read_error};
use crate::query::answer::{Answering, Place, ReadError, Step};
use crate::query::{Statement, Value};

/// What a [`Place`] says here: after the event at that offset of that file. In the index that has the
/// name, the file's number tells which it is, even when it is gone; in another, which was built since,
/// the inode does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct After {
    index: i64,
    number: i64,
    inode: i64,
    offset: i64,
}

impl After {
    fn read(place: &Place) -> Option<Self> {
        let numbers = place.0.split('.').map(|number| i64::from_str_radix(number, 16));
        let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().ok()?;
        let [index, number, inode, offset] = numbers[..] else { return None };
        let is_id = (0..1 << (63 - OFFSET_BITS)).contains(&number)
            && (0..1 << OFFSET_BITS).contains(&offset);
        is_id.then_some(Self { index, number, inode, offset })
    }

    fn place(self) -> Place {
        let Self { index, number, inode, offset } = self;
        Place(format!("{index:x}.{number:x}.{inode:x}.{offset:x}"))
    }
}

/// Turns ids into places.
struct Places {
    index: i64,
    inodes: HashMap<i64, i64>,
}

impl Places {
    fn of(&self, id: i64) -> Place {
        let (number, offset) = (id >> OFFSET_BITS, id & ((1 << OFFSET_BITS) - 1));
        let inode = self.inodes.get(&number).copied().unwrap_or_default();
        After { index: self.index, number, inode, offset }.place()
    }
}

impl Reader<'_> {
    /// The place after the newest event.
    pub(super) fn newest(&self) -> Result<Place, ReadError> {
        Ok(self.places()?.of(self.newest_id()?))
    }

    fn newest_id(&self) -> Result<i64, ReadError> {
        let newest = self.index.query_row("SELECT max(id) FROM hook_events", [], |row| row.get(0));
        newest.map(Option::unwrap_or_default).map_err(|error| read_error(&error))
    }

    fn places(&self) -> Result<Places, ReadError> {
        let places = || -> rusqlite::Result<_> {
            let index = self.index.query_row("SELECT name FROM indexes", [], |row| row.get(0))?;
            let mut files = self.index.prepare("SELECT number, inode FROM files")?;
            let inodes = files.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Places { index, inodes: inodes.collect::<Result<_, _>>()? })
        };
        places().map_err(|error| read_error(&error))
    }

    /// Answers with events after a place; returns the place that was reached, and whether there are
    /// more.
    pub(super) fn tail(
        &mut self,
        answering: &mut Answering,
        after: &Place,
        runtime: &Handle,
    ) -> Result<(Place, bool), ReadError> {
        // One state of the index for all that follows.
        self.index.execute_batch("BEGIN").map_err(|error| read_error(&error))?;
        let answered = self.tail_within(answering, after, runtime);
        self.index.execute_batch("COMMIT").map_err(|error| read_error(&error))?;
        answered
    }

    fn tail_within(
        &mut self,
        answering: &mut Answering,
        after: &Place,
        runtime: &Handle,
    ) -> Result<(Place, bool), ReadError> {
        let places = self.places()?;
        let after = self.id_of(after, places.index)?;
        let newest = self.newest_id()?;
        // In the order of ids without another index, which would need a sort.
        let mut select =
            Statement::new(&format!("SELECT {PLACE_COLUMNS} FROM hook_events NOT INDEXED"));
        select.condition("id > ?", [Value::Number(after)]);
        select.filter(&answering.page().filter);
        let limit = answering.page().scan_max() + 1;
        select.push(&format!(" ORDER BY id LIMIT {limit}"), []);
        let sql = |error: rusqlite::Error| read_error(&error);
        let Self { index, shared, files, deadline } = self;
        let mut statement = index.prepare(&select.text).map_err(sql)?;
        let mut rows = statement.query(params_from_iter(&select.values)).map_err(sql)?;
        let mut reached = after;
        while let Some(row) = rows.next().map_err(sql)? {
            if answering.is_full() {
                return Ok((places.of(reached), true));
            }
            let found = Located::by(row).map_err(sql)?;
            reached = found.id;
            let line = files.line(&found, index, shared)?;
            if answering.offer_at(found.key, Some(places.of(reached)), line) == Step::Send {
                if !runtime.block_on(answering.send()) {
                    break;
                }
                deadline.begin_anew();
            }
        }
        // All that the filter lets through has been seen. An index that is being built again may not
        // have come as far as the place yet, which then stays.
        Ok((places.of(newest.max(after)), false))
    }

    fn id_of(&self, place: &Place, index: i64) -> Result<i64, ReadError> {
        let unknown = || {
            ReadError::Gone(format!(
                "the place {:?} (Last-Event-ID) is not known, or its file was deleted; connect \
                 without it, and read older events with GET /events",
                place.0
            ))
        };
        let after = After::read(place).ok_or_else(unknown)?;
        let number = if after.index == index || after.number == 0 {
            Some(after.number)
        } else {
            let by_inode = "SELECT number FROM files WHERE inode = ?1 ORDER BY number DESC";
            let number = self.index.query_row(by_inode, [after.inode], |row| row.get(0));
            number.optional().map_err(|error| read_error(&error))?
        };
        Ok(number.ok_or_else(unknown)? << OFFSET_BITS | after.offset)
    }
}
