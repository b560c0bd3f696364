//! Answers of a store: events, in parts, on their way from the store to whoever asked.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Key, Members, Page};
use crate::json::each_member;

/// Bytes of lines that are sent together.
const PART_BYTES: usize = 64 << 10;

/// How long whoever asked may take for one part. Then the answer ends: it holds a connection.
const TAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is away, starting, or full of other questions; another try may do better.
    #[error("{0}")]
    Unavailable(String),
    /// The question takes longer than one may.
    #[error(
        "the answer takes longer than {} s; ask for a shorter time (since, until) or one session \
         (session_id)", .0.as_secs()
    )]
    Slow(Duration),
    /// Where a tail should go on is not known any more.
    #[error("{0}")]
    Gone(String),
    /// Something is wrong with the store.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An event that was found.
#[derive(Debug)]
pub struct Found {
    /// Its place by time.
    pub key: Key,
    /// Its place in the order of arrival; only in a tail.
    pub place: Option<Place>,
    /// The event as it stands in JSON Lines, without a line feed.
    pub line: Vec<u8>,
}

/// A place in the order in which events arrived, between two of them. Its text is the store's own, and
/// holds for as long as the store's events do: across restarts, and an index that was built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub(crate) String);

impl Place {
    /// The place that a client names; whether there is one by that name shows when it is used.
    pub fn named(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of an answer.
#[derive(Debug)]
pub enum Part {
    /// Some events.
    Events(Vec<Found>),
    /// The last part: after which event the next page begins, if there may be one.
    End(Option<Key>),
    /// The last part of a tail: up to where all events have been seen, and whether there are more
    /// already.
    Reached(Place, bool),
}

/// An answer that is being read; dropping it ends the reading.
#[derive(Debug)]
pub struct Answer(mpsc::Receiver<Result<Part, ReadError>>);

impl Answer {
    /// The next part; `None` if the reading ended before its end.
    pub async fn next(&mut self) -> Option<Result<Part, ReadError>> {
        self.0.recv().await
    }
}

/// The store's end of an answer to a page: counts, projects and puts parts together.
pub(crate) struct Answering {
    sender: mpsc::Sender<Result<Part, ReadError>>,
    page: Page,
    text: Option<String>,
    part: Vec<Found>,
    part_bytes: usize,
    found: usize,
    scanned: usize,
    last: Option<Key>,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    /// A part is ready to be sent.
    Send,
    /// The page is full, and there is more: the row was not taken.
    Full,
}

impl Answering {
    pub(crate) fn new(page: Page) -> (Self, Answer) {
        // One part is being made, one waits, one is with whoever asked.
        let (sender, receiver) = mpsc::channel(1);
        let text = page.filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        let answering = Self {
            sender,
            page,
            text,
            part: Vec::new(),
            part_bytes: 0,
            found: 0,
            scanned: 0,
            last: None,
        };
        (answering, Answer(receiver))
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    /// Whether no more rows are taken, so that the next need not be made into an event.
    pub(crate) fn is_full(&self) -> bool {
        self.found == self.page.limit
            || (self.text.is_some() && self.scanned == self.page.scan_max())
    }

    /// Offers the next row: its event, unless that cannot be read any more.
    pub(crate) fn offer(&mut self, key: Key, line: Option<Vec<u8>>) -> Step {
        self.offer_at(key, None, line)
    }

    /// The same in a tail.
    pub(crate) fn offer_at(
        &mut self,
        key: Key,
        place: Option<Place>,
        line: Option<Vec<u8>>,
    ) -> Step {
        if self.is_full() {
            return Step::Full;
        }
        self.scanned += 1;
        self.last = Some(key.clone());
        let Some(line) = line else { return Step::More };
        if self.text.as_ref().is_some_and(|text| !data_contains(&line, text)) {
            return Step::More;
        }
        let line = project(line, &self.page.members);
        self.found += 1;
        self.part_bytes += line.len();
        self.part.push(Found { key, place, line });
        if self.part_bytes >= PART_BYTES { Step::Send } else { Step::More }
    }

    /// Sends what is ready. False if nobody wants it any more.
    pub(crate) async fn send(&mut self) -> bool {
        self.part_bytes = 0;
        let part = std::mem::take(&mut self.part);
        self.send_part(Ok(Part::Events(part))).await
    }

    /// Sends the rest. `full` says that rows were left out.
    pub(crate) async fn end(mut self, full: bool) {
        if self.part.is_empty() || self.send().await {
            let full = full || self.scanned > self.page.scan_max();
            let next = self.last.take().filter(|_| full);
            self.send_part(Ok(Part::End(next))).await;
        }
    }

    /// Sends the rest of a tail.
    pub(crate) async fn reached(mut self, place: Place, more: bool) {
        if self.part.is_empty() || self.send().await {
            self.send_part(Ok(Part::Reached(place, more))).await;
        }
    }

    pub(crate) async fn fail(self, error: ReadError) {
        self.send_part(Err(error)).await;
    }

    async fn send_part(&self, part: Result<Part, ReadError>) -> bool {
        matches!(tokio::time::timeout(TAKE_TIMEOUT, self.sender.send(part)).await, Ok(Ok(())))
    }
}

/// Whether the JSON of `data` contains the text, which is in lower case.
pub(crate) fn data_contains(line: &[u8], text: &str) -> bool {
    let mut contains = false;
    each_member(line, |name, value| {
        if name == "data" {
            let value = value.to_ascii_lowercase();
            contains = memchr::memmem::find(value.as_bytes(), text.as_bytes()).is_some();
        }
    });
    contains
}

/// The line with the wanted members alone.
pub(crate) fn project(line: Vec<u8>, members: &Members) -> Vec<u8> {
    if *members == Members::All {
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
