//! Copilot CLI: configured in camel case its bodies do not name the event, which the address must
//! do (`/hooks/copilot/preToolUse`); configured in Pascal case they are like Claude Code's. It also
//! runs the hooks of `.claude/settings.json`.

use super::{Agent, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: Agent = Agent {
    name: "copilot",
    aliases: &["copilot-cli"],
    event: &["hook_event_name", "hookEventName", "hookName"],
    session: &["sessionId", "session_id"],
    columns: &[
        (PromotedColumn::ToolName, &["toolName", "tool_name"]),
        (PromotedColumn::ToolUseId, &["toolUseId", "toolCallId", "tool_use_id"]),
    ],
    names: &[
        ("user_prompt_submitted", "user_prompt_submitted"),
        ("agent_stop", "agent_stopped"),
        ("error_occurred", "agent_failed"),
    ],
    failed: |payload| {
        let result = payload.text(&["toolResult/resultType", "tool_result/result_type"]);
        payload.has("error") || result.is_some_and(|result| result != "success")
    },
    recognised: |payload| {
        // Of those that are like Claude Code and say the time, this one says nothing else of its own.
        let session =
            payload.has("sessionId") || payload.has("hook_event_name") && payload.has("session_id");
        session && payload.has("timestamp")
    },
    ..DEFAULT
};
