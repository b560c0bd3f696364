//! Chunks of events: the result of one query. A query ends with its chunk, so that no query waits for the
//! client of its response.

use super::page::{PageKey, PageQuery, SelectedMembers};
use super::tail::StreamPosition;
use crate::json::each_member;
use crate::json::text::with_minimal_escapes;

/// Bytes of lines at which a chunk ends. So a chunk has at most this and one line.
const CHUNK_BYTES: usize = 256 << 10;

/// Minimum and maximum number of events that one query looks at.
const QUERY_EVENTS_MIN: usize = 16;
const QUERY_EVENTS_MAX: usize = 8192;

/// An event that matches the query.
#[derive(Debug)]
pub struct FoundEvent {
    /// The event's sort key.
    pub key: PageKey,
    /// The position after the event, in the order of arrival; only in a tail.
    pub position: Option<StreamPosition>,
    /// The event as a line of JSON Lines, without the line feed.
    pub line: Vec<u8>,
}

/// Consecutive events of a page.
#[derive(Debug)]
pub struct PageChunk {
    /// The events.
    pub events: Vec<FoundEvent>,
    /// What follows them.
    pub rest: Rest,
    /// The number of events that were looked at.
    scanned: usize,
    /// Bytes of the lines.
    bytes: usize,
}

impl PageChunk {
    /// Memory of the lines while they are made into a response: as found, encoded and being sent.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes as u64 * 3
    }

    /// The number of events of the same size that fill most of a chunk.
    fn next_query_events(&self) -> usize {
        let events = self.scanned.max(1) * CHUNK_BYTES / self.bytes.max(1);
        (events / 4 * 3).clamp(QUERY_EVENTS_MIN, QUERY_EVENTS_MAX)
    }
}

/// What follows a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The page goes on after this event.
    OfPage(PageKey),
    /// The page is full, and the next one begins after this event.
    NextPage(PageKey),
    /// There are no more events.
    Nothing,
}

/// Consecutive events in the order of arrival.
#[derive(Debug)]
pub struct TailChunk {
    /// The events.
    pub events: Vec<FoundEvent>,
    /// The position up to which all events were seen.
    pub reached: StreamPosition,
    /// Whether there are more events now.
    pub more: bool,
}

impl PageQuery {
    /// Continues after a chunk. Returns false if it was the last of the page.
    pub fn advance(&mut self, chunk: &PageChunk) -> bool {
        let Rest::OfPage(last) = &chunk.rest else { return false };
        self.after = Some(last.clone());
        self.limit -= chunk.events.len();
        self.search_events -= chunk.scanned.min(self.search_events);
        self.query_events = chunk.next_query_events();
        true
    }
}

/// Builds a chunk: applies the text search and the limits, and selects the members.
pub(crate) struct ChunkBuilder<'p> {
    page: &'p PageQuery,
    /// The text to search for, in lower case.
    text: Option<String>,
    events: Vec<FoundEvent>,
    bytes: usize,
    scanned: usize,
    last: Option<PageKey>,
}

impl<'p> ChunkBuilder<'p> {
    pub(crate) fn new(page: &'p PageQuery) -> Self {
        let text = page.filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        Self { page, text, events: Vec::new(), bytes: 0, scanned: 0, last: None }
    }

    /// The query that the chunk is for.
    pub(crate) fn query(&self) -> &'p PageQuery {
        self.page
    }

    /// Returns true if the chunk takes no more rows, so that the next one need not be decoded.
    pub(crate) fn is_full(&self) -> bool {
        self.is_page_full() || self.scanned >= self.page.query_events || self.is_heavy()
    }

    /// Returns true if the chunk ends because of its bytes, so that rows of the query may be left.
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    fn is_page_full(&self) -> bool {
        self.events.len() == self.page.limit || self.scanned >= self.page.scan_max()
    }

    /// Adds the next row, unless it does not match; without a line if the event cannot be read any more.
    pub(crate) fn add(
        &mut self,
        key: PageKey,
        position: Option<StreamPosition>,
        line: Option<Vec<u8>>,
    ) {
        self.scanned += 1;
        self.last = Some(key.clone());
        let Some(line) = line else { return };
        if self.text.as_ref().is_some_and(|text| !data_contains(&line, text)) {
            return;
        }
        let line = project(line, &self.page.members);
        self.bytes += line.len();
        self.events.push(FoundEvent { key, position, line });
    }

    /// The chunk of a page. `more` says that there are more rows.
    pub(crate) fn page(self, more: bool) -> PageChunk {
        let is_page_full = self.is_page_full();
        let rest = match self.last.filter(|_| more) {
            None => Rest::Nothing,
            Some(last) if is_page_full => Rest::NextPage(last),
            Some(last) => Rest::OfPage(last),
        };
        PageChunk { events: self.events, rest, scanned: self.scanned, bytes: self.bytes }
    }

    /// The chunk of a tail.
    pub(crate) fn tail(self, reached: StreamPosition, more: bool) -> TailChunk {
        TailChunk { events: self.events, reached, more }
    }
}

/// Returns whether the JSON of `data` contains the text, which is in lower case.
fn data_contains(line: &[u8], text: &str) -> bool {
    let mut contains = false;
    each_member(line, |name, value| {
        if name == "data" {
            let value = with_minimal_escapes(value).to_ascii_lowercase();
            contains = memchr::memmem::find(value.as_bytes(), text.as_bytes()).is_some();
        }
    });
    contains
}

/// Reduces a line to the wanted members.
fn project(line: Vec<u8>, members: &SelectedMembers) -> Vec<u8> {
    if *members == SelectedMembers::All {
        return line;
    }
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    let whole = each_member(&line, |name, value| {
        if members.has(name) {
            if out.len() > 1 {
                out.push(b',');
            }
            crate::json::text::write_string(name, &mut out);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
    });
    out.push(b'}');
    if whole { out } else { line }
}
