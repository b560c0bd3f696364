//! What all ingest endpoints have in common: receive, decode, append, acknowledge.

use std::sync::Arc;

use bytes::Bytes;

use super::body::{UnusableBody, decompress, receive};
use super::headers::content_encoding;
use super::memory::Reservation;
use super::rejected;
use super::request::{IngestRequest, Origin};
use crate::config::Ack;
use crate::decode::{Context, DecodeError, Decoded, Encoding};
use crate::http::problem::{Problem, RejectedEvent};
use crate::http::{App, Forwarding};

/// Maximum size of a body that is decoded on the thread of its connection. Larger and compressed
/// bodies are decoded on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// The result of a request whose body could be decoded.
pub(super) struct Outcome {
    /// The number of events that are durable, or were before.
    pub(super) accepted: usize,
    pub(super) rejected: Vec<RejectedEvent>,
}

impl Outcome {
    fn new(decoded: &Decoded) -> Self {
        let rejected = decoded.rejected.iter().map(RejectedEvent::from).collect();
        Self { accepted: decoded.batch.len(), rejected }
    }

    /// Turns an outcome without any valid event into an error.
    pub(super) fn require_valid(self) -> Result<Self, Problem> {
        if self.accepted == 0 && !self.rejected.is_empty() {
            return Err(Problem::invalid(self.rejected));
        }
        Ok(self)
    }
}

/// Runs a request through the pipeline; `decode` turns its decompressed body into events.
pub(super) async fn ingest<D>(request: IngestRequest, decode: D) -> Result<Outcome, Problem>
where
    D: FnOnce(&[u8], &Context<'_>) -> Result<Decoded, DecodeError> + Send + 'static,
{
    let IngestRequest { app, headers, body, origin, ack, in_flight, keeps_originals } = request;
    let encoding = content_encoding(&headers)?;
    let mut memory = app.ingest.memory.reserve()?;
    let bytes_max = app.body_bytes_max();
    let timeout = app.config.http.body_timeout;
    let bytes = match receive(body, bytes_max, timeout, keeps_originals, &mut memory).await {
        Ok(bytes) => bytes,
        Err(unusable) => return Err(refuse(&app, origin, unusable, keeps_originals).await),
    };
    app.ingest.rates.charge(&origin.sender, 0, bytes.len());

    let is_large = bytes.len() > INLINE_BYTES_MAX || encoding.is_some();
    let body = ReceivedBody { bytes, encoding, memory };
    let (decoded, origin) = if is_large {
        let app = app.clone();
        let work = move || (body.decode(&app, &origin, decode), origin);
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    } else {
        (body.decode(&app, &origin, decode), origin)
    };
    let outcome = match decoded {
        Ok((decoded, memory)) => append(&app, decoded, memory, ack, keeps_originals).await,
        Err(unusable) => Err(refuse(&app, origin, unusable, keeps_originals).await),
    };
    drop(in_flight);
    outcome
}

/// A body that has arrived, and the memory that is reserved for it.
struct ReceivedBody {
    bytes: Bytes,
    encoding: Option<Encoding>,
    memory: Reservation,
}

impl ReceivedBody {
    fn decode(
        mut self,
        app: &App,
        origin: &Origin,
        decode: impl FnOnce(&[u8], &Context<'_>) -> Result<Decoded, DecodeError>,
    ) -> Result<(Decoded, Reservation), Box<UnusableBody>> {
        let received_bytes = self.bytes.len();
        let body = match self.encoding {
            None => self.bytes,
            Some(encoding) => {
                decompress(encoding, &self.bytes, app.body_bytes_max(), &mut self.memory)?
            }
        };
        let unusable = |problem: Problem| UnusableBody::new(problem, body.clone());
        // Decoding takes another copy of the body, and the records one more.
        let decoding_bytes = received_bytes.max(body.len()) + 2 * body.len();
        self.memory.grow_to(decoding_bytes).map_err(unusable)?;
        let context = app.decode_context(origin);
        let decoded = decode(&body, &context).map_err(|error| unusable(error.into()))?;
        self.memory.grow_to(body.len() + decoded.batch.bytes().len()).map_err(unusable)?;
        let events = decoded.batch.len() + decoded.rejected.len();
        let decompressed_bytes = body.len().saturating_sub(received_bytes);
        app.ingest.rates.charge(&origin.sender, events, decompressed_bytes);
        Ok((decoded, self.memory))
    }
}

/// Copies the original to `rejected.jsonl` if its sender keeps none and must not send it again.
async fn refuse(
    app: &Arc<App>,
    origin: Origin,
    unusable: Box<UnusableBody>,
    keeps_originals: bool,
) -> Problem {
    let UnusableBody { problem, original } = *unusable;
    if !keeps_originals || !problem.is_final() {
        return problem;
    }
    let (reason, redacting) = (problem.detail().to_owned(), app.clone());
    let redact = move || {
        let context = redacting.decode_context(&origin);
        Decoded::undecodable(&context, reason, &original)
    };
    match tokio::task::spawn_blocking(redact).await {
        Ok(decoded) => {
            app.count_redactions(&decoded.redactions);
            rejected::count(app, decoded.rejected.len());
            rejected::keep(app, decoded.rejected).await;
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    problem
}

/// Appends the valid events to the journal, and waits until they are as durable as `ack` asks for.
async fn append(
    app: &App,
    decoded: Decoded,
    memory: Reservation,
    ack: Ack,
    keeps_originals: bool,
) -> Result<Outcome, Problem> {
    let outcome = Outcome::new(&decoded);
    let (accepted, invalid) = (outcome.accepted, outcome.rejected.len());
    app.count_redactions(&decoded.redactions);
    app.metrics.events_received.inc_by((accepted + invalid) as u64);
    app.metrics.batch_events.observe((accepted + invalid) as f64);
    app.metrics.events_ignored.inc_by(decoded.ignored as u64);
    if accepted == 0 {
        rejected::count(app, invalid);
        if keeps_originals && invalid > 0 {
            rejected::keep(app, decoded.rejected).await;
        }
        return Ok(outcome);
    }
    let appended = app.journal.append(decoded.batch, memory).await;
    let receipt = appended.inspect_err(|_| app.metrics.storage_errors.inc())?;
    if receipt.duplicates > 0 {
        let duplicates = app.metrics.events_duplicate.with_label_values(&["window"]);
        duplicates.inc_by(receipt.duplicates as u64);
    }
    if invalid > 0 {
        rejected::count(app, invalid);
        rejected::keep(app, decoded.rejected).await;
    }
    match &app.forwarding {
        None => app.metrics.events_stored.inc_by((accepted - receipt.duplicates) as u64),
        Some(forwarding) if ack == Ack::Stored => {
            wait_until_stored(app, forwarding, receipt.end).await?;
        }
        Some(_) => {}
    }
    Ok(outcome)
}

/// Waits until the store has committed the journal up to the position `end`. Gives up after
/// `STORED_TIMEOUT`, and during shutdown as soon as the database is disconnected.
async fn wait_until_stored(app: &App, forwarding: &Forwarding, end: u64) -> Result<(), Problem> {
    let mut status = forwarding.status.clone();
    let disconnected_while_draining = async {
        app.drain.started().await;
        let mut status = forwarding.status.clone();
        // The forwarder, which sends the status, outlives every request.
        let _ = status.wait_for(|status| !status.connected).await;
    };
    let timeout = app.config.http.stored_timeout;
    tokio::select! {
        Ok(_) = status.wait_for(|status| status.position >= end) => Ok(()),
        () = disconnected_while_draining => Err(not_stored_yet("before the server shut down")),
        () = tokio::time::sleep(timeout) => {
            Err(not_stored_yet(&format!("within {} s (STORED_TIMEOUT)", timeout.as_secs())))
        }
    }
}

fn not_stored_yet(deadline: &str) -> Problem {
    let error = format!(
        "the events are safe in the journal and will be stored, but the database did not commit \
         them {deadline}; a retry with the same ids is idempotent"
    );
    Problem::unavailable(error, 5)
}
