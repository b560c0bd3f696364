//! Encodes journal records as rows in PostgreSQL's binary COPY format
//! (<https://www.postgresql.org/docs/current/sql-copy.html>).

use std::collections::BTreeSet;
use std::ops::Range;

use super::expansion::{EXPANSION_BYTES_MAX, expansion};
use super::receipt_ids::ReceiptId;
use crate::buffer;
use crate::event::{ColumnKind, Event, Timestamp, parse_count, parse_measure};
use crate::journal::{JournalChunk, Record};
use crate::json::text::replace_unicode_escapes;
use crate::postgres::columns::{COLUMN_COUNT, POSTGRES_EPOCH_MICROS};

/// Signature, flags, and length of the header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A column count of -1.
const TRAILER: &[u8] = b"\xff\xff";
/// Precedes the text of a `jsonb` value.
const JSONB_VERSION: u8 = 1;

/// The rows of a journal chunk.
#[derive(Debug)]
pub struct CopyRows {
    chunk: JournalChunk,
    tuples: Vec<u8>,
    ends: Vec<usize>,
    days: BTreeSet<i64>,
    receipt_ids: Vec<ReceiptId>,
    oldest: Option<Timestamp>,
    damaged: usize,
    unstorable: usize,
}

impl CopyRows {
    /// Encodes a chunk of the journal with this number in the database. Takes about a microsecond per event, and
    /// does not block.
    pub fn encode(chunk: JournalChunk, journal: i32) -> Self {
        let mut rows = Self {
            tuples: buffer::with_capacity(chunk.len()),
            ends: Vec::new(),
            days: BTreeSet::new(),
            receipt_ids: Vec::new(),
            oldest: None,
            damaged: 0,
            unstorable: 0,
            chunk: JournalChunk::default(),
        };
        for (position, event) in events_by_position(&chunk) {
            match event {
                Ok((event, _)) => {
                    rows.oldest.get_or_insert(event.received_at);
                    rows.days.insert(event.timestamp.day());
                    rows.receipt_ids.extend(ReceiptId::of(&event, rows.ends.len()));
                    tuple(&event, &mut rows.tuples);
                    field(&journal.to_be_bytes(), &mut rows.tuples);
                    field(&position.to_be_bytes(), &mut rows.tuples);
                    rows.ends.push(rows.tuples.len());
                }
                Err(Fault::Damaged(..)) => rows.damaged += 1,
                Err(Fault::Unstorable(..)) => rows.unstorable += 1,
            }
        }
        rows.chunk = chunk;
        rows
    }

    /// The encoded chunk.
    pub fn chunk(&self) -> &JournalChunk {
        &self.chunk
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Time at which the first event was received.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// The days of the events, since 1970-01-01.
    pub fn days(&self) -> &BTreeSet<i64> {
        &self.days
    }

    /// The IDs of the rows that another server may store with another primary key.
    pub(super) fn receipt_ids(&self) -> &[ReceiptId] {
        &self.receipt_ids
    }

    /// The number of damaged records.
    pub fn damaged_len(&self) -> usize {
        self.damaged
    }

    /// The number of events that PostgreSQL would store but could not return.
    pub fn unstorable_len(&self) -> usize {
        self.unstorable
    }

    /// The number of records without a row, for either reason.
    pub fn faulty_len(&self) -> usize {
        self.damaged + self.unstorable
    }

    /// The records without a row: their bytes, and why they have none.
    pub fn faulty(&self) -> impl Iterator<Item = (&[u8], String)> {
        events(&self.chunk).filter_map(|event| match event.err()? {
            Fault::Damaged(line, reason) | Fault::Unstorable(line, reason) => Some((line, reason)),
        })
    }

    /// The records with a row, in order.
    pub fn originals(&self) -> impl Iterator<Item = &[u8]> {
        events(&self.chunk).filter_map(Result::ok).map(|(_, line)| line)
    }

    /// Returns a range of the rows as a complete COPY stream, in parts.
    pub(super) fn copy(&self, range: Range<usize>) -> [&[u8]; 3] {
        let at = |row: usize| if row == 0 { 0 } else { self.ends[row - 1] };
        [HEADER, &self.tuples[at(range.start)..at(range.end)], TRAILER]
    }
}

type Readable<'a> = (Event<'a>, &'a [u8]);

/// A record without a row: its bytes and the reason.
enum Fault<'a> {
    /// The record is not as it was written.
    Damaged(&'a [u8], String),
    /// The row could not be read.
    Unstorable(&'a [u8], String),
}

fn events(chunk: &JournalChunk) -> impl Iterator<Item = Result<Readable<'_>, Fault<'_>>> {
    events_by_position(chunk).map(|(_, event)| event)
}

fn events_by_position(
    chunk: &JournalChunk,
) -> impl Iterator<Item = (u64, Result<Readable<'_>, Fault<'_>>)> {
    chunk.records_by_position().map(|(position, record)| (position, readable(record)))
}

fn readable(record: Record<'_>) -> Result<Readable<'_>, Fault<'_>> {
    let line = record.map_err(|(bytes, reason)| Fault::Damaged(bytes, reason.to_owned()))?;
    let event = Event::from_line(line)
        .map_err(|reason| Fault::Damaged(line, format!("not a valid stored event: {reason}")))?;
    // Of data and extra together, because a row is read as a whole.
    let expansion = expansion(&event.data) + event.extra.as_deref().map_or(0, expansion);
    if expansion > EXPANSION_BYTES_MAX {
        return Err(Fault::Unstorable(
            line,
            format!(
                "PostgreSQL would write its numbers with {expansion} more digits, and could not \
                 return the row; at most {EXPANSION_BYTES_MAX} are allowed"
            ),
        ));
    }
    Ok((event, line))
}

/// Encodes all columns except the last two, `journal` and `position`.
fn tuple(event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(COLUMN_COUNT as i16).to_be_bytes());
    text(&event.session_id, out);
    text(&event.event_id, out);
    timestamp(event.timestamp, out);
    text(&event.event_type, out);
    optional(event.workflow_id.as_deref(), out);
    optional(event.phase_id.as_deref(), out);
    optional(event.milestone_id.as_deref(), out);
    jsonb(&event.data, out);
    timestamp(event.received_at, out);
    for (column, value) in event.promoted.iter() {
        match column.kind() {
            ColumnKind::Text => optional(value, out),
            ColumnKind::Count => bigint(value.and_then(parse_count), out),
            ColumnKind::Measure => double(value.and_then(parse_measure), out),
        }
    }
    match &event.extra {
        Some(extra) => jsonb(extra, out),
        None => null(out),
    }
}

fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

/// Encodes text. NUL, which PostgreSQL does not support, becomes U+FFFD.
fn text(value: &str, out: &mut Vec<u8>) {
    if memchr::memchr(0, value.as_bytes()).is_some() {
        field(value.replace('\0', "\u{fffd}").as_bytes(), out);
    } else {
        field(value.as_bytes(), out);
    }
}

fn optional(value: Option<&str>, out: &mut Vec<u8>) {
    match value {
        Some(value) => text(value, out),
        None => null(out),
    }
}

fn bigint(number: Option<i64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => field(&number.to_be_bytes(), out),
        None => null(out),
    }
}

fn double(number: Option<f64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => field(&number.to_be_bytes(), out),
        None => null(out),
    }
}

fn timestamp(value: Timestamp, out: &mut Vec<u8>) {
    field(&(value.micros() - POSTGRES_EPOCH_MICROS).to_be_bytes(), out);
}

/// Encodes `jsonb`. NUL and lone surrogates, which PostgreSQL does not support, become U+FFFD.
fn jsonb(json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(json.len() as i32 + 1).to_be_bytes());
    out.push(JSONB_VERSION);
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    replace_unicode_escapes(&mut out[start..], |_| true);
}
