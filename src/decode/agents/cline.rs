//! Cline: <https://docs.cline.bot/features/hooks>. A task is a session.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "cline",
    event: &["hookName"],
    session: &["taskId"],
    columns: &[
        (PromotedColumn::ToolName, &["preToolUse/toolName", "postToolUse/toolName"]),
        (PromotedColumn::DurationMs, &["postToolUse/executionTimeMs", "postToolUse/durationMs"]),
    ],
    names: &[
        ("task_start", "session_started"),
        ("task_resume", "session_resumed"),
        ("task_cancel", "session_cancelled"),
        ("task_complete", "session_completed"),
    ],
    failed: |payload| payload.raw("postToolUse/success") == Some("false"),
    recognised: |payload| payload.has("hookName") && payload.has("taskId"),
    ..DEFAULT
};
