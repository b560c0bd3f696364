//! Log records: each becomes one event.

use std::fmt::Write as _;

use super::TimedFields;
use super::attributes::{Attributes, write_object, write_value};
use super::origin::{RecordOrigin, write_id, write_text};
use super::usage;
use super::wire::{AttributeValue, LogRecord, lossy};
use crate::event::TEXT_BYTES_MAX;

pub(super) fn event(origin: RecordOrigin<'_>, record: &LogRecord) -> TimedFields {
    let resource = &origin.resource.attributes;
    let attributes = Attributes { record: &record.attributes, resource };
    let event_type = event_type(record, &attributes);
    // Gemini CLI reports the tokens of a response in its own event and in that of the conventions.
    let is_repeated = event_type.starts_with("gen_ai.") && origin.repeats_usage(&attributes);
    let mut fields = origin.fields(event_type, &record.trace_id, &attributes);
    if is_repeated {
        usage::remove(&mut fields);
    }
    let nanos = Some(record.time_unix_nano).filter(|nanos| *nanos > 0);
    TimedFields {
        fields,
        nanos: nanos.unwrap_or(record.observed_time_unix_nano),
        data: data(origin, record),
    }
}

/// Returns the event name of a record: the attribute that OpenTelemetry had for it, which agents still send,
/// else the field, else the body. The field is a file and a line in records of Codex. In records of Claude
/// Code, the attribute is the last part of the name, and the body is the full name.
fn event_type(record: &LogRecord, attributes: &Attributes<'_>) -> String {
    // Words with dots, as in `claude_code.api_request`; any other text is a log message.
    let is_name = |text: &str| {
        let is_part = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
        text.contains('.') && text.len() <= TEXT_BYTES_MAX && text.bytes().all(is_part)
    };
    let field = Some(lossy(&record.event_name).into_owned()).filter(|name| !name.is_empty());
    let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(AttributeValue::String(text)) => Some(lossy(text).into_owned()),
        _ => None,
    };
    let body = body.filter(|text| is_name(text));
    let Some(attribute) = attributes.text(&["event.name"]) else {
        return field.or(body).unwrap_or_else(|| "log".to_owned());
    };
    let last_part = format!(".{attribute}");
    let full_names = [field, body].into_iter().flatten();
    full_names.into_iter().find(|name| name.ends_with(&last_part)).unwrap_or(attribute)
}

/// Returns the record as a JSON object, with the values of attributes as plain JSON.
fn data(origin: RecordOrigin<'_>, record: &LogRecord) -> String {
    let mut out = String::from("{\"body\":");
    write_value(record.body.as_ref(), &mut out);
    out.push_str(",\"attributes\":");
    write_object(&record.attributes, &mut out);
    if record.severity_number != 0 {
        // Writing to a string cannot fail.
        let _ = write!(out, ",\"severity_number\":{}", record.severity_number);
    }
    // Part of the event ID: records can differ in nothing else.
    write_text("event_name", &record.event_name, &mut out);
    write_text("severity_text", &record.severity_text, &mut out);
    write_id("trace_id", &record.trace_id, &mut out);
    write_id("span_id", &record.span_id, &mut out);
    origin.finish(&mut out);
    out
}
