//! Claude Code: <https://code.claude.com/docs/en/hooks>. Its payloads are what most others follow.

use super::{Agent, DEFAULT};

pub(super) const AGENT: Agent = Agent {
    name: "claude-code",
    aliases: &["claude"],
    recognised: |payload| {
        payload.has("hook_event_name") && payload.has("session_id") && !payload.has("timestamp")
    },
    ..DEFAULT
};
