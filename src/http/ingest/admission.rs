//! Receiving bodies without letting them fill the memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, RwLock, Semaphore, watch};

use crate::http::problem::Problem;
use crate::metrics::Limit;

/// The unit in which memory is handed out.
const UNIT_BYTES: usize = 1024;

/// Most bytes that are reserved because a sender has announced them: as many as all but the largest
/// bodies have, and few enough for every connection to get them.
const RESERVE_BYTES_MAX: usize = 256 << 10;

/// What a request takes beside its body: its headers, and the tasks and buffers that serve it.
const REQUEST_BYTES: usize = 8 << 10;

/// The door for requests that write: once it closes, no one enters, and it is known when the last
/// has left.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    closed: Arc<watch::Sender<bool>>,
    /// Requests hold it for reading.
    inside: Arc<RwLock<()>>,
}

impl Drain {
    /// Lets a request in for as long as the guard lives.
    pub(in crate::http) fn enter(&self) -> Result<OwnedRwLockReadGuard<()>, Problem> {
        // In this order, so that a request is either seen inside or sees that the door is closed.
        let guard = self.inside.clone().try_read_owned().map_err(|_| Problem::draining())?;
        if self.is_draining() { Err(Problem::draining()) } else { Ok(guard) }
    }

    /// Whether the door is closed.
    pub(in crate::http) fn is_draining(&self) -> bool {
        *self.closed.borrow()
    }

    /// Completes when the door is closed.
    pub(in crate::http) async fn begun(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Closes the door for good; completes when everyone has left.
    pub async fn drained(&self) {
        self.closed.send_replace(true);
        drop(self.inside.write().await);
    }
}

/// A budget of bytes for what all requests hold in memory.
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

    /// A part of the budget for a request whose body has not arrived.
    pub(in crate::http) fn hold(&self) -> Result<Hold, Problem> {
        let mut hold = Hold { in_flight: self.clone(), permit: None };
        hold.grow_to(0)?;
        Ok(hold)
    }
}

/// What one request has of the budget, until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct Hold {
    in_flight: InFlight,
    permit: Option<OwnedSemaphorePermit>,
}

impl Hold {
    /// Makes the part large enough for bodies of that many bytes in all.
    pub(in crate::http) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (REQUEST_BYTES + bytes).div_ceil(UNIT_BYTES).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let units = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = self.in_flight.units.clone().try_acquire_many_owned(units).map_err(|_| {
            Problem::unavailable(
                "the requests being handled fill the memory they may use (MAX_INFLIGHT_BYTES); try \
                 again in a moment",
                1,
            )
            .of(Limit::InflightBytes)
        })?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// Receives a whole body of at most `bytes_max` bytes within that time.
pub(in crate::http) async fn receive(
    body: Body,
    bytes_max: usize,
    timeout: Duration,
    hold: &mut Hold,
) -> Result<Bytes, Problem> {
    let received = tokio::time::timeout(timeout, receive_parts(body, bytes_max, hold)).await;
    received.unwrap_or_else(|_| {
        let seconds = timeout.as_secs();
        let detail = format!("the body did not arrive within {seconds} s (BODY_TIMEOUT)");
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).of(Limit::BodyTimeout))
    })
}

async fn receive_parts(
    mut body: Body,
    bytes_max: usize,
    hold: &mut Hold,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {bytes_max} bytes (MAX_BODY_BYTES)");
        Problem::too_large(detail, Limit::BodyBytes)
    };
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > bytes_max as u64 {
        return Err(too_large());
    }
    // Most bodies arrive in one part, which then need not be copied.
    let mut first = Bytes::new();
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::bad_request(format!("the body could not be received: {error}"))
        })?;
        let Ok(part) = frame.into_data() else { continue };
        let bytes = first.len() + received.len() + part.len();
        if bytes > bytes_max {
            return Err(too_large());
        }
        // Only for what has arrived: what a sender announces costs it nothing.
        hold.grow_to(bytes)?;
        if first.is_empty() && received.is_empty() {
            first = part;
        } else {
            if received.is_empty() {
                received.reserve((announced as usize).min(RESERVE_BYTES_MAX));
                received.extend_from_slice(&std::mem::take(&mut first));
            }
            received.extend_from_slice(&part);
        }
    }
    Ok(if received.is_empty() { first } else { received.freeze() })
}
