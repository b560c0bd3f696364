//! OpenTelemetry logs (OTLP/HTTP): each log record becomes one event.
//!
//! The `event_type` is the record's event name, such as `claude_code.api_request`, which differs from those
//! of the hooks of the same agent. Promoted columns are taken from the attributes of the known agents, and
//! from those of the semantic conventions for generative AI (`gen_ai.*`).
//!
//! Records do not have IDs. The event ID of a record with a time is a hash of the record, so that an
//! export that is sent again is stored once. A record without a time gets a random ID.

mod wire;

use std::borrow::Cow;
use std::fmt::Write as _;

use data_encoding::{BASE64, HEXLOWER};
use prost::Message;

use wire::{
    AnyValue, AttributeValue, ExportRequest, ExportRequestJson, InstrumentationScope, KeyValue,
    LogRecord, Resource,
};
pub use wire::{ExportResponse, PartialSuccess, RpcStatus};

use super::agents::bounded;
use super::body;
use super::context::Context;
use super::decoded::{DecodeError, Decoded, Invalid};
use super::fields::{Field, Fields};
use crate::event::{ColumnKind, PromotedColumn, PromotedColumns, TEXT_BYTES_MAX, Timestamp};
use crate::json::text::quoted;

/// The encoding of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Decodes an export of logs.
///
/// # Errors
/// If the body is not an export, or has too many records.
pub fn decode_logs(
    encoding: OtlpEncoding,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let mut collector =
        RecordCollector { context, decoded: Decoded::new(context, body.len()), index: 0 };
    let not_otlp = |error: &dyn std::fmt::Display| {
        DecodeError::NotJson(format!("not an OTLP ExportLogsServiceRequest: {error}"))
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
                read_object(body::text(body)?).map_err(|error| not_otlp(&error))?;
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

/// Parses a JSON object. Serde alone would accept an array of the members, too.
fn read_object<'j, T: serde::Deserialize<'j>>(json: &'j str) -> serde_json::Result<T> {
    if !json.trim_start().starts_with('{') {
        return Err(serde::de::Error::custom("must be an object"));
    }
    serde_json::from_str(json)
}

struct RecordCollector<'c> {
    context: &'c Context<'c>,
    decoded: Decoded,
    index: usize,
}

impl RecordCollector<'_> {
    fn add(
        &mut self,
        resource: &Resource,
        scope: &InstrumentationScope,
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

fn event(resource: &Resource, scope: &InstrumentationScope, record: &LogRecord) -> Fields<'static> {
    let attributes = Attributes { record: &record.attributes, resource: &resource.attributes };
    let data = data(resource, scope, record);
    let mut fields = Fields::default();
    fields.set(Field::EventType, quoted(&bounded(event_type(record, &attributes))));
    fields.set(Field::SessionId, quoted(&bounded(session_id(record, &attributes))));
    for (field, names) in [
        (Field::WorkflowId, &["workflow.id", "workflow_id"]),
        (Field::PhaseId, &["phase.id", "phase_id"]),
        (Field::MilestoneId, &["milestone.id", "milestone_id"]),
    ] {
        if let Some(id) = attributes.text(names) {
            fields.set(field, quoted(&bounded(id)));
        }
    }
    let nanos = Some(record.time_unix_nano).filter(|nanos| *nanos > 0);
    let nanos = nanos.unwrap_or(record.observed_time_unix_nano);
    if nanos > 0 {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(&nanos.to_le_bytes());
        hasher.update(data.as_bytes());
        fields.set(Field::EventId, format!("\"{:032x}\"", hasher.digest128()));
        // 2^64 ns is in the year 2554, which is a valid timestamp.
        if let Some(timestamp) = Timestamp::from_micros((nanos / 1000) as i64) {
            fields.set(Field::Timestamp, format!("\"{timestamp}\""));
        }
    }
    fields.set(Field::Data, data);
    fields.promoted = Some(promoted(scope, &attributes));
    fields
}

/// Returns the event name of a record, from where OpenTelemetry has it now, or had it before. In records of
/// Claude Code, the attribute is the last part of the name, and the body is the full name.
fn event_type(record: &LogRecord, attributes: &Attributes<'_>) -> String {
    if !record.event_name.is_empty() {
        return record.event_name.clone();
    }
    // Words with dots, as in `claude_code.api_request`; any other text is a log message.
    let is_name = |text: &&String| {
        let is_part = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
        text.contains('.') && text.bytes().all(is_part)
    };
    let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(AttributeValue::String(text)) => Some(text).filter(is_name),
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

/// Returns the session of the agent, else the trace, else the service.
fn session_id(record: &LogRecord, attributes: &Attributes<'_>) -> String {
    let names = ["session.id", "conversation.id", "gen_ai.conversation.id", "session_id"];
    attributes
        .text(&names)
        .or_else(|| Some(HEXLOWER.encode(&record.trace_id)).filter(|id| !id.is_empty()))
        .or_else(|| attributes.text(&["service.instance.id", "service.name"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn promoted(scope: &InstrumentationScope, attributes: &Attributes<'_>) -> PromotedColumns<'static> {
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

/// The attributes of a record, which take precedence over those of its resource.
struct Attributes<'a> {
    record: &'a [KeyValue],
    resource: &'a [KeyValue],
}

impl Attributes<'_> {
    fn find<T>(&self, names: &[&str], read: impl Fn(&AttributeValue) -> Option<T>) -> Option<T> {
        names.iter().find_map(|name| {
            let mut all = self.record.iter().chain(self.resource);
            let found = all.find(|attribute| attribute.key == *name)?;
            read(found.value.as_ref()?.value.as_ref()?)
        })
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            AttributeValue::String(text) => {
                Some(text.trim().to_owned()).filter(|text| !text.is_empty())
            }
            AttributeValue::Int(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// Returns the number of an attribute. Some agents send numbers as strings.
    fn number(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            AttributeValue::Int(number) => Some(number.to_string()),
            AttributeValue::Double(number) => number.is_finite().then(|| number.to_string()),
            AttributeValue::String(text) => {
                serde_json::from_str::<serde_json::Number>(text.trim()).ok()?;
                Some(text.trim().to_owned())
            }
            _ => None,
        })
    }
}

/// Returns the record as a JSON object, with the values of attributes as plain JSON.
fn data(resource: &Resource, scope: &InstrumentationScope, record: &LogRecord) -> String {
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
        ("trace_id", &HEXLOWER.encode(&record.trace_id)),
        ("span_id", &HEXLOWER.encode(&record.span_id)),
    ] {
        if !text.is_empty() {
            let _ = write!(out, ",\"{name}\":{}", quoted(text));
        }
    }
    out.push_str(",\"resource\":");
    object(&resource.attributes, &mut out);
    let _ = write!(out, ",\"scope\":{}", quoted(&scope.name));
    if !scope.version.is_empty() {
        let _ = write!(out, ",\"scope_version\":{}", quoted(&scope.version));
    }
    out.push('}');
    out
}

fn object(members: &[KeyValue], out: &mut String) {
    out.push('{');
    for (at, member) in members.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&quoted(&member.key));
        out.push(':');
        any_value(member.value.as_ref(), out);
    }
    out.push('}');
}

fn any_value(value: Option<&AnyValue>, out: &mut String) {
    match value.and_then(|value| value.value.as_ref()) {
        None => out.push_str("null"),
        Some(AttributeValue::String(text)) => out.push_str(&quoted(text)),
        Some(AttributeValue::Bool(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        Some(AttributeValue::Int(number)) => out.push_str(&number.to_string()),
        // JSON has no such numbers: NaN and infinity become strings.
        Some(AttributeValue::Double(number)) if !number.is_finite() => {
            out.push_str(&quoted(&number.to_string()));
        }
        Some(AttributeValue::Double(number)) => {
            out.push_str(&serde_json::Value::from(*number).to_string());
        }
        Some(AttributeValue::Array(array)) => {
            out.push('[');
            for (at, value) in array.values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                any_value(Some(value), out);
            }
            out.push(']');
        }
        Some(AttributeValue::Map(map)) => object(&map.values, out),
        Some(AttributeValue::Bytes(bytes)) => out.push_str(&quoted(&BASE64.encode(bytes))),
    }
}
