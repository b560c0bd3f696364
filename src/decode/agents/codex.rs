//! Codex CLI. Payloads are like those of Claude Code, with the ID of the turn. The older `notify` program
//! gets a JSON object in kebab case.

use super::agent::{AgentProfile, DEFAULT};

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "codex",
    aliases: &["codex-cli"],
    event_name_paths: &["hook_event_name", "type"],
    session_paths: &["session_id", "thread-id", "conversation_id"],
    event_types: &[("agent_turn_complete", "agent_stopped")],
    recognizes: |payload| {
        payload.has("turn_id") && payload.has("hook_event_name")
            || payload.has("turn-id") && payload.has("type")
            || payload.text(&["transcript_path"]).is_some_and(|path| path.contains(".codex"))
    },
    ..DEFAULT
};
