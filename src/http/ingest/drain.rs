//! Graceful shutdown of the requests that write.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};

use crate::http::problem::Problem;

/// Admits requests until shutdown begins, and tracks those in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    closed: Arc<watch::Sender<bool>>,
    /// Read-locked by each request in flight.
    in_flight: Arc<RwLock<()>>,
}

/// Marks a request as in flight until it is dropped.
pub(super) type InFlight = OwnedRwLockReadGuard<()>;

impl Drain {
    /// Admits a request, or rejects it if shutdown has begun.
    pub(super) fn admit(&self) -> Result<InFlight, Problem> {
        // Locked before the flag is read, so that `drained` either waits for this request or has
        // set the flag already.
        let guard = self.in_flight.clone().try_read_owned().map_err(|_| Problem::draining())?;
        if self.is_draining() { Err(Problem::draining()) } else { Ok(guard) }
    }

    pub(in crate::http) fn is_draining(&self) -> bool {
        *self.closed.borrow()
    }

    /// Completes when shutdown begins.
    pub(in crate::http) async fn started(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Rejects all further requests; completes when no request is in flight.
    pub(crate) async fn drained(&self) {
        self.closed.send_replace(true);
        drop(self.in_flight.write().await);
    }
}
