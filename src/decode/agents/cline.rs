//! Cline: <https://docs.cline.bot/features/hooks>. A task is its session.

use super::{Agent, DEFAULT};

pub(super) const AGENT: Agent = Agent {
    name: "cline",
    event: &["hookName"],
    session: &["taskId"],
    tool: &["preToolUse/toolName", "postToolUse/toolName"],
    duration: &["postToolUse/executionTimeMs", "postToolUse/durationMs"],
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
