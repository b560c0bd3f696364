//! Receiving bodies without letting them fill the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, RwLock, Semaphore};

use super::problem::Problem;
use axum::http::StatusCode;

/// How long a sender may take for its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The unit in which memory is handed out.
const UNIT_BYTES: usize = 1024;

/// The door for requests that write: once it closes, no one enters, and it is known when the last
/// has left.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    closed: Arc<AtomicBool>,
    /// Requests hold it for reading.
    inside: Arc<RwLock<()>>,
}

impl Drain {
    /// Lets a request in for as long as the guard lives.
    pub(super) fn enter(&self) -> Result<OwnedRwLockReadGuard<()>, Problem> {
        // In this order, so that a request is either seen inside or sees that the door is closed.
        let guard = self.inside.clone().try_read_owned().map_err(|_| Problem::draining())?;
        if self.is_draining() { Err(Problem::draining()) } else { Ok(guard) }
    }

    /// Whether the door is closed.
    pub(super) fn is_draining(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes the door for good; completes when everyone has left.
    pub async fn drained(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(self.inside.write().await);
    }
}

/// A budget of bytes for the bodies of all requests.
#[derive(Clone, Debug)]
pub struct InFlight {
    units: Arc<Semaphore>,
}

impl InFlight {
    /// A budget of that many bytes.
    pub fn new(bytes_max: u64) -> Self {
        let units = usize::try_from(bytes_max).unwrap_or(usize::MAX) / UNIT_BYTES;
        Self { units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    /// Takes a part of the budget for as long as the permit lives.
    pub(super) fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        self.units.clone().try_acquire_many_owned(units).map_err(|_| {
            Problem::unavailable(
                "too many bytes of requests are being handled (MAX_INFLIGHT_BYTES); try again in a \
                 moment",
                1,
            )
        })
    }

    /// Receives a whole body of at most `bytes_max` bytes.
    pub(super) async fn receive(
        &self,
        body: Body,
        bytes_max: usize,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
        tokio::time::timeout(BODY_TIMEOUT, self.receive_all(body, bytes_max)).await.unwrap_or_else(
            |_| {
                let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            },
        )
    }

    async fn receive_all(
        &self,
        mut body: Body,
        bytes_max: usize,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
        let too_large = || {
            Problem::too_large(format!(
                "the body is larger than {bytes_max} bytes (MAX_BODY_BYTES)"
            ))
        };
        let announced = hyper::body::Body::size_hint(&body).exact();
        if announced.is_some_and(|announced| announced > bytes_max as u64) {
            return Err(too_large());
        }
        let mut permit = self.take(announced.unwrap_or(0) as usize)?;
        let mut received = BytesMut::new();
        let mut first = Bytes::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::bad_request(format!("the body could not be received: {error}"))
            })?;
            let Ok(part) = frame.into_data() else { continue };
            // Most bodies arrive in one part, which then need not be copied.
            if first.is_empty() && received.is_empty() {
                first = part;
            } else {
                if received.is_empty() {
                    received.reserve(announced.unwrap_or(0) as usize);
                    received.extend_from_slice(&first);
                    first = Bytes::new();
                }
                received.extend_from_slice(&part);
            }
            let bytes = first.len() + received.len();
            if bytes > bytes_max {
                return Err(too_large());
            }
            let held = permit.num_permits() * UNIT_BYTES;
            if bytes > held {
                permit.merge(self.take(bytes - held)?);
            }
        }
        Ok((if received.is_empty() { first } else { received.freeze() }, permit))
    }
}
