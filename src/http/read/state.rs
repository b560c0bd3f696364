//! State of the reading endpoints.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::store::Store;

/// Maximum number of open streams.
pub(super) const STREAMS_MAX: usize = 100;

/// Maximum number of concurrent Parquet exports; each buffers a row group.
pub(super) const PARQUET_MAX: usize = 4;

/// State of the reading endpoints.
pub(crate) struct ReadState {
    pub(crate) store: Store,
    /// Permits for open streams.
    pub(super) streams: Arc<Semaphore>,
    /// Permits for Parquet exports in progress.
    pub(super) parquet_exports: Arc<Semaphore>,
}

impl ReadState {
    pub(crate) fn new(store: Store) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { store, streams: permits(STREAMS_MAX), parquet_exports: permits(PARQUET_MAX) }
    }
}
