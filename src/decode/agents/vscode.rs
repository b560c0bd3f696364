//! Copilot in VS Code: like Claude Code, with the time at which the hook fired.

use super::agent::{AgentProfile, DEFAULT};

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "vscode",
    aliases: &["vscode-copilot"],
    session_paths: &["session_id", "sessionId"],
    recognizes: |payload| {
        payload.has("hook_event_name") && payload.has("tool_use_id") && payload.has("timestamp")
            || payload
                .text(&["transcript_path"])
                .is_some_and(|path| path.contains("GitHub.copilot-chat"))
    },
    ..DEFAULT
};
