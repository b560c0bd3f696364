//! Resource and scope of a record, and what events take from them: session, agent, columns.

use std::borrow::Cow;
use std::fmt::Write as _;

use data_encoding::HEXLOWER;

use super::attributes::{Attributes, write_object};
use super::usage;
use super::wire::{InstrumentationScope, Resource, lossy};
use crate::decode::agents::bounded;
use crate::decode::fields::{Field, Fields};
use crate::event::{ColumnKind, PromotedColumn, PromotedColumns, Timestamp};
use crate::json::text::quoted;

/// Attributes with the ID of a session.
const SESSION: [&str; 4] =
    ["session.id", "conversation.id", "gen_ai.conversation.id", "session_id"];

/// A part of the names of service or scope, and the agent that has it.
const AGENTS: [(&str, &str); 5] = [
    ("claude", "claude-code"),
    ("codex", "codex"),
    ("gemini", "gemini"),
    ("qwen", "qwen"),
    ("copilot", "copilot"),
];

/// Resource and scope of a record.
#[derive(Clone, Copy)]
pub(super) struct RecordOrigin<'a> {
    pub(super) resource: &'a Resource,
    pub(super) scope: &'a InstrumentationScope,
}

impl RecordOrigin<'_> {
    /// Creates the fields of an event, without its ID, time and data.
    pub(super) fn fields(
        self,
        event_type: String,
        trace_id: &[u8],
        attributes: &Attributes<'_>,
    ) -> Fields<'static> {
        let mut fields = Fields::default();
        fields.set(Field::EventType, quoted(&bounded(event_type)));
        let session_id = bounded(session_id(trace_id, attributes));
        fields.set(Field::SessionId, quoted(&session_id));
        for (field, names) in [
            (Field::WorkflowId, &["workflow.id", "workflow_id"]),
            (Field::PhaseId, &["phase.id", "phase_id"]),
            (Field::MilestoneId, &["milestone.id", "milestone_id"]),
        ] {
            if let Some(id) = attributes.text(names) {
                fields.set(field, quoted(&bounded(id)));
            }
        }
        let mut promoted = self.promoted(attributes);
        promoted[PromotedColumn::ParentSessionId].take_if(|parent| **parent == session_id);
        fields.promoted = Some(promoted);
        fields
    }

    fn promoted(self, attributes: &Attributes<'_>) -> PromotedColumns<'static> {
        let mut promoted = PromotedColumns::default();
        for column in PromotedColumn::ALL {
            let names = column.log_attributes();
            let value = match column.kind() {
                ColumnKind::Text => attributes.text(names),
                ColumnKind::Count | ColumnKind::Measure => attributes.number(names),
            };
            promoted[column] = value.map(Cow::Owned);
        }
        if let Some(agent) = self.known_agent(attributes) {
            usage::correct(agent, attributes, &mut promoted);
            promoted[PromotedColumn::Agent] = Some(Cow::Borrowed(agent));
        }
        promoted
    }

    /// Returns the name of the agent, if it is a known one.
    fn known_agent(self, attributes: &Attributes<'_>) -> Option<&'static str> {
        let service = attributes.text(&["service.name"]).unwrap_or_default();
        let scope = lossy(&self.scope.name);
        let has_mark = |mark: &str| scope.contains(mark) || service.contains(mark);
        AGENTS.iter().find(|(mark, _)| has_mark(mark)).map(|(_, agent)| *agent)
    }

    /// Returns true if the agent reports usage in log records of its own, and the same in another form.
    pub(super) fn repeats_usage(self, attributes: &Attributes<'_>) -> bool {
        self.known_agent(attributes).is_some_and(|agent| agent != "copilot")
    }

    /// Appends the members `resource` and `scope`, and the end of the object.
    pub(super) fn finish(self, out: &mut String) {
        out.push_str(",\"resource\":");
        write_object(&self.resource.attributes, out);
        // Writing to a string cannot fail.
        let _ = write!(out, ",\"scope\":{}", quoted(&lossy(&self.scope.name)));
        if !self.scope.version.is_empty() {
            let version = quoted(&lossy(&self.scope.version));
            let _ = write!(out, ",\"scope_version\":{version}");
        }
        out.push('}');
    }
}

/// Returns the session of the agent, else the trace, else the service.
fn session_id(trace_id: &[u8], attributes: &Attributes<'_>) -> String {
    attributes
        .text(&SESSION)
        .or_else(|| Some(HEXLOWER.encode(trace_id)).filter(|id| !id.is_empty()))
        .or_else(|| attributes.text(&["service.instance.id", "service.name"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Appends a member with an ID, if there is one.
pub(super) fn write_id(name: &str, id: &[u8], out: &mut String) {
    if !id.is_empty() {
        let _ = write!(out, ",\"{name}\":\"{}\"", HEXLOWER.encode(id));
    }
}

/// Appends a member with a text, if there is one.
pub(super) fn write_text(name: &str, text: &[u8], out: &mut String) {
    if !text.is_empty() {
        let _ = write!(out, ",\"{name}\":{}", quoted(&lossy(text)));
    }
}

/// Returns the time in nanoseconds as a timestamp; `None` if there is none.
pub(super) fn timestamp(nanos: u64) -> Option<Timestamp> {
    // 2^64 ns is in the year 2554, which is a valid timestamp.
    Some(nanos)
        .filter(|nanos| *nanos > 0)
        .and_then(|nanos| Timestamp::from_micros((nanos / 1000) as i64))
}
