//! What the index keeps of events: taken out of their lines here, and inserted, so that one thread can do the
//! former while another does the latter.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Statement};

use super::OFFSET_BITS;
use super::ids::Ids;
use super::lines::Line;
use crate::event::{Event, Timestamp, count, measure};

/// Columns of a row: see [`super::schema`].
const COLUMNS: usize = 15;

/// The rows of a block of lines.
#[derive(Default)]
pub(super) struct Rows {
    /// All texts of all rows.
    texts: String,
    events: Vec<Row>,
    ids: Ids,
}

struct Row {
    id: i64,
    session_id: Text,
    event_id: Text,
    timestamp: i64,
    event_type: Text,
    /// From `workflow_id` to `tool_use_id`.
    optional: [Option<Text>; 6],
    duration_ms: Option<f64>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cost_usd: Option<f64>,
}

/// Where a text begins and ends. It is no longer than an event's line may be.
type Text = (u32, u32);

impl Rows {
    /// Takes the events out of a block that begins at a position of a file. What is no event is left
    /// out.
    pub(super) fn of(block: &[u8], number: i64, position: u64) -> Self {
        let mut rows = Self::default();
        let read_at = Timestamp::now();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            let line = &block[start..end];
            let id = number << OFFSET_BITS | (position + start as u64).cast_signed();
            start = end + 1;
            let Some(read) = Line::read(line, read_at) else { continue };
            let foreign = read.foreign_line().and_then(|line| Event::from_line(line).ok());
            match (&read, &foreign) {
                (Line::Own(event), _) | (Line::Foreign(_), Some(event)) => rows.push(id, event),
                (Line::Foreign(_), None) => {}
            }
        }
        rows.ids.sort();
        rows
    }

    fn push(&mut self, id: i64, event: &Event<'_>) {
        let facts = &event.facts;
        self.ids.push(&event.event_id, id);
        if let Some(tool_use_id) = &facts.tool_use_id {
            self.ids.push(tool_use_id, id);
        }
        let mut text = |text: &str| -> Text {
            let start = self.texts.len() as u32;
            self.texts.push_str(text);
            (start, self.texts.len() as u32)
        };
        let optional = [
            &event.workflow_id,
            &event.phase_id,
            &event.milestone_id,
            &facts.agent,
            &facts.tool_name,
            &facts.tool_use_id,
        ];
        let row = Row {
            id,
            session_id: text(&event.session_id),
            event_id: text(&event.event_id),
            timestamp: event.timestamp.micros(),
            event_type: text(&event.event_type),
            optional: optional.map(|value| value.as_deref().map(&mut text)),
            duration_ms: facts.duration_ms.as_deref().and_then(measure),
            input_tokens: facts.input_tokens.as_deref().and_then(count),
            output_tokens: facts.output_tokens.as_deref().and_then(count),
            cost_usd: facts.cost_usd.as_deref().and_then(measure),
        };
        self.events.push(row);
    }

    /// Inserts them; what is there already stays.
    pub(super) fn insert(&self, index: &Connection) -> rusqlite::Result<()> {
        let places = ["?"; COLUMNS].join(", ");
        let insert = format!("INSERT OR IGNORE INTO hook_events VALUES ({places})");
        let mut insert = index.prepare(&insert)?;
        for row in &self.events {
            self.bind(&mut insert, row)?;
            insert.raw_execute()?;
        }
        self.ids.insert(index)
    }

    fn bind(&self, insert: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
        let text = |(start, end): Text| &self.texts[start as usize..end as usize];
        let optional = row.optional.map(|value| value.map(text));
        let columns: [&dyn ToSql; COLUMNS] = [
            &row.id,
            &text(row.session_id),
            &text(row.event_id),
            &row.timestamp,
            &text(row.event_type),
            &optional[0],
            &optional[1],
            &optional[2],
            &optional[3],
            &optional[4],
            &optional[5],
            &row.duration_ms,
            &row.input_tokens,
            &row.output_tokens,
            &row.cost_usd,
        ];
        for (at, column) in columns.into_iter().enumerate() {
            insert.raw_bind_parameter(at + 1, column)?;
        }
        Ok(())
    }
}
