//! CloudEvents 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2>).
//!
//! The attributes `id`, `type` and `time` and the extensions `sessionid`, `workflowid`, `phaseid` and
//! `milestoneid` become fields of the API. Without `sessionid`, the `subject` is the session. All other
//! attributes, and `data` that is not an object, are kept in `extra`.

use std::borrow::Cow;

use super::body;
use super::context::Context;
use super::decoded::{DecodeError, Decoded, Invalid};
use super::fields::{Field, Fields};
use super::json;
use crate::json::text;

/// Maps the attributes of a CloudEvent to the fields of the API.
pub(super) fn map_fields(mut event: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    // Members with the names of API fields are kept, unless a CloudEvents attribute replaces them.
    let mut mapped = event.clone();
    mapped.take_extra();
    mapped.take(Field::Data);
    let mut subject = None;
    let mut version = None;
    for (name, raw) in event.take_extra() {
        let attribute = text::unescape(&name).into_owned();
        let field = match attribute.as_str() {
            "id" => Some(Field::EventId),
            "type" => Some(Field::EventType),
            "time" => Some(Field::Timestamp),
            "sessionid" => Some(Field::SessionId),
            "workflowid" => Some(Field::WorkflowId),
            "phaseid" => Some(Field::PhaseId),
            "milestoneid" => Some(Field::MilestoneId),
            "subject" => {
                subject = Some((name, raw));
                continue;
            }
            "specversion" => {
                version = Some(raw.clone());
                None
            }
            _ => None,
        };
        match field {
            Some(field) => mapped.set(field, raw),
            None => mapped.keep_extra(name, raw),
        }
    }
    let version = version.as_deref().filter(|raw| raw.starts_with('"')).map(text::unescape);
    if version.as_deref() != Some("1.0") {
        return Err(Invalid::field("specversion", "must be \"1.0\"".to_owned()));
    }
    if mapped.get(Field::EventId).is_none() {
        return Err(Invalid::field("id", "is required by CloudEvents 1.0".to_owned()));
    }
    if let Some((name, raw)) = subject {
        match mapped.get(Field::SessionId) {
            None => mapped.set(Field::SessionId, raw),
            Some(_) => mapped.keep_extra(name, raw),
        }
    }
    if let Some(data) = event.take(Field::Data) {
        if data.starts_with('{') {
            mapped.set(Field::Data, data);
        } else {
            mapped.keep_extra("\"data\"", data);
        }
    }
    Ok(mapped)
}

/// Decodes an event in binary content mode (HTTP Protocol Binding, section 3.1): the headers that begin
/// with `ce-` are its attributes, and the body is its data. An empty body is no data.
///
/// # Errors
/// If the body is not JSON.
pub fn from_headers<'h>(
    headers: impl Iterator<Item = (&'h str, &'h str)>,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let mut event = String::from("{");
    for (name, value) in headers {
        let Some(attribute) = name.strip_prefix("ce-") else { continue };
        event.push_str(&serde_json::Value::from(attribute).to_string());
        event.push(':');
        event.push_str(&serde_json::Value::from(percent_decode(value)).to_string());
        event.push(',');
    }
    let data = body::text(body)?;
    let data = if data.trim().is_empty() { "null" } else { data };
    // Parsed separately first, so that errors have positions within the body.
    serde_json::from_str::<&serde_json::value::RawValue>(data).map_err(|error| {
        DecodeError::NotJson(format!("the body is not the JSON expected here: {error}"))
    })?;
    event.push_str("\"data\":");
    event.push_str(data);
    event.push('}');
    json::object(&event, context, map_fields)
}

/// Decodes a header value: percent-encoded UTF-8 (HTTP Protocol Binding, section 3.1.3.2).
fn percent_decode(value: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value))
}
