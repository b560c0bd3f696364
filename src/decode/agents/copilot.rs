//! Copilot CLI. With hooks configured in camel case, payloads do not have the event's name, so the URL must
//! have it (`/hooks/copilot/preToolUse`). In Pascal case, payloads are like those of Claude Code. It also
//! runs the hooks in `.claude/settings.json`.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "copilot",
    aliases: &["copilot-cli"],
    event_name_paths: &["hook_event_name", "hookEventName", "hookName"],
    session_paths: &["sessionId", "session_id"],
    columns: &[
        (PromotedColumn::ToolName, &["toolName", "tool_name"]),
        (PromotedColumn::ToolUseId, &["toolUseId", "toolCallId", "tool_use_id"]),
    ],
    event_types: &[
        ("user_prompt_submitted", "user_prompt_submitted"),
        ("agent_stop", "agent_stopped"),
        ("error_occurred", "agent_failed"),
    ],
    failed: |payload| {
        let result = payload.text(&["toolResult/resultType", "tool_result/result_type"]);
        payload.has("error") || result.is_some_and(|result| result != "success")
    },
    recognizes: |payload| {
        // Like Claude Code with the time. The agents before it in the list have other members, too.
        let session =
            payload.has("sessionId") || payload.has("hook_event_name") && payload.has("session_id");
        session && payload.has("timestamp")
    },
    ..DEFAULT
};
