//! `OpenHands`: the event's name is in `event_type`. It also posts its events to `/events`.

use std::borrow::Cow;

use super::agent::{AgentProfile, DEFAULT};
use super::names::{TOOL_COMPLETED, TOOL_FAILED};
use super::payload::Payload;
use crate::decode::fields::{Field, Fields};
use crate::json::text::{quoted, unescape};

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "openhands",
    event_name_paths: &["event_type", "hook_event_name"],
    type_from_content: |event_type, payload| {
        // The exit code is -1 while a command is still running.
        let exit_code = payload.number(&["tool_response/exit_code"]);
        let failed = exit_code.is_some_and(|code| !matches!(&*code, "0" | "-1"))
            || payload.raw("tool_response/is_error") == Some("true");
        (event_type == TOOL_COMPLETED && failed).then_some(TOOL_FAILED)
    },
    recognizes: |payload| payload.has("event_type") && !payload.has("hook_event_name"),
    ..DEFAULT
};

/// Maps `{event_type: "PreToolUse", session_id, tool_name, ...}`, an event posted to `/events`. All
/// members become `data`.
pub(super) fn map_fields(mut fields: Fields<'_>) -> Fields<'_> {
    let event_type = fields.get(Field::EventType).unwrap_or_default().to_owned();
    let extra = fields.take_extra();
    let members = extra.iter().filter_map(|(name, raw)| match raw {
        Cow::Borrowed(raw) => Some((Cow::Owned(unescape(name).into_owned()), *raw)),
        Cow::Owned(_) => None,
    });
    let payload: Payload<'_> = members.collect();
    fields.promoted = Some(AGENT.promoted(&payload, ""));
    let mut data = format!("{{\"event_type\":{event_type}");
    for (name, raw) in &extra {
        data.push(',');
        data.push_str(name);
        data.push(':');
        data.push_str(raw);
    }
    data.push('}');
    fields.set(Field::Data, data);
    if event_type.starts_with('"') {
        let event_type = AGENT.event_type(&unescape(&event_type), &payload);
        fields.set(Field::EventType, quoted(&event_type));
    }
    fields
}
