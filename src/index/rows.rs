//! The index rows of events. Reading them from lines and inserting them are separate steps, so that two
//! threads can work at the same time.

use rusqlite::types::{Null, ToSql};
use rusqlite::{Connection, OptionalExtension, Statement};

use super::OFFSET_BITS;
use super::ids::BlockIds;
use super::lines::ParsedLine;
use super::schema::INDEXED;
use crate::event::{ColumnKind, Event, PromotedColumn, Timestamp, parse_count, parse_measure};

/// The columns before the promoted ones; see [`super::schema`].
const FIRST: usize = 8;

/// The rows of a block of lines.
#[derive(Default)]
pub(super) struct IndexRows {
    /// The texts of all rows, concatenated.
    texts: String,
    events: Vec<IndexRow>,
    ids: BlockIds,
}

struct IndexRow {
    id: i64,
    session_id: Text,
    event_id: Text,
    timestamp: i64,
    event_type: Text,
    workflow_id: Option<Text>,
    phase_id: Option<Text>,
    milestone_id: Option<Text>,
    promoted: [PromotedValue; INDEXED.len()],
}

/// A value of a promoted column.
#[derive(Clone, Copy)]
enum PromotedValue {
    Null,
    Text(Text),
    Count(i64),
    Measure(f64),
}

/// The start and end of a text in [`IndexRows::texts`], which is smaller than 4 GiB because a block of lines is.
type Text = (u32, u32);

impl IndexRows {
    /// Returns the rows of the events in a block that begins at a position of a file. Lines that are not
    /// events are ignored.
    pub(super) fn of(block: &[u8], number: i64, position: u64) -> Self {
        let mut rows = Self::default();
        let read_at = Timestamp::now();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            let line = &block[start..end];
            let id = number << OFFSET_BITS | (position + start as u64).cast_signed();
            start = end + 1;
            let Some(read) = ParsedLine::read(line, read_at) else { continue };
            let foreign = read.foreign_line().and_then(|line| Event::from_line(line).ok());
            match (&read, &foreign) {
                (ParsedLine::Own(event), _) | (ParsedLine::Foreign(_), Some(event)) => {
                    rows.push(id, event);
                }
                (ParsedLine::Foreign(_), None) => {}
            }
        }
        rows.ids.sort();
        rows
    }

    fn push(&mut self, id: i64, event: &Event<'_>) {
        self.ids.push(&event.event_id, id);
        if let Some(tool_use_id) = &event.promoted[PromotedColumn::ToolUseId] {
            self.ids.push(tool_use_id, id);
        }
        let mut text = |text: &str| -> Text {
            let start = self.texts.len() as u32;
            self.texts.push_str(text);
            (start, self.texts.len() as u32)
        };
        let row = IndexRow {
            id,
            session_id: text(&event.session_id),
            event_id: text(&event.event_id),
            timestamp: event.timestamp.micros(),
            event_type: text(&event.event_type),
            workflow_id: event.workflow_id.as_deref().map(&mut text),
            phase_id: event.phase_id.as_deref().map(&mut text),
            milestone_id: event.milestone_id.as_deref().map(&mut text),
            promoted: INDEXED.map(|column| {
                let Some(value) = &event.promoted[column] else { return PromotedValue::Null };
                let cell = match column.kind() {
                    ColumnKind::Text => Some(PromotedValue::Text(text(value))),
                    ColumnKind::Count => parse_count(value).map(PromotedValue::Count),
                    ColumnKind::Measure => parse_measure(value).map(PromotedValue::Measure),
                };
                cell.unwrap_or(PromotedValue::Null)
            }),
        };
        self.events.push(row);
    }

    /// Inserts the rows; existing rows are kept as they are. With `find_hidden`, returns true if one of
    /// the events is in the index as an event of another file.
    pub(super) fn insert(&self, index: &Connection, find_hidden: bool) -> rusqlite::Result<bool> {
        let mut is_hidden = false;
        let places = ["?"; FIRST + INDEXED.len()].join(", ");
        let insert = format!("INSERT OR IGNORE INTO hook_events VALUES ({places})");
        let mut insert = index.prepare(&insert)?;
        let mut by_key = index.prepare(
            "SELECT id FROM hook_events INDEXED BY events_key \
             WHERE session_id = ?1 AND \"timestamp\" = ?2 AND event_id = ?3",
        )?;
        for row in &self.events {
            self.bind(&mut insert, row)?;
            let is_new = insert.raw_execute()? > 0;
            if !is_new && find_hidden && !is_hidden {
                is_hidden = self.is_in_other_file(&mut by_key, row)?;
            }
        }
        self.ids.insert(index)?;
        Ok(is_hidden)
    }

    /// Returns true if the index has the event of a row as an event of another file.
    fn is_in_other_file(
        &self,
        by_key: &mut Statement<'_>,
        row: &IndexRow,
    ) -> rusqlite::Result<bool> {
        let key = (self.text(row.session_id), row.timestamp, self.text(row.event_id));
        let found: Option<i64> = by_key.query_row(key, |row| row.get(0)).optional()?;
        Ok(found.is_some_and(|id| id >> OFFSET_BITS != row.id >> OFFSET_BITS))
    }

    fn text(&self, (start, end): Text) -> &str {
        &self.texts[start as usize..end as usize]
    }

    fn bind(&self, insert: &mut Statement<'_>, row: &IndexRow) -> rusqlite::Result<()> {
        let text = |text| self.text(text);
        let optional = |value: Option<Text>| value.map(text);
        let columns: [&dyn ToSql; FIRST] = [
            &row.id,
            &text(row.session_id),
            &text(row.event_id),
            &row.timestamp,
            &text(row.event_type),
            &optional(row.workflow_id),
            &optional(row.phase_id),
            &optional(row.milestone_id),
        ];
        for (at, column) in (1..).zip(columns) {
            insert.raw_bind_parameter(at, column)?;
        }
        for (at, cell) in (FIRST + 1..).zip(row.promoted) {
            match cell {
                PromotedValue::Null => insert.raw_bind_parameter(at, Null)?,
                PromotedValue::Text(value) => insert.raw_bind_parameter(at, text(value))?,
                PromotedValue::Count(number) => insert.raw_bind_parameter(at, number)?,
                PromotedValue::Measure(number) => insert.raw_bind_parameter(at, number)?,
            }
        }
        Ok(())
    }
}
