//! State of the reading endpoints.

use std::sync::Arc;

use axum::extract::Request;
use tokio::sync::Semaphore;

use super::admission::{Admission, Admitted};
use crate::config::Config;
use crate::http::client_id::ClientId;
use crate::http::problem::Problem;
use crate::store::Store;

/// Maximum number of open streams.
pub(super) const STREAMS_MAX: usize = 100;

/// State of the reading endpoints.
pub(crate) struct ReadState {
    pub(crate) store: Store,
    admission: Arc<Admission>,
    /// Permits for open streams.
    pub(super) streams: Arc<Semaphore>,
}

impl ReadState {
    pub(crate) fn new(config: &Config, store: Store) -> Self {
        let admission = Arc::new(Admission::new(config.limits.max_read_bytes));
        Self { store, admission, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// Admits a request whose response needs this memory.
    pub(super) fn admit(&self, request: &Request, bytes: u64) -> Result<Admitted, Problem> {
        self.admission.admit(ClientId::of(request), bytes)
    }
}
