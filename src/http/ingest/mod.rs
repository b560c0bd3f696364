//! `POST /events` and `POST /events/batch`: receive, decode, append, answer.

mod admission;
pub(super) mod hooks;
pub(super) mod otlp;
mod rate;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

pub use admission::{Drain, InFlight};
pub use rate::Rates;

use crate::config::Ack;
use crate::decode::{self, Context, Decoded, Encoding, Format, OtlpEncoding};
use crate::event::Timestamp;
use crate::http::STORED_LINES;
use crate::http::access::KeyName;
use crate::http::problem::{Problem, RejectedEvent};
use crate::http::{App, Forwarding};
use crate::journal::Framing;
use crate::rejected::{Durability, Entry, Kept};
use admission::{Hold, receive};
use rate::Sender;

/// Above this, and if it is compressed, a body is decoded on a thread that may take its time.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Takes the events of one request. `plain` is the shape that `application/json` has on this route.
pub(in crate::http) async fn ingest(
    State(app): State<Arc<App>>,
    plain: Format,
    request: Request,
) -> Result<Response, Problem> {
    let taken = take(&app, request, |headers| Input::of(headers, plain)).await?;
    Ok(taken.into_result()?.into_response())
}

/// Receives, decodes and appends what a request brings; `input` says what it is, by its headers.
pub(in crate::http) async fn take(
    app: &Arc<App>,
    request: Request,
    input: impl FnOnce(&HeaderMap) -> Result<Input, Problem>,
) -> Result<Accepted, Problem> {
    let (parts, body) = request.into_parts();
    let key = parts.extensions.get::<KeyName>().and_then(|key| key.0.clone());
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.ip());
    let sender = Sender::new(key.clone(), peer);
    app.rates.admit(&sender)?;
    let _entered = app.drain.enter()?;
    let received_at = Timestamp::now();
    let ack = ack(&parts.uri, app.ack)?;
    let input = input(&parts.headers)?;
    let encoding = encoding(&parts.headers)?;
    let mut hold = app.in_flight.hold()?;
    let bytes_max = app.body_bytes_max;
    let body = receive(body, bytes_max, app.body_timeout, &mut hold).await?;
    let received_bytes = body.len();
    app.rates.charge(&sender, 0, received_bytes);
    let large = received_bytes > INLINE_BYTES_MAX || encoding.is_some();
    let shared = app.clone();
    let work = move || {
        let body = match encoding {
            None => body,
            Some(encoding) => decompress(encoding, &body, bytes_max, &mut hold)?,
        };
        // Decoding takes another copy of the body, and the records one more.
        hold.grow_to(received_bytes.max(body.len()) + 2 * body.len())?;
        let is_stored_lines = input.is_stored_lines();
        let mut decoded = input.decode(
            &body,
            &parts.headers,
            &shared,
            &shared.context(received_at, key.as_deref()),
        )?;
        if is_stored_lines && shared.framing == Framing::Checksummed {
            // Among them may be what the database refused, under ids that the journal knows. They have
            // ids and timestamps, so the table's key finds those that it has.
            decoded.batch.keep_duplicates();
        }
        hold.grow_to(body.len() + decoded.batch.bytes().len())?;
        let events = decoded.batch.len() + decoded.rejected.len();
        shared.rates.charge(&sender, events, body.len().saturating_sub(received_bytes));
        Ok::<_, Problem>((decoded, hold))
    };
    let (decoded, hold) = if large {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    } else {
        work()?
    };
    store(app, decoded, hold, ack).await
}

fn decompress(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
    hold: &mut Hold,
) -> Result<Bytes, Problem> {
    let mut decompressed = Vec::new();
    let parts = decode::decompress(encoding, body, bytes_max)?;
    for part in parts {
        let part = part?;
        hold.grow_to(body.len() + decompressed.len() + part.len())?;
        decompressed.extend_from_slice(&part);
    }
    Ok(decompressed.into())
}

async fn store(app: &App, decoded: Decoded, hold: Hold, ack: Ack) -> Result<Accepted, Problem> {
    let Decoded { batch, rejected, redactions } = decoded;
    app.count_redactions(&redactions);
    let accepted = batch.len();
    app.metrics.events_received.inc_by((accepted + rejected.len()) as u64);
    app.metrics.batch_events.observe((accepted + rejected.len()) as f64);
    if accepted == 0 {
        count_invalid(app, rejected.len());
        return Ok(Accepted::new(0, &rejected));
    }
    let receipt =
        app.journal.append(batch, hold).await.inspect_err(|_| app.metrics.storage_errors.inc())?;
    if receipt.duplicates > 0 {
        let duplicates = app.metrics.events_duplicate.with_label_values(&["window"]);
        duplicates.inc_by(receipt.duplicates as u64);
    }
    let answer = Accepted::new(accepted, &rejected);
    if !rejected.is_empty() {
        count_invalid(app, rejected.len());
        keep_rejected(app, rejected).await;
    }
    match &app.forwarding {
        None => app.metrics.events_stored.inc_by((accepted - receipt.duplicates) as u64),
        Some(forwarding) if ack == Ack::Stored => {
            wait_until_stored(app, forwarding, receipt.end).await?;
        }
        Some(_) => {}
    }
    Ok(answer)
}

/// Waits until the store has what stands in the journal before `end`; not for ever, and not for a
/// database that is away while the server shuts down.
async fn wait_until_stored(app: &App, forwarding: &Forwarding, end: u64) -> Result<(), Problem> {
    let mut status = forwarding.status.clone();
    let hopeless = async {
        app.drain.begun().await;
        let mut status = forwarding.status.clone();
        // The forwarder, which says so, outlives every request.
        let _ = status.wait_for(|status| !status.connected).await;
    };
    tokio::select! {
        Ok(_) = status.wait_for(|status| status.position >= end) => Ok(()),
        () = hopeless => Err(not_stored_yet("before this server's end")),
        () = tokio::time::sleep(app.stored_timeout) => {
            let seconds = app.stored_timeout.as_secs();
            Err(not_stored_yet(&format!("within {seconds} s (STORED_TIMEOUT)")))
        }
    }
}

fn not_stored_yet(until: &str) -> Problem {
    let error = format!(
        "the events are safe in the journal and will be stored, but the database has not taken them \
         {until}; a retry with the same ids is harmless"
    );
    Problem::unavailable(error, 5)
}

fn count_invalid(app: &App, events: usize) {
    app.metrics.events_rejected.with_label_values(&["invalid"]).inc_by(events as u64);
}

/// The sender is told of the rejected events in any case; this copy is for whoever runs the server.
async fn keep_rejected(app: &App, rejected: Vec<decode::Rejected>) {
    let (file, events) = (app.rejected.clone(), rejected.len() as u64);
    let kept = tokio::task::spawn_blocking(move || {
        let entries = rejected.iter().map(|rejected| Entry {
            field: rejected.reason.field.as_deref(),
            error: &rejected.reason.error,
            original: rejected.original.as_bytes(),
        });
        file.append(entries, Durability::Written)
    });
    let error = match kept.await {
        Ok(Ok(Kept::All)) => return,
        Ok(Ok(Kept::None)) => return app.metrics.rejected_dropped.inc_by(events),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(file = %app.rejected.path().display(), %error, "rejected events not kept");
}

/// What became of a request's events; as an answer, that they were accepted.
#[expect(clippy::struct_field_names, reason = "the wire contract's names")]
#[derive(Serialize)]
pub(in crate::http) struct Accepted {
    pub(in crate::http) accepted: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) rejected: Vec<RejectedEvent>,
    message: String,
}

impl Accepted {
    fn new(accepted: usize, rejected: &[decode::Rejected]) -> Self {
        let message = match (accepted, rejected.len()) {
            (0, _) => "No events to store".to_owned(),
            (_, 0) => "Events accepted".to_owned(),
            (_, rejected) => format!("Events accepted, {rejected} rejected"),
        };
        Self { accepted, rejected: rejected.iter().map(RejectedEvent::from).collect(), message }
    }

    /// Where no event is valid, the request is not.
    pub(in crate::http) fn into_result(self) -> Result<Self, Problem> {
        if self.accepted == 0 && !self.rejected.is_empty() {
            return Err(Problem::invalid(self.rejected));
        }
        Ok(self)
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }
}

/// What a body is, by its headers.
pub(in crate::http) enum Input {
    Body(Format),
    /// An agent's own payload, by its address.
    Hook {
        agent: String,
        event: Option<String>,
    },
    /// Lines of `hooks-backend emit`.
    Emitted,
    /// OpenTelemetry logs.
    Otlp(OtlpEncoding),
    /// A CloudEvent whose attributes are headers.
    CloudEventHeaders,
}

impl Input {
    fn of(headers: &HeaderMap, plain: Format) -> Result<Self, Problem> {
        let media_type = media_type(headers)?;
        let single = plain == Format::Object;
        Ok(match media_type.as_str() {
            "application/json" if single && headers.contains_key("ce-specversion") => {
                Self::CloudEventHeaders
            }
            "application/json" => Self::Body(plain),
            "application/x-ndjson" | "application/jsonl" if !single => Self::Body(Format::Ndjson),
            STORED_LINES if !single => Self::Body(Format::Stored),
            "application/cloudevents+json" if single => Self::Body(Format::CloudEvent),
            "application/cloudevents-batch+json" if !single => Self::Body(Format::CloudEvents),
            other => {
                let allowed = if single {
                    "application/json, application/cloudevents+json (batches go to /events/batch)"
                } else {
                    "application/json, application/x-ndjson, application/jsonl, \
                     application/cloudevents-batch+json"
                };
                return Err(Problem::unsupported_type(other, allowed));
            }
        })
    }

    fn is_stored_lines(&self) -> bool {
        matches!(self, Self::Body(Format::Stored))
    }

    fn decode(
        self,
        body: &[u8],
        headers: &HeaderMap,
        app: &App,
        context: &Context<'_>,
    ) -> Result<Decoded, Problem> {
        Ok(match self {
            Self::Hook { agent, event } => {
                let header = |name| Some(headers.get(name)?.to_str().ok()?.into());
                let hook = decode::Hook {
                    agent: agent.into(),
                    event: event.map(Into::into),
                    fired_at: context.received_at,
                    workflow_id: header("x-workflow-id"),
                    phase_id: header("x-phase-id"),
                    milestone_id: header("x-milestone-id"),
                };
                decode::decode_hook(&hook, body, &app.firings, context)?
            }
            Self::Otlp(encoding) => decode::decode_logs(encoding, body, context)?,
            Self::Emitted => decode::decode_emitted(body, &app.firings, context)?,
            Self::Body(format) => decode::decode(format, body, context)?,
            Self::CloudEventHeaders => {
                let headers = headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
                decode::from_headers(headers, body, context)?
            }
        })
    }
}

/// The media type, in lower case and without parameters; empty if there is none.
pub(in crate::http) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(String::new()) };
    let value =
        value.to_str().map_err(|_| Problem::unsupported("the content type is not readable"))?;
    Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Problem> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        "deflate" => Ok(Some(Encoding::Deflate)),
        other => Err(Problem::unsupported(format!(
            "the content encoding {other:?} is not known; allowed: gzip, zstd, deflate"
        ))),
    }
}

/// `?ack=`. Other parameters mean nothing here.
fn ack(uri: &Uri, default: Ack) -> Result<Ack, Problem> {
    let mut values = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("ack="));
    match values.next() {
        None => Ok(default),
        Some("journal") => Ok(Ack::Journal),
        Some("stored") => Ok(Ack::Stored),
        Some(other) => Err(Problem::bad_request(format!(
            "the parameter ack is {other:?}; allowed: journal, stored"
        ))),
    }
}
