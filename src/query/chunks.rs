//! The response to a page or tail query: events in chunks, on their way from the store to the client.

use std::time::Duration;

use tokio::sync::mpsc;

use super::error::ReadError;
use super::page::{PageKey, PageQuery, SelectedMembers};
use super::tail::StreamPosition;
use crate::json::each_member;
use crate::json::text::with_minimal_escapes;

/// Bytes of events in one chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// Time limit for the client to take one chunk. Then the response ends, since it holds a connection of
/// the store.
const TAKE_TIMEOUT: Duration = Duration::from_secs(30);

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

/// A chunk of a response.
#[derive(Debug)]
pub enum Chunk {
    /// Some events.
    Events(Vec<FoundEvent>),
    /// The end of a page: the event after which the next page begins, if there may be one.
    End(Option<PageKey>),
    /// The end of a tail: the position up to which all events were seen, and whether there are more.
    Reached(StreamPosition, bool),
}

/// The receiving end of a response. Dropping it ends the query.
#[derive(Debug)]
pub struct PageReader(mpsc::Receiver<Result<Chunk, ReadError>>);

impl PageReader {
    /// Returns the next chunk, or `None` if the query ended before its end.
    pub async fn next(&mut self) -> Option<Result<Chunk, ReadError>> {
        self.0.recv().await
    }
}

/// The store's end of a response: applies the text search, the limits and the wanted members, and
/// sends the events in chunks.
pub(crate) struct PageWriter {
    sender: mpsc::Sender<Result<Chunk, ReadError>>,
    page: PageQuery,
    /// The text to search for, in lower case.
    text: Option<String>,
    chunk: Vec<FoundEvent>,
    chunk_bytes: usize,
    found: usize,
    scanned: usize,
    last: Option<PageKey>,
}

/// Outcome of offering a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The row was taken, or does not match.
    Taken,
    /// The row was taken, and the chunk is ready to be sent.
    ChunkFull,
    /// The page is full, so the row was not taken.
    PageFull,
}

impl PageWriter {
    pub(crate) fn new(page: PageQuery) -> (Self, PageReader) {
        // One chunk is being filled, one waits, and one is with the client.
        let (sender, receiver) = mpsc::channel(1);
        let text = page.filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        let writer = Self {
            sender,
            page,
            text,
            chunk: Vec::new(),
            chunk_bytes: 0,
            found: 0,
            scanned: 0,
            last: None,
        };
        (writer, PageReader(receiver))
    }

    pub(crate) fn page(&self) -> &PageQuery {
        &self.page
    }

    /// Returns whether the page takes no more rows, so that the next one need not be decoded.
    pub(crate) fn is_full(&self) -> bool {
        self.found == self.page.limit
            || (self.text.is_some() && self.scanned == self.page.scan_max())
    }

    /// Offers the next row of a page; without a line if the event cannot be read any more.
    pub(crate) fn offer(&mut self, key: PageKey, line: Option<Vec<u8>>) -> Offered {
        self.offer_at(key, None, line)
    }

    /// Offers the next row of a tail, with the position after it.
    pub(crate) fn offer_at(
        &mut self,
        key: PageKey,
        position: Option<StreamPosition>,
        line: Option<Vec<u8>>,
    ) -> Offered {
        if self.is_full() {
            return Offered::PageFull;
        }
        self.scanned += 1;
        self.last = Some(key.clone());
        let Some(line) = line else { return Offered::Taken };
        if self.text.as_ref().is_some_and(|text| !data_contains(&line, text)) {
            return Offered::Taken;
        }
        let line = project(line, &self.page.members);
        self.found += 1;
        self.chunk_bytes += line.len();
        self.chunk.push(FoundEvent { key, position, line });
        if self.chunk_bytes >= CHUNK_BYTES { Offered::ChunkFull } else { Offered::Taken }
    }

    /// Sends the chunk. Returns false if the client is gone or too slow.
    pub(crate) async fn send(&mut self) -> bool {
        self.chunk_bytes = 0;
        let events = std::mem::take(&mut self.chunk);
        self.send_chunk(Ok(Chunk::Events(events))).await
    }

    /// Sends the rest of a page. `full` says that there are more rows than the page has.
    pub(crate) async fn end(mut self, full: bool) {
        if self.chunk.is_empty() || self.send().await {
            let full = full || self.scanned > self.page.scan_max();
            let next = self.last.take().filter(|_| full);
            self.send_chunk(Ok(Chunk::End(next))).await;
        }
    }

    /// Sends the rest of a tail.
    pub(crate) async fn reached(mut self, position: StreamPosition, more: bool) {
        if self.chunk.is_empty() || self.send().await {
            self.send_chunk(Ok(Chunk::Reached(position, more))).await;
        }
    }

    /// Ends the response with an error.
    pub(crate) async fn fail(self, error: ReadError) {
        self.send_chunk(Err(error)).await;
    }

    async fn send_chunk(&self, chunk: Result<Chunk, ReadError>) -> bool {
        matches!(tokio::time::timeout(TAKE_TIMEOUT, self.sender.send(chunk)).await, Ok(Ok(())))
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
