//! Spans: those of agents become events, as log records do.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::TimedFields;
use super::attributes::{Attributes, write_object};
use super::origin::{RecordOrigin, timestamp, write_id, write_text};
use super::proto_json::{SPAN_KINDS, STATUS_CODES};
use super::usage;
use super::wire::{Span, SpanEvent, lossy};
use crate::event::PromotedColumn;
use crate::json::text::quoted;

/// Prefixes of the attributes that only spans of agents have.
const AGENT_ATTRIBUTES: [&str; 5] = ["gen_ai.", "agent.", "agent_", "tool.", "tool_"];

/// Prefixes of the names of agents' own spans.
const AGENT_SPANS: [&str; 4] = ["claude_code.", "codex.", "gemini_cli.", "qwen-code."];

/// Operations whose usage is the sum of that of other spans.
const SUMS: [&str; 3] = ["invoke_agent", "invoke_workflow", "create_agent"];

/// Returns the event of a span; `None` if it is not about an agent.
pub(super) fn event(origin: RecordOrigin<'_>, span: &Span) -> Option<TimedFields> {
    let name = lossy(&span.name);
    let is_agents = AGENT_SPANS.iter().any(|prefix| name.starts_with(prefix))
        || span.attributes.iter().any(|attribute| {
            AGENT_ATTRIBUTES.iter().any(|prefix| attribute.key.starts_with(prefix.as_bytes()))
        });
    if !is_agents {
        return None;
    }
    let resource = &origin.resource.attributes;
    let attributes = Attributes { record: &span.attributes, resource };
    let operation = attributes.text(&["gen_ai.operation.name"]).unwrap_or_default();
    let mut fields = origin.fields(event_type(&name, &operation), &span.trace_id, &attributes);
    // The known agents report usage in log records.
    if origin.repeats_usage(&attributes) || SUMS.contains(&&*operation) {
        usage::remove(&mut fields);
    }
    if let Some(nanos) = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano)
        && span.start_time_unix_nano > 0
        && let Some(promoted) = &mut fields.promoted
    {
        let duration_ms = nanos as f64 / 1e6;
        promoted[PromotedColumn::DurationMs] = Some(Cow::Owned(duration_ms.to_string()));
    }
    let nanos = Some(span.start_time_unix_nano).filter(|nanos| *nanos > 0);
    let nanos = nanos.unwrap_or(span.end_time_unix_nano);
    Some(TimedFields { fields, nanos, data: data(origin, span) })
}

/// Returns the `event_type` of a span. It has a dot, by which telemetry differs from hooks.
fn event_type(name: &str, operation: &str) -> String {
    match (name.trim(), operation) {
        (name, "") if name.contains('.') => name.to_owned(),
        (name, "") => format!("span.{name}"),
        (_, operation) => format!("gen_ai.{operation}"),
    }
}

/// Returns the span as a JSON object, with the values of attributes as plain JSON.
fn data(origin: RecordOrigin<'_>, span: &Span) -> String {
    let name = |names: &[&'static str], number: i32| {
        usize::try_from(number).ok().and_then(|at| names.get(at).copied()).unwrap_or("unknown")
    };
    let mut out = format!("{{\"name\":{}", quoted(&lossy(&span.name)));
    // Writing to a string cannot fail.
    if span.kind != 0 {
        let _ = write!(out, ",\"kind\":\"{}\"", name(&SPAN_KINDS, span.kind));
    }
    write_time("start_time", span.start_time_unix_nano, &mut out);
    write_time("end_time", span.end_time_unix_nano, &mut out);
    let status = span.status.clone().unwrap_or_default();
    let _ = write!(out, ",\"status\":\"{}\"", name(&STATUS_CODES, status.code));
    write_text("status_message", &status.message, &mut out);
    out.push_str(",\"attributes\":");
    write_object(&span.attributes, &mut out);
    if !span.events.is_empty() {
        write_events(&span.events, &mut out);
    }
    write_id("trace_id", &span.trace_id, &mut out);
    write_id("span_id", &span.id, &mut out);
    write_id("parent_span_id", &span.parent_span_id, &mut out);
    origin.finish(&mut out);
    out
}

fn write_events(events: &[SpanEvent], out: &mut String) {
    out.push_str(",\"events\":[");
    for (at, event) in events.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        let _ = write!(out, "{{\"name\":{}", quoted(&lossy(&event.name)));
        write_time("timestamp", event.time_unix_nano, out);
        out.push_str(",\"attributes\":");
        write_object(&event.attributes, out);
        out.push('}');
    }
    out.push(']');
}

/// Appends a member with a time, if there is one.
fn write_time(name: &str, nanos: u64, out: &mut String) {
    if let Some(time) = timestamp(nanos) {
        let _ = write!(out, ",\"{name}\":\"{time}\"");
    }
}
