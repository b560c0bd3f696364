//! Cursor: <https://cursor.com/docs/hooks>. It also runs the hooks in `~/.claude/settings.json`.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "cursor",
    session_paths: &["conversation_id", "session_id"],
    columns: &[
        (PromotedColumn::DurationMs, &["duration_ms", "duration"]),
        (PromotedColumn::ParentSessionId, &["parent_conversation_id"]),
    ],
    event_types: &[
        ("before_submit_prompt", "user_prompt_submitted"),
        ("before_shell_execution", "shell_execution_started"),
        ("after_shell_execution", "shell_execution_completed"),
        ("before_mcp_execution", "mcp_execution_started"),
        ("after_mcp_execution", "mcp_execution_completed"),
        ("before_read_file", "file_read_started"),
        ("after_file_edit", "file_edited"),
        ("after_agent_response", "agent_responded"),
        ("after_agent_thought", "agent_thought"),
    ],
    recognizes: |payload| {
        payload.has("conversation_id")
            && ["generation_id", "workspace_roots", "cursor_version"]
                .iter()
                .any(|mark| payload.has(mark))
    },
    ..DEFAULT
};
