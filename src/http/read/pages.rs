//! Reads events for a response, chunk by chunk.

use std::time::Duration;

use tokio::time::Instant;

use super::admission::Admitted;
use crate::query::{Chunks, PageChunk, PageQuery, ReadError};
use crate::store::Store;

/// Time for the store, or for memory, to become available again in the middle of a response.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause before another attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The chunks of a response.
pub(super) struct Pages {
    store: Store,
    /// The rest of the page; `None` after its last chunk.
    page: Option<PageQuery>,
    /// The query that is running.
    query: Option<Chunks>,
    admitted: Admitted,
    /// Memory that the response holds in any case.
    base_bytes: u64,
}

impl Pages {
    /// Reads a page in a response that was admitted with `base_bytes`.
    pub(super) fn new(store: Store, page: PageQuery, admitted: Admitted, base_bytes: u64) -> Self {
        Self { store, page: Some(page), query: None, admitted, base_bytes }
    }

    /// Returns true if there are no more chunks.
    pub(super) fn is_at_end(&self) -> bool {
        self.page.is_none()
    }

    /// Reads the first chunk.
    ///
    /// # Errors
    /// If the store cannot be read, or the chunk needs more memory than there is.
    pub(super) async fn first(&mut self) -> Result<PageChunk, ReadError> {
        self.read().await
    }

    /// Reads the next chunk, and waits for a while if the store is unavailable; `None` after the last.
    ///
    /// # Errors
    /// As [`Pages::first`].
    pub(super) async fn next(&mut self) -> Result<Option<PageChunk>, ReadError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let deadline = Instant::now() + RETRY_TIMEOUT;
        loop {
            match self.read().await {
                Err(ReadError::Unavailable(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                chunk => return chunk.map(Some),
            }
        }
    }

    async fn read(&mut self) -> Result<PageChunk, ReadError> {
        let running = match &mut self.query {
            Some(query) => query.next().await,
            None => None,
        };
        let ended = || ReadError::Failed("the page has ended".to_owned());
        let page = self.page.as_mut().ok_or_else(ended)?;
        let chunk = if let Some(chunk) = running {
            chunk?
        } else {
            // A query also ends because its client was slow.
            let turn = self.admitted.turn().await?;
            let query = self.query.insert(self.store.page(page.clone(), Some(turn)).await?);
            query.first().await?
        };
        // Events are as large as their senders made them.
        if !self.admitted.hold(self.base_bytes.max(chunk.memory_bytes())) {
            // The chunk is read again, by another query.
            self.query = None;
            let busy = "the events are too large for the memory that is left (MAX_READ_BYTES)";
            return Err(ReadError::Unavailable(busy.to_owned()));
        }
        if !page.advance(&chunk) {
            self.page = None;
        }
        Ok(chunk)
    }
}
