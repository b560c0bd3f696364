//! Cline: <https://docs.cline.bot/features/hooks>. A task is a session, that of a sub-agent too. Version 3 names its events
//! `tool_call` or `agent_end`, and has the members of older versions, too.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{PROMPT, TOOL_COMPLETED, TOOL_FAILED, TOOL_STARTED};
use super::payload::Payload;
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "cline",
    event_name_paths: &["hookName"],
    session_paths: &["taskId"],
    columns: &[
        (
            PromotedColumn::ToolName,
            &["tool_call/name", "tool_result/name", "preToolUse/toolName", "postToolUse/toolName"],
        ),
        (PromotedColumn::ToolUseId, &["tool_call/id", "tool_result/id"]),
        (
            PromotedColumn::DurationMs,
            &["tool_result/durationMs", "postToolUse/executionTimeMs", "postToolUse/durationMs"],
        ),
    ],
    event_types: &[
        ("task_start", "session_started"),
        ("task_resume", "session_resumed"),
        ("task_cancel", "session_cancelled"),
        ("task_complete", "session_completed"),
        ("agent_start", "session_started"),
        ("agent_resume", "session_resumed"),
        ("agent_abort", "session_cancelled"),
        ("agent_error", "agent_failed"),
        ("agent_end", "session_completed"),
        ("session_shutdown", "session_completed"),
        ("prompt_submit", PROMPT),
        ("tool_call", TOOL_STARTED),
        ("tool_result", TOOL_COMPLETED),
    ],
    type_from_content: |event_type, payload| match event_type {
        TOOL_COMPLETED if has_failed(payload) => Some(TOOL_FAILED),
        PROMPT if is_subagent(payload) => Some("subagent_prompt_submitted"),
        _ => None,
    },
    correct_columns: |payload, promoted| {
        // The main agent has an ID, too.
        if !is_subagent(payload) {
            promoted[PromotedColumn::SubagentId] = None;
        }
    },
    recognizes: |payload| payload.has("hookName") && payload.has("taskId"),
    ..DEFAULT
};

fn is_subagent(payload: &Payload<'_>) -> bool {
    payload.has("parent_agent_id")
}

/// Returns true if the tool or one of its commands failed. `postToolUse` of version 3 says that all succeed.
fn has_failed(payload: &Payload<'_>) -> bool {
    let is_failure = |output: &&str| {
        Payload::parse(output).is_ok_and(|output| output.raw("success") == Some("false"))
    };
    payload.raw("postToolUse/success") == Some("false")
        || payload.has("tool_result/error")
        || payload.elements("tool_result/output").iter().any(is_failure)
}
