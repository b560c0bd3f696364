//! Receiving and decompressing request bodies within their limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::memory::Reservation;
use crate::decode::{self, Encoding};
use crate::http::problem::Problem;
use crate::metrics::Limit;

/// Maximum number of bytes allocated in advance on the strength of a `content-length` header. Most
/// bodies are smaller, and it is little enough for every connection to claim it.
const PREALLOCATED_BYTES_MAX: usize = 256 << 10;

/// Number of bytes that are kept of a body that is too large or does not arrive as a whole.
const BEGINNING_BYTES_MAX: usize = 64 << 10;

/// Time for the beginning of a body that is announced as too large.
const BEGINNING_TIME_MAX: Duration = Duration::from_millis(500);

/// A body that is not decoded.
pub(super) struct UnusableBody {
    pub(super) problem: Problem,
    /// The body without its content encoding, or its beginning.
    pub(super) original: Bytes,
}

impl UnusableBody {
    pub(super) fn new(problem: Problem, original: Bytes) -> Box<Self> {
        Box::new(Self { problem, original })
    }
}

/// Receives a whole body of at most `bytes_max` bytes within the timeout. `keeps_beginning`: also of a body
/// that is announced as too large.
pub(super) async fn receive(
    mut body: Body,
    bytes_max: usize,
    timeout: Duration,
    keeps_beginning: bool,
    reservation: &mut Reservation,
) -> Result<Bytes, Box<UnusableBody>> {
    let mut arrived =
        Arrived { announced: hyper::body::Body::size_hint(&body).lower(), ..Arrived::default() };
    let collected = arrived.collect(&mut body, bytes_max, reservation);
    let problem = match tokio::time::timeout(timeout, collected).await {
        Ok(Ok(())) => return Ok(arrived.bytes()),
        Ok(Err(problem)) => problem,
        Err(_) => {
            let seconds = timeout.as_secs();
            let detail = format!("the body did not arrive within {seconds} s (BODY_TIMEOUT)");
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).of(Limit::BodyTimeout)
        }
    };
    if keeps_beginning && arrived.announced > bytes_max as u64 {
        // The beginning is kept as far as it has arrived.
        let _ =
            tokio::time::timeout(BEGINNING_TIME_MAX, arrived.collect_beginning(&mut body)).await;
    }
    Err(UnusableBody::new(problem, beginning(&arrived.bytes())))
}

fn beginning(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len().min(BEGINNING_BYTES_MAX))
}

/// The part of a body that has arrived. Most bodies arrive in one frame and are not copied.
#[derive(Default)]
struct Arrived {
    /// The length in the `content-length` header, in bytes; 0 if there is none.
    announced: u64,
    first: Bytes,
    /// All frames, once there is a second.
    collected: BytesMut,
}

impl Arrived {
    async fn collect(
        &mut self,
        body: &mut Body,
        bytes_max: usize,
        reservation: &mut Reservation,
    ) -> Result<(), Problem> {
        let too_large = || {
            let detail = format!("the body is larger than {bytes_max} bytes (MAX_BODY_BYTES)");
            Problem::too_large(detail, Limit::BodyBytes)
        };
        if self.announced > bytes_max as u64 {
            return Err(too_large());
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::bad_request(format!("the body could not be received: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let bytes = self.len() + data.len();
            if bytes > bytes_max {
                return Err(too_large());
            }
            // Reserved only for what has arrived: an announced length costs its sender nothing.
            reservation.grow_to(bytes)?;
            self.push(data);
        }
        Ok(())
    }

    /// Collects the beginning of a body that is already known to be too large.
    async fn collect_beginning(&mut self, body: &mut Body) {
        while self.len() < BEGINNING_BYTES_MAX {
            let Some(Ok(frame)) = body.frame().await else { return };
            if let Ok(data) = frame.into_data() {
                self.push(data);
            }
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.collected.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.collected.is_empty() {
            self.collected.reserve((self.announced as usize).min(PREALLOCATED_BYTES_MAX));
            self.collected.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.collected.extend_from_slice(&data);
    }

    fn bytes(self) -> Bytes {
        if self.collected.is_empty() { self.first } else { self.collected.freeze() }
    }
}

/// Decompresses a body to at most `bytes_max` bytes.
pub(super) fn decompress(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Box<UnusableBody>> {
    let mut decompressed = Vec::new();
    let mut append_parts = || -> Result<(), Problem> {
        for part in decode::decompress(encoding, body, bytes_max)? {
            let part = part?;
            reservation.grow_to(body.len() + decompressed.len() + part.len())?;
            decompressed.extend_from_slice(&part);
        }
        Ok(())
    };
    let result = append_parts();
    let bytes = Bytes::from(decompressed);
    match result {
        Ok(()) => Ok(bytes),
        Err(problem) => Err(UnusableBody::new(problem, beginning(&bytes))),
    }
}
