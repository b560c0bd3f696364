//! Chunks of events: what a query finds, part by part. Each chunk says where the next one begins, so that a query
//! ends rather than wait for a slow client, and another continues.

use std::time::Duration;

use tokio::sync::mpsc;

use super::error::ReadError;
use super::page::{PageKey, PageQuery, SelectedMembers};
use super::tail::StreamPosition;
use crate::json::each_member;
use crate::json::text::with_minimal_escapes;

/// Bytes of lines at which a chunk ends. So a chunk has at most this and one line.
const CHUNK_BYTES: usize = 256 << 10;

/// Time for a client to take a chunk. Then the query ends, since it holds a connection of the store.
const TAKE_TIMEOUT: Duration = Duration::from_millis(250);

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
    /// The rest of the page.
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
}

/// The chunks of one query.
#[derive(Debug)]
pub struct Chunks(mpsc::Receiver<Result<PageChunk, ReadError>>);

impl Chunks {
    /// The chunks that a [`ChunkSender`] sends.
    pub(crate) fn channel() -> (ChunkSender, Self) {
        // One chunk is being made, one waits, and one is with the client.
        let (sender, receiver) = mpsc::channel(1);
        (ChunkSender(sender), Self(receiver))
    }

    /// Returns the first chunk.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn first(&mut self) -> Result<PageChunk, ReadError> {
        let aborted = || Err(ReadError::Failed("the query was aborted".to_owned()));
        self.next().await.unwrap_or_else(aborted)
    }

    /// Returns the next chunk; `None` if the query has ended. Unless the last chunk was that of the page,
    /// another query continues.
    pub async fn next(&mut self) -> Option<Result<PageChunk, ReadError>> {
        self.0.recv().await
    }
}

/// The query's end of [`Chunks`].
pub(crate) struct ChunkSender(mpsc::Sender<Result<PageChunk, ReadError>>);

impl ChunkSender {
    /// Sends a chunk, or the reason why there are no more. Returns false if the query should end, because
    /// the client is gone or slow.
    pub(crate) async fn send(&self, chunk: Result<PageChunk, ReadError>) -> bool {
        matches!(tokio::time::timeout(TAKE_TIMEOUT, self.0.send(chunk)).await, Ok(Ok(())))
    }

    /// Sends the only chunk of a query.
    pub(crate) fn send_only(self, chunk: PageChunk) {
        // Fails if the client is gone.
        let _ = self.0.try_send(Ok(chunk));
    }
}

/// The rest of a page after a chunk.
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
    /// True if there are more events now.
    pub more: bool,
}

impl PageQuery {
    /// Continues after a chunk. Returns false if it was the last of the page.
    pub fn advance(&mut self, chunk: &PageChunk) -> bool {
        let Rest::OfPage(last) = &chunk.rest else { return false };
        self.after = Some(last.clone());
        self.limit -= chunk.events.len();
        self.search_events -= chunk.scanned.min(self.search_events);
        true
    }
}

/// Builds a chunk: applies the text search and the limits, and selects the members.
pub(crate) struct ChunkBuilder {
    page: PageQuery,
    /// The text to search for, in lower case.
    text: Option<String>,
    events: Vec<FoundEvent>,
    bytes: usize,
    scanned: usize,
    last: Option<PageKey>,
}

impl ChunkBuilder {
    pub(crate) fn new(page: PageQuery) -> Self {
        let text = page.filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        Self { page, text, events: Vec::new(), bytes: 0, scanned: 0, last: None }
    }

    /// The query that the chunk is for.
    pub(crate) fn query(&self) -> &PageQuery {
        &self.page
    }

    /// Returns true if the chunk takes no more rows, so that the next one need not be decoded.
    pub(crate) fn is_full(&self) -> bool {
        self.is_heavy() || self.scanned >= self.page.rows() || self.is_page_full()
    }

    /// Returns true if the chunk takes no more rows because of its bytes.
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// Returns true if the page takes no more rows.
    pub(crate) fn is_page_full(&self) -> bool {
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

    /// The chunk of a page with the rows so far, and the builder of the next one.
    pub(crate) fn split(self) -> (PageChunk, Self) {
        let mut page = self.page.clone();
        let chunk = self.page(true);
        page.advance(&chunk);
        (chunk, Self::new(page))
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
