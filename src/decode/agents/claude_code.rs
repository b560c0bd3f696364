//! Claude Code: <https://code.claude.com/docs/en/hooks>. Most other agents follow its payloads.

use super::agent::{AgentProfile, DEFAULT};

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "claude-code",
    aliases: &["claude"],
    recognizes: |payload| {
        payload.has("hook_event_name") && payload.has("session_id") && !payload.has("timestamp")
    },
    ..DEFAULT
};
