//! Gemini CLI: <https://geminicli.com/docs/hooks/reference/>. Payloads do not have the ID of
//! the tool call, but the time at which the hook fired.

use super::agent::{AgentProfile, DEFAULT};
use super::names::snake_case;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "gemini",
    aliases: &["gemini-cli"],
    event_types: &[
        ("before_tool", "tool_execution_started"),
        ("after_tool", super::names::TOOL_COMPLETED),
        ("before_agent", "user_prompt_submitted"),
        ("after_agent", "agent_stopped"),
        ("before_model", "model_request_started"),
        ("after_model", "model_response_received"),
        ("pre_compress", "context_compacting"),
    ],
    failed: |payload| payload.has("tool_response/error"),
    recognizes: |payload| {
        let event = payload.text(&["hook_event_name"]).map(|name| snake_case(&name));
        let own = |event: String| {
            event.starts_with("before_") || event.starts_with("after_") || event == "pre_compress"
        };
        payload.has("timestamp") && event.is_some_and(own)
            || payload.text(&["transcript_path"]).is_some_and(|path| path.contains(".gemini"))
    },
    ..DEFAULT
};
