//! CloudEvents 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2>): its attributes become our
//! fields. `id`, `type`, `time` and `data` have a place of their own, the session is the extension
//! `sessionid` or else the `subject`; `workflowid`, `phaseid` and `milestoneid` are extensions too.
//! All else, and data that is no object, is kept under `extra`.

use std::borrow::Cow;

use super::fields::{Field, Fields};
use super::json;
use super::{Context, DecodeError, Decoded, Invalid};
use crate::json::text;

/// Turns a CloudEvent's members into our fields.
pub(super) fn rename(mut event: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    // Members that have our names already keep them, unless an attribute of CloudEvents says more.
    let mut renamed = event.clone();
    renamed.take_extra();
    renamed.take(Field::Data);
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
            Some(field) => renamed.set(field, raw),
            None => renamed.keep_extra(name, raw),
        }
    }
    if version.as_deref() != Some("\"1.0\"") {
        return Err(Invalid::field("specversion", "must be \"1.0\"".to_owned()));
    }
    if renamed.get(Field::EventId).is_none() {
        return Err(Invalid::field("id", "is required by CloudEvents 1.0".to_owned()));
    }
    if let Some((name, raw)) = subject {
        match renamed.get(Field::SessionId) {
            None => renamed.set(Field::SessionId, raw),
            Some(_) => renamed.keep_extra(name, raw),
        }
    }
    if let Some(data) = event.take(Field::Data) {
        if data.starts_with('{') {
            renamed.set(Field::Data, data);
        } else {
            renamed.keep_extra("\"data\"", data);
        }
    }
    Ok(renamed)
}

/// One event in binary content mode (HTTP Protocol Binding, section 3.1): its attributes are the
/// `ce-` headers, given here as name and value, and its data is the body.
///
/// # Errors
/// If the body is not JSON; an empty one is no data.
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
    let data = std::str::from_utf8(body)
        .map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })?;
    let data = if data.trim().is_empty() { "null" } else { data };
    // Parsed on its own first, so that an error tells its place in the body that was sent.
    serde_json::from_str::<&serde_json::value::RawValue>(data).map_err(|error| {
        DecodeError::NotJson(format!("the body is not the JSON expected here: {error}"))
    })?;
    event.push_str("\"data\":");
    event.push_str(data);
    event.push('}');
    json::object(&event, context, rename)
}

/// HTTP Protocol Binding, section 3.1.3.2: header values are percent-encoded UTF-8.
fn percent_decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(value), Cow::Owned)
}
