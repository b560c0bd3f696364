//! Bytes to events, pure: a request's body becomes journal records and a list of what was wrong.

mod agents;
mod body;
mod cloudevents;
mod compact;
mod fields;
mod json;
mod otlp;
mod scan;
mod stored;

pub use agents::{Firings, Hook, agent_names, decode_emitted, decode_hook, emitted_line, is_agent};
pub use body::{BodyError, Encoding, decompress};
pub use cloudevents::from_headers;
pub use otlp::{ExportResponse, OtlpEncoding, PartialSuccess, Status, decode_logs};

use std::borrow::Cow;

use crate::event::Timestamp;
use crate::journal::{Batch, Framing};
use crate::redact::{Redactions, Redactor};

/// What the events of one request have in common.
#[derive(Clone, Copy, Debug)]
pub struct Context<'r> {
    /// When the request was received.
    pub received_at: Timestamp,
    /// How the journal frames its records.
    pub framing: Framing,
    /// Most events in one request.
    pub batch_events_max: usize,
    /// Deepest nesting of objects and arrays in `data` or an extra field.
    pub depth_max: usize,
    /// The name of the sender's API key, where it is to be kept.
    pub key_name: Option<&'r str>,
    /// What takes secrets out.
    pub redactor: Option<&'r Redactor>,
}

impl Context<'_> {
    fn redact<'t>(&self, json: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        self.redactor.map_or(Cow::Borrowed(json), |redactor| redactor.json(json, found))
    }
}

/// The shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, one event.
    Object,
    /// A JSON array of events.
    Array,
    /// One event a line.
    Ndjson,
    /// One event a line, as a server has stored it.
    Stored,
    /// One CloudEvent: structured content mode, CloudEvents 1.0 JSON Event Format, section 3.
    CloudEvent,
    /// A JSON array of CloudEvents: the same specification's JSON Batch Format, section 4.
    CloudEvents,
}

/// A decoded body: what goes to the journal, and what does not.
#[derive(Debug)]
pub struct Decoded {
    /// The valid events.
    pub batch: Batch,
    /// The invalid ones.
    pub rejected: Vec<Rejected>,
    /// What was taken out of either.
    pub redactions: Redactions,
}

impl Decoded {
    /// Nothing yet, of a body of that many bytes.
    fn new(context: &Context<'_>, body_bytes: usize) -> Self {
        Self {
            // Lines are a little longer than what they are made of.
            batch: Batch::new(context.framing, body_bytes + body_bytes / 4 + 256),
            rejected: Vec::new(),
            redactions: Redactions::default(),
        }
    }

    /// Keeps an event that is not accepted, without its secrets.
    fn reject(
        &mut self,
        context: &Context<'_>,
        index: usize,
        mut reason: Invalid,
        mut original: String,
    ) {
        if let Some(redactor) = context.redactor {
            original = redactor.original(&original, &mut self.redactions).into_owned();
            // These can quote the event; what they quote has been counted.
            let counted = &mut Redactions::default();
            reason.error = redactor.plain(&reason.error, counted).into_owned();
            reason.field = reason.field.map(|name| redactor.plain(&name, counted).into_owned());
        }
        self.rejected.push(Rejected { index, reason, original });
    }
}

/// An event that was not accepted.
#[derive(Debug, PartialEq)]
pub struct Rejected {
    /// Its place in the batch, from 0 (in NDJSON: among the lines that are not blank).
    pub index: usize,
    /// Why.
    pub reason: Invalid,
    /// The event as it was sent, but for secrets; for a line that is no JSON, the line.
    pub original: String,
}

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    /// The field, if it is one field's fault.
    pub field: Option<String>,
    /// What was wrong and what is allowed, to stand after the field's name.
    pub error: String,
}

impl Invalid {
    fn field(name: &str, error: String) -> Self {
        Self { field: Some(name.to_owned()), error }
    }

    fn event(error: String) -> Self {
        Self { field: None, error }
    }
}

/// Why a body has no events at all.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Not UTF-8.
    #[error("the body is not UTF-8: byte {at} begins no character")]
    NotUtf8 {
        /// The offset of the first bad byte.
        at: usize,
    },
    /// Not JSON, or not of the expected shape.
    #[error("{0}")]
    NotJson(String),
    /// More events than one request may have.
    #[error("the batch has more than {max} events; send it in several")]
    TooManyEvents {
        /// The limit, in events.
        max: usize,
    },
}

/// A JSON value without white space between its tokens; one that is nested too deep stays as it is.
pub(crate) fn compacted(raw: &str) -> std::borrow::Cow<'_, str> {
    compact::compact(raw, usize::MAX).map_or(raw.into(), |(compact, _)| compact)
}

/// Whether bytes are one JSON object.
pub fn is_object(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok_and(|text| json::fields(text).is_ok())
}

/// Decodes a body.
///
/// # Errors
/// If there is nothing in it to accept or reject event by event.
pub fn decode(format: Format, body: &[u8], context: &Context<'_>) -> Result<Decoded, DecodeError> {
    let text = body_text(body)?;
    match format {
        Format::Object => json::object(text, context, agents::rename),
        Format::Array => json::array(text, context, agents::rename),
        Format::Ndjson => json::lines(text, context, agents::rename),
        Format::Stored => json::lines(text, context, stored::rename),
        Format::CloudEvent => json::object(text, context, cloudevents::rename),
        Format::CloudEvents => json::array(text, context, cloudevents::rename),
    }
}

/// A body as text. Some agents on Windows begin theirs with a byte order mark.
fn body_text(body: &[u8]) -> Result<&str, DecodeError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    simdutf8::compat::from_utf8(body)
        .map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })
}
