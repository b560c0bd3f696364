//! Claude Code: <https://code.claude.com/docs/en/hooks>. Most other agents follow its payloads.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{TOOL_BLOCKED, prompt_type};
use super::payload::Payload;
use crate::json::text::quoted;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "claude-code",
    aliases: &["claude"],
    type_from_content: |event_type, payload| match event_type {
        "tool_batch_completed" if payload.has("tool_use_id") => Some(TOOL_BLOCKED),
        // One of Claude Code's own helpers, which has no start.
        "subagent_stopped" if payload.raw("agent_type") == Some("\"\"") => {
            Some("internal_agent_stopped")
        }
        _ => prompt_type(event_type, payload),
    },
    further_payloads: denied_calls,
    recognizes: |payload| {
        payload.has("hook_event_name") && payload.has("session_id") && !payload.has("timestamp")
    },
    ..DEFAULT
};

/// Returns a payload for each denied call of a `PostToolBatch`: that of the batch, with the members of the
/// call instead of `tool_calls`. Without a person who could be asked, no other hook reports a denial.
fn denied_calls(batch: &Payload<'_>) -> Vec<String> {
    const OF_BATCH: [&str; 7] = [
        "session_id",
        "transcript_path",
        "cwd",
        "prompt_id",
        "agent_id",
        "agent_type",
        "hook_event_name",
    ];
    const OF_CALL: [&str; 4] = ["tool_name", "tool_input", "tool_use_id", "tool_response"];
    let calls = batch.elements("tool_calls").into_iter();
    let calls = calls.filter_map(|call| Payload::parse(call).ok());
    calls
        .filter(|call| call.has("tool_use_id") && is_denied(call))
        .map(|call| {
            let names = OF_BATCH.map(|name| (name, batch.raw(name)));
            let names = names.into_iter().chain(OF_CALL.map(|name| (name, call.raw(name))));
            let members: Vec<String> = names
                .filter_map(|(name, raw)| raw.map(|raw| format!("{}:{raw}", quoted(name))))
                .collect();
            format!("{{{}}}", members.join(","))
        })
        .collect()
}

/// Returns true if the response is exactly what Claude Code answers for a tool that it may not use.
fn is_denied(call: &Payload<'_>) -> bool {
    let Some(response) = call.text(&["tool_response"]) else { return false };
    let has_ends = |start, end| response.starts_with(start) && response.ends_with(end);
    !response.contains('\n')
        && (has_ends("Claude requested permissions to ", ", but you haven't granted it yet.")
            || has_ends("Permission to ", " has been denied."))
}
