//! Cline: <https://docs.cline.bot/features/hooks>. A task is a session.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "cline",
    event_name_paths: &["hookName"],
    session_paths: &["taskId"],
    columns: &[
        (PromotedColumn::ToolName, &["preToolUse/toolName", "postToolUse/toolName"]),
        (PromotedColumn::DurationMs, &["postToolUse/executionTimeMs", "postToolUse/durationMs"]),
    ],
    event_types: &[
        ("task_start", "session_started"),
        ("task_resume", "session_resumed"),
        ("task_cancel", "session_cancelled"),
        ("task_complete", "session_completed"),
    ],
    failed: |payload| payload.raw("postToolUse/success") == Some("false"),
    recognizes: |payload| payload.has("hookName") && payload.has("taskId"),
    ..DEFAULT
};
