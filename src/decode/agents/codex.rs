//! Codex CLI. Payloads are like those of Claude Code, with the ID of the turn. The older `notify` program
//! gets a JSON object in kebab case.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{TOOL_COMPLETED, TOOL_FAILED, prompt_type};

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "codex",
    aliases: &["codex-cli"],
    event_name_paths: &["hook_event_name", "type"],
    session_paths: &["session_id", "thread-id", "conversation_id"],
    event_types: &[("agent_turn_complete", "agent_stopped"), ("interrupt", "agent_stopped")],
    type_from_content: |event_type, payload| {
        // Only tools of MCP servers report a failure: the output of a command comes without its exit status.
        let failed = payload.raw("tool_response/isError") == Some("true");
        let is_failure = event_type == TOOL_COMPLETED && failed;
        is_failure.then_some(TOOL_FAILED).or_else(|| prompt_type(event_type, payload))
    },
    recognizes: |payload| {
        // Claude Code has the IDs of prompt and turn when it displays a message.
        payload.has("turn_id") && payload.has("hook_event_name") && !payload.has("prompt_id")
            || payload.has("turn-id") && payload.has("type")
            || payload.text(&["transcript_path"]).is_some_and(|path| path.contains(".codex"))
    },
    ..DEFAULT
};
