//! OpenTelemetry logs (OTLP/HTTP): each log record becomes one event.
//!
//! `event_type` is the event's name as OpenTelemetry has it, such as `claude_code.api_request`: it
//! tells these apart from the hooks of the same agent. Facts come from the attributes of the agents
//! that are known, and from the semantic conventions for generative AI (`gen_ai.*`) for all others.
//!
//! A record has no id. With a time in it, a hash of all of it is its id, so that an export which is
//! sent again is stored once; a record without any time gets a new one.

mod wire;

use std::borrow::Cow;
use std::fmt::Write as _;

use prost::Message;

use wire::{
    AnyValue, ExportRequest, ExportRequestJson, KeyValue, LogRecord, Resource, Scope, Value,
};
pub use wire::{ExportResponse, PartialSuccess, Status};

use super::agents::{bounded, json};
use super::fields::{Field, Fields};
use super::{Context, DecodeError, Decoded, Invalid, body_text};
use crate::event::{ColumnKind, PromotedColumn, PromotedColumns, TEXT_BYTES_MAX, Timestamp};

/// How an export is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Makes events of the log records of an export.
///
/// # Errors
/// If it is no export, or has too many records.
pub fn decode_logs(
    encoding: OtlpEncoding,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let mut collector = Collector { context, decoded: Decoded::new(context, body.len()), index: 0 };
    let not_otlp = |error: &dyn std::fmt::Display| {
        DecodeError::NotJson(format!("not an ExportLogsServiceRequest of OTLP: {error}"))
    };
    match encoding {
        OtlpEncoding::Protobuf => {
            let request = ExportRequest::decode(body).map_err(|error| not_otlp(&error))?;
            for logs in request.resource_logs {
                let resource = logs.resource.unwrap_or_default();
                for logs in logs.scope_logs {
                    let scope = logs.scope.unwrap_or_default();
                    for record in logs.log_records {
                        let parsed = LogRecord::decode(&*record).map_err(|error| error.to_string());
                        let original = || format!("{record:?}");
                        collector.add(&resource, &scope, parsed, original)?;
                    }
                }
            }
        }
        OtlpEncoding::Json => {
            let request: ExportRequestJson<'_> =
                read_object(body_text(body)?).map_err(|error| not_otlp(&error))?;
            for logs in request.resource_logs {
                let resource = logs.resource.unwrap_or_default();
                for logs in logs.scope_logs {
                    let scope = logs.scope.unwrap_or_default();
                    for record in logs.log_records {
                        let parsed = read_object(record.get()).map_err(|error| error.to_string());
                        collector.add(&resource, &scope, parsed, || record.get().to_owned())?;
                    }
                }
            }
        }
    }
    Ok(collector.decoded)
}

/// Reads a JSON object, and nothing else: serde would take the members from an array as well.
fn read_object<'j, T: serde::Deserialize<'j>>(json: &'j str) -> serde_json::Result<T> {
    if !json.trim_start().starts_with('{') {
        return Err(serde::de::Error::custom("must be an object"));
    }
    serde_json::from_str(json)
}

struct Collector<'c> {
    context: &'c Context<'c>,
    decoded: Decoded,
    index: usize,
}

impl Collector<'_> {
    fn add(
        &mut self,
        resource: &Resource,
        scope: &Scope,
        record: Result<LogRecord, String>,
        original: impl FnOnce() -> String,
    ) -> Result<(), DecodeError> {
        let context = self.context;
        if self.index >= context.batch_events_max {
            return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
        }
        let added = record.map_err(Invalid::event).and_then(|record| {
            let Decoded { batch, redactions, .. } = &mut self.decoded;
            batch.push(|line| event(resource, scope, &record).into_line(context, redactions, line))
        });
        if let Err(reason) = added {
            self.decoded.reject(context, self.index, reason, original());
        }
        self.index += 1;
        Ok(())
    }
}

fn event(resource: &Resource, scope: &Scope, record: &LogRecord) -> Fields<'static> {
    let attributes = Attributes { record: &record.attributes, resource: &resource.attributes };
    let data = data(resource, scope, record);
    let mut fields = Fields::default();
    fields.set(Field::EventType, json(&bounded(event_type(record, &attributes))));
    fields.set(Field::SessionId, json(&bounded(session_id(record, &attributes))));
    for (field, names) in [
        (Field::WorkflowId, &["workflow.id", "workflow_id"]),
        (Field::PhaseId, &["phase.id", "phase_id"]),
        (Field::MilestoneId, &["milestone.id", "milestone_id"]),
    ] {
        if let Some(id) = attributes.text(names) {
            fields.set(field, json(&bounded(id)));
        }
    }
    let nanos = Some(record.time_unix_nano).filter(|nanos| *nanos > 0);
    let nanos = nanos.unwrap_or(record.observed_time_unix_nano);
    if nanos > 0 {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(&nanos.to_le_bytes());
        hasher.update(data.as_bytes());
        fields.set(Field::EventId, format!("\"{:032x}\"", hasher.digest128()));
        // 2^64 ns end in 2554, which a timestamp can be.
        if let Some(timestamp) = Timestamp::from_micros((nanos / 1000) as i64) {
            fields.set(Field::Timestamp, format!("\"{timestamp}\""));
        }
    }
    fields.set(Field::Data, data);
    fields.set_promoted(promoted(scope, &attributes));
    fields
}

/// The record's name: where OpenTelemetry has it now, or had it. Claude Code's attribute is the last
/// part of what its body has in full.
fn event_type(record: &LogRecord, attributes: &Attributes<'_>) -> String {
    if !record.event_name.is_empty() {
        return record.event_name.clone();
    }
    // Dotted words, as in `claude_code.api_request`; other text is what was logged.
    let is_name = |text: &&String| {
        let is_part = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
        text.contains('.') && text.bytes().all(is_part)
    };
    let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::String(text)) => Some(text).filter(is_name),
        _ => None,
    };
    let attribute = attributes.text(&["event.name"]);
    match (attribute, body) {
        (Some(name), Some(body)) if body.ends_with(&format!(".{name}")) => body.clone(),
        (Some(name), _) => name,
        (None, Some(body)) if body.len() <= TEXT_BYTES_MAX => body.clone(),
        (None, _) => "log".to_owned(),
    }
}

/// The agent's session; else the trace; else all that the same service does.
fn session_id(record: &LogRecord, attributes: &Attributes<'_>) -> String {
    let names = ["session.id", "conversation.id", "gen_ai.conversation.id", "session_id"];
    attributes
        .text(&names)
        .or_else(|| Some(hex(&record.trace_id)).filter(|id| !id.is_empty()))
        .or_else(|| attributes.text(&["service.instance.id", "service.name"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn promoted(scope: &Scope, attributes: &Attributes<'_>) -> PromotedColumns<'static> {
    let mut promoted = PromotedColumns::default();
    for column in PromotedColumn::ALL {
        let names = column.log_attributes();
        let value = match column.kind() {
            ColumnKind::Text => attributes.text(names).filter(|text| text.len() <= TEXT_BYTES_MAX),
            ColumnKind::Count | ColumnKind::Measure => attributes.number(names),
        };
        promoted[column] = value.map(Cow::Owned);
    }
    let known = [("claude", "claude-code"), ("codex", "codex"), ("gemini", "gemini")];
    let service = attributes.text(&["service.name"]).unwrap_or_default();
    let has_mark = |mark: &str| scope.name.contains(mark) || service.contains(mark);
    if let Some((_, agent)) = known.iter().find(|(mark, _)| has_mark(mark)) {
        promoted[PromotedColumn::Agent] = Some(Cow::Borrowed(agent));
    }
    promoted
}

/// A record's attributes, and after them those of what sent it.
struct Attributes<'a> {
    record: &'a [KeyValue],
    resource: &'a [KeyValue],
}

impl Attributes<'_> {
    fn find<T>(&self, names: &[&str], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        names.iter().find_map(|name| {
            let mut all = self.record.iter().chain(self.resource);
            let found = all.find(|attribute| attribute.key == *name)?;
            read(found.value.as_ref()?.value.as_ref()?)
        })
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// Some agents send their numbers as text.
    fn number(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            Value::Int(number) => Some(number.to_string()),
            Value::Double(number) => number.is_finite().then(|| number.to_string()),
            Value::String(text) => {
                serde_json::from_str::<serde_json::Number>(text.trim()).ok()?;
                Some(text.trim().to_owned())
            }
            _ => None,
        })
    }
}

/// The record as a JSON object: what was sent, without the wrapping of its values.
fn data(resource: &Resource, scope: &Scope, record: &LogRecord) -> String {
    let mut out = String::from("{\"body\":");
    any_value(record.body.as_ref(), &mut out);
    out.push_str(",\"attributes\":");
    object(&record.attributes, &mut out);
    // Writing to a string cannot fail.
    if record.severity_number != 0 {
        let _ = write!(out, ",\"severity_number\":{}", record.severity_number);
    }
    for (name, text) in [
        ("severity_text", &record.severity_text),
        ("trace_id", &hex(&record.trace_id)),
        ("span_id", &hex(&record.span_id)),
    ] {
        if !text.is_empty() {
            let _ = write!(out, ",\"{name}\":{}", json(text));
        }
    }
    out.push_str(",\"resource\":");
    object(&resource.attributes, &mut out);
    let _ = write!(out, ",\"scope\":{}", json(&scope.name));
    if !scope.version.is_empty() {
        let _ = write!(out, ",\"scope_version\":{}", json(&scope.version));
    }
    out.push('}');
    out
}

fn object(members: &[KeyValue], out: &mut String) {
    out.push('{');
    for (at, member) in members.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&json(&member.key));
        out.push(':');
        any_value(member.value.as_ref(), out);
    }
    out.push('}');
}

fn any_value(value: Option<&AnyValue>, out: &mut String) {
    match value.and_then(|value| value.value.as_ref()) {
        None => out.push_str("null"),
        Some(Value::String(text)) => out.push_str(&json(text)),
        Some(Value::Bool(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        Some(Value::Int(number)) => out.push_str(&number.to_string()),
        // What JSON has no number for is its name.
        Some(Value::Double(number)) if !number.is_finite() => {
            out.push_str(&json(&number.to_string()));
        }
        Some(Value::Double(number)) => out.push_str(&serde_json::Value::from(*number).to_string()),
        Some(Value::Array(array)) => {
            out.push('[');
            for (at, value) in array.values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                any_value(Some(value), out);
            }
            out.push(']');
        }
        Some(Value::Map(map)) => object(&map.values, out),
        Some(Value::Bytes(bytes)) => out.push_str(&json(&base64(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Base64 (RFC 4648), in which protobuf's JSON has bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for at in 0..4 {
            let six = (group >> (18 - 6 * at)) & 63;
            text.push(if at <= three.len() { ALPHABET[six as usize] as char } else { '=' });
        }
    }
    text
}
