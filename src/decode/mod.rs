//! Decodes request bodies to events. Pure: no I/O.
//!
//! Each format has a module that finds the events of a body; `fields` holds the members of one event,
//! and `validate` makes the stored line of it.

mod agents;
mod body;
mod cloudevents;
mod compact;
mod context;
mod decoded;
mod fields;
mod json;
mod otlp;
mod scan;
mod stored;
mod validate;

use std::borrow::Cow;

pub use agents::{
    Claim, EmittedPayload, FiringIdentity, Firings, Hook, agent_names, decode_emitted, decode_hook,
    is_agent, newest_claims, sender,
};
pub use body::{BodyError, Encoding, decompress};
pub use cloudevents::from_headers;
pub use context::Context;
pub use decoded::{DecodeError, Decoded, Invalid, Rejected};
pub use otlp::{ExportResponse, OtlpEncoding, PartialSuccess, RpcStatus, Signal, decode_export};
pub(crate) use stored::STORED_LINES;

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One event: a JSON object.
    Object,
    /// A JSON array of events.
    Array,
    /// Newline-delimited JSON: one event per line.
    Ndjson,
    /// Stored lines of a server, one event per line.
    Stored,
    /// One CloudEvent: JSON Event Format 1.0, section 3.
    CloudEvent,
    /// A batch of CloudEvents: JSON Event Format 1.0, section 4.
    CloudEvents,
}

/// Decodes a body.
///
/// # Errors
/// If the body as a whole is invalid. Single invalid events are part of the result.
pub fn decode(format: Format, body: &[u8], context: &Context<'_>) -> Result<Decoded, DecodeError> {
    let text = body::text(body)?;
    match format {
        Format::Object => json::object(text, context, agents::map_fields),
        Format::Array => json::array(text, context, agents::map_fields),
        Format::Ndjson => json::lines(text, context, agents::map_fields),
        Format::Stored => json::lines(text, context, stored::map_fields),
        Format::CloudEvent => json::object(text, context, cloudevents::map_fields),
        Format::CloudEvents => json::array(text, context, cloudevents::map_fields),
    }
}

/// Returns a JSON value without white space between tokens.
pub(crate) fn compacted(raw: &str) -> Cow<'_, str> {
    compact::compact(raw, usize::MAX).map_or(raw.into(), |(compact, _)| compact)
}

/// Returns true if the bytes are one JSON object.
pub fn is_object(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok_and(|text| json::fields(text).is_ok())
}
