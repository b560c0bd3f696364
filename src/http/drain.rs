//! Graceful shutdown of the HTTP interface.
//!
//! 1. [`Drain::leave`]: the server is not ready, and each connection closes after its next response, so that load
//!    balancers and clients go elsewhere. Requests are served.
//! 2. [`Drain::stop_listening`]: load balancers without health checks go elsewhere too. Requests over connections
//!    that are open are served.
//! 3. [`Drain::drained`]: idle connections close, and requests in flight are answered.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};

use super::problem::Problem;

/// The progress of a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    #[default]
    Serving,
    Leaving,
    NotListening,
    Draining,
}

/// Admits requests that write until it drains, and tracks those in flight.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    step: Arc<watch::Sender<Step>>,
    /// Read-locked by each request in flight.
    in_flight: Arc<RwLock<()>>,
}

/// Marks a request as in flight until it is dropped.
pub(super) type InFlight = OwnedRwLockReadGuard<()>;

impl Drain {
    /// Admits a request that writes, or rejects it while draining.
    pub(super) fn admit(&self) -> Result<InFlight, Problem> {
        // Locked before the step is read, so that `drained` either waits for this request or has
        // set the step already.
        let guard = self.in_flight.clone().try_read_owned().map_err(|_| Problem::draining())?;
        if self.is_draining() { Err(Problem::draining()) } else { Ok(guard) }
    }

    /// Returns true once shutdown has begun.
    pub(super) fn is_leaving(&self) -> bool {
        *self.step.borrow() >= Step::Leaving
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.step.borrow() == Step::Draining
    }

    /// Completes when the listener is to close.
    pub(super) async fn listening_ended(&self) {
        self.reached(Step::NotListening).await;
    }

    /// Completes when draining begins.
    pub(super) async fn started(&self) {
        self.reached(Step::Draining).await;
    }

    async fn reached(&self, step: Step) {
        // The sender lives as long as `self`.
        let _ = self.step.subscribe().wait_for(|current| *current >= step).await;
    }

    /// Begins the shutdown: reports that the server is not ready, and still serves requests.
    pub(crate) fn leave(&self) {
        self.step.send_replace(Step::Leaving);
    }

    /// Closes the listener, so that connections are refused.
    pub(crate) fn stop_listening(&self) {
        self.step.send_replace(Step::NotListening);
    }

    /// Rejects all further requests that write; completes when none is in flight.
    pub(crate) async fn drained(&self) {
        self.step.send_replace(Step::Draining);
        drop(self.in_flight.write().await);
    }
}
