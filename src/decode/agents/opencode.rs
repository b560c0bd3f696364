//! opencode: plugins receive `{type, properties}`. For the hooks around a tool call, which have no type, the
//! plugin sends name and arguments in the same form.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{PROMPT, TOOL_BLOCKED, TOOL_COMPLETED, TOOL_FAILED};
use super::payload::Payload;
use crate::event::PromotedColumn;

/// Each counts tokens that the others do not have.
const INPUT_TOKENS: [&str; 3] = [
    "properties/info/tokens/input",
    "properties/info/tokens/cache/read",
    "properties/info/tokens/cache/write",
];
const OUTPUT_TOKENS: [&str; 2] =
    ["properties/info/tokens/output", "properties/info/tokens/reasoning"];

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "opencode",
    event_name_paths: &["type"],
    session_paths: &[
        "properties/sessionID",
        "properties/info/sessionID",
        "properties/part/sessionID",
        "properties/info/id",
        "sessionID",
    ],
    columns: &[
        (PromotedColumn::ToolName, &["properties/tool", "properties/part/tool", "tool"]),
        (
            PromotedColumn::ToolUseId,
            &["properties/callID", "properties/part/callID", "properties/tool/callID", "callID"],
        ),
    ],
    event_types: &[
        ("tool_execute_before", "tool_execution_started"),
        ("tool_execute_after", TOOL_COMPLETED),
        ("chat_message", PROMPT),
        ("session_created", "session_started"),
        ("session_idle", "agent_stopped"),
        ("session_error", "agent_failed"),
        ("session_compacted", "context_compacted"),
        ("permission_asked", "permission_requested"),
        ("permission_updated", "permission_requested"),
    ],
    type_from_content: |event_type, payload| match event_type {
        TOOL_COMPLETED if has_failed(payload) => Some(TOOL_FAILED),
        // Failed tools have no `tool.execute.after`.
        "message_part_updated" => tool_error(payload),
        _ => None,
    },
    correct_columns: |payload, promoted| {
        let event = payload.text(&["type"]).unwrap_or_default();
        if event.starts_with("session.") {
            // The parent of a message is a message.
            promoted[PromotedColumn::ParentSessionId] = payload.text(&["properties/info/parentID"]);
        }
        // A message is updated with each piece of the answer. Its tokens are complete at the end; those of
        // a session are a sum.
        if event == "message.updated" && payload.has("properties/info/time/completed") {
            promoted[PromotedColumn::InputTokens] = payload.sum(&INPUT_TOKENS);
            promoted[PromotedColumn::OutputTokens] = payload.sum(&OUTPUT_TOKENS);
            promoted[PromotedColumn::CostUsd] = payload.number(&["properties/info/cost"]);
        }
    },
    recognizes: |payload| {
        payload.has("properties") && payload.has("type") || payload.has("sessionID")
    },
    ..DEFAULT
};

/// Returns true if the command of the tool failed.
fn has_failed(payload: &Payload<'_>) -> bool {
    payload.is_nonzero("properties/metadata/exit") || payload.is_nonzero("metadata/exit")
}

/// Returns the `event_type` of a part of a message that is a tool call with an error.
fn tool_error(payload: &Payload<'_>) -> Option<&'static str> {
    let is = |path, value| payload.text(&[path]).as_deref() == Some(value);
    if !is("properties/part/type", "tool") || !is("properties/part/state/status", "error") {
        return None;
    }
    let error = payload.text(&["properties/part/state/error"]).unwrap_or_default();
    let is_denied = error
        .starts_with("The user rejected permission to use this specific tool call")
        || error.starts_with("The user has specified a rule which prevents you from using");
    Some(if is_denied { TOOL_BLOCKED } else { TOOL_FAILED })
}
