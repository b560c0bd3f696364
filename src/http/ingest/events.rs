//! `POST /events` and `POST /events/batch`: events in our own format, and CloudEvents.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::IngestRequest;
use super::headers::{header_text, media_type};
use super::pipeline::{Outcome, ingest};
use crate::decode::{self, Context, DecodeError, Decoded, Format, STORED_LINES};
use crate::http::openapi::parameters::IngestParameters;
use crate::http::openapi::problems::IngestProblems;
use crate::http::openapi::schemas::{CloudEvent, Lines, NewEvent};
use crate::http::problem::{Problem, RejectedEvent};
use crate::journal::Framing;

/// Stores one event.
///
/// A CloudEvent may also be sent in binary mode: `application/json`, with its attributes as `ce-`
/// headers.
#[utoipa::path(
    post,
    path = "/events",
    operation_id = "postEvents",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content(
        (NewEvent = "application/json"),
        (CloudEvent = "application/cloudevents+json")
    )),
    responses(
        (status = 202, description = "The event is durable.", body = IngestResponse),
        IngestProblems
    )
)]
pub(in crate::http) async fn single(request: IngestRequest) -> Result<IngestResponse, Problem> {
    let format = match media_type(&request.headers)?.as_str() {
        "application/json" if request.headers.contains_key("ce-specversion") => {
            let attributes = cloudevent_headers(&request.headers);
            let decode = move |body: &[u8], context: &Context<'_>| {
                let attributes = attributes.iter().map(|(name, value)| (&**name, &**value));
                decode::from_headers(attributes, body, context)
            };
            return IngestResponse::of(ingest(request, decode).await?);
        }
        "application/json" => Format::Object,
        "application/cloudevents+json" => Format::CloudEvent,
        other => {
            let allowed =
                "application/json, application/cloudevents+json (batches go to /events/batch)";
            return Err(Problem::unsupported_type(other, allowed));
        }
    };
    let decode = move |body: &[u8], context: &Context<'_>| decode::decode(format, body, context);
    IngestResponse::of(ingest(request, decode).await?)
}

/// Stores a batch of events.
///
/// Up to 10,000 events by default (`MAX_BATCH_EVENTS`). Invalid events are listed in the response and
/// do not prevent the others from being stored.
#[utoipa::path(
    post,
    path = "/events/batch",
    operation_id = "postEventBatch",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content(
        (Vec<NewEvent> = "application/json"),
        (Lines = "application/x-ndjson"),
        (Lines = "application/jsonl"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (Lines = "application/vnd.hooks-backend.stored+jsonl")
    )),
    responses(
        (status = 202, description = "The events that are not rejected are durable.", body = IngestResponse),
        IngestProblems
    )
)]
pub(in crate::http) async fn batch(request: IngestRequest) -> Result<IngestResponse, Problem> {
    let format = match media_type(&request.headers)?.as_str() {
        "application/json" => Format::Array,
        "application/x-ndjson" | "application/jsonl" => Format::Ndjson,
        "application/cloudevents-batch+json" => Format::CloudEvents,
        STORED_LINES => Format::Stored,
        other => {
            let allowed = "application/json, application/x-ndjson, application/jsonl, \
                           application/cloudevents-batch+json";
            return Err(Problem::unsupported_type(other, allowed));
        }
    };
    let decode = move |body: &[u8], context: &Context<'_>| match format {
        Format::Stored => decode_stored(body, context),
        format => decode::decode(format, body, context),
    };
    IngestResponse::of(ingest(request, decode).await?)
}

/// Decodes lines in the format in which events are stored, as `import` sends them.
fn decode_stored(body: &[u8], context: &Context<'_>) -> Result<Decoded, DecodeError> {
    let mut decoded = decode::decode(Format::Stored, body, context)?;
    if context.framing == Framing::Checksummed {
        // The dedup window may know the ids of events that the database refused and that are now
        // imported. Stored lines have ids and timestamps, so the primary key finds the others.
        decoded.batch.keep_duplicates();
    }
    Ok(decoded)
}

/// Copies the attributes of a CloudEvent in binary mode.
fn cloudevent_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("ce-"))
        .map(|(name, value)| (name.to_string(), header_text(value)))
        .collect()
}

/// The response to accepted events.
#[derive(Serialize, ToSchema)]
#[schema(as = Accepted, examples(json!({ "accepted": 3, "message": "Events accepted" })))]
pub(in crate::http) struct IngestResponse {
    /// Number of accepted events. Duplicates count.
    accepted: usize,
    /// The invalid events, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedEvent>,
    /// A summary for people.
    message: String,
}

impl IngestResponse {
    pub(super) fn of(outcome: Outcome) -> Result<Self, Problem> {
        let Outcome { accepted, rejected } = outcome.require_valid()?;
        let message = match (accepted, rejected.len()) {
            (0, _) => "No events to store".to_owned(),
            (_, 0) => "Events accepted".to_owned(),
            (_, rejected) => format!("Events accepted, {rejected} rejected"),
        };
        Ok(Self { accepted, rejected, message })
    }
}

impl IntoResponse for IngestResponse {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }
}
