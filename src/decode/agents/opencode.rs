//! opencode: plugins receive `{type, properties}`. For the hooks around a tool call, which have no type, the
//! plugin sends name and arguments in the same form.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

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
        (PromotedColumn::ToolUseId, &["properties/callID", "properties/part/callID", "callID"]),
        (PromotedColumn::ParentSessionId, &["properties/info/parentID"]),
    ],
    event_types: &[
        ("tool_execute_before", "tool_execution_started"),
        ("tool_execute_after", super::names::TOOL_COMPLETED),
        ("session_created", "session_started"),
        ("session_idle", "agent_stopped"),
        ("session_error", "agent_failed"),
        ("session_compacted", "context_compacted"),
        ("permission_asked", "permission_requested"),
        ("permission_updated", "permission_requested"),
    ],
    recognizes: |payload| {
        payload.has("properties") && payload.has("type") || payload.has("sessionID")
    },
    ..DEFAULT
};
