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

/// Receives a whole body of at most `bytes_max` bytes within the timeout.
pub(super) async fn receive(
    body: Body,
    bytes_max: usize,
    timeout: Duration,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let received = tokio::time::timeout(timeout, collect(body, bytes_max, reservation)).await;
    received.unwrap_or_else(|_| {
        let seconds = timeout.as_secs();
        let detail = format!("the body did not arrive within {seconds} s (BODY_TIMEOUT)");
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).of(Limit::BodyTimeout))
    })
}

async fn collect(
    mut body: Body,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {bytes_max} bytes (MAX_BODY_BYTES)");
        Problem::too_large(detail, Limit::BodyBytes)
    };
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > bytes_max as u64 {
        return Err(too_large());
    }
    // Most bodies arrive in one frame and are not copied.
    let mut first = Bytes::new();
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::bad_request(format!("the body could not be received: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + collected.len() + data.len();
        if bytes > bytes_max {
            return Err(too_large());
        }
        // Reserved only for what has arrived: an announced length costs its sender nothing.
        reservation.grow_to(bytes)?;
        if first.is_empty() && collected.is_empty() {
            first = data;
        } else {
            if collected.is_empty() {
                collected.reserve((announced as usize).min(PREALLOCATED_BYTES_MAX));
                collected.extend_from_slice(&std::mem::take(&mut first));
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(if collected.is_empty() { first } else { collected.freeze() })
}

/// Decompresses a body to at most `bytes_max` bytes.
pub(super) fn decompress(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let mut decompressed = Vec::new();
    for part in decode::decompress(encoding, body, bytes_max)? {
        let part = part?;
        reservation.grow_to(body.len() + decompressed.len() + part.len())?;
        decompressed.extend_from_slice(&part);
    }
    Ok(decompressed.into())
}
