//! Copilot CLI. With hooks configured in camel case, payloads do not have the event's name, so the URL must
//! have it (`/hooks/copilot/preToolUse`). In Pascal case, payloads are like those of Claude Code. It also
//! runs the hooks in `.claude/settings.json`. A sub-agent has a session of its own, whose ID is that of the
//! sub-agent.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{TOOL_BLOCKED, TOOL_COMPLETED, TOOL_FAILED, prompt_type};
use super::payload::Payload;
use crate::event::PromotedColumn;

const SESSION_ID: &[&str] = &["sessionId", "session_id"];
const AGENT_ID: &[&str] = &["agentId", "agent_id"];

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "copilot",
    aliases: &["copilot-cli"],
    event_name_paths: &["hook_event_name", "hookEventName", "hookName"],
    session_paths: SESSION_ID,
    columns: &[
        (PromotedColumn::ToolName, &["toolName", "tool_name"]),
        (PromotedColumn::ToolUseId, &["toolUseId", "toolCallId", "tool_use_id"]),
        (PromotedColumn::SubagentId, AGENT_ID),
        (PromotedColumn::ParentSessionId, &["parentAgentId", "parent_agent_id"]),
    ],
    event_types: &[
        ("user_prompt_submitted", "user_prompt_submitted"),
        ("agent_stop", "agent_stopped"),
        ("error_occurred", "agent_failed"),
    ],
    type_from_content: |event_type, payload| match event_type {
        TOOL_COMPLETED => tool_outcome(payload),
        // There is nobody whom a sub-agent could wait for.
        "agent_stopped" if is_subagent_session(payload) => Some("session_completed"),
        // In Pascal case, this one event has no name.
        "unknown" if payload.has("agentName") && payload.has("parent_agent_id") => {
            Some("subagent_started")
        }
        _ => prompt_type(event_type, payload),
    },
    recognizes: |payload| {
        // Like Claude Code with the time. The agents before it in the list have other members, too.
        let session =
            payload.has("sessionId") || payload.has("hook_event_name") && payload.has("session_id");
        session && payload.has("timestamp")
    },
    ..DEFAULT
};

fn is_subagent_session(payload: &Payload<'_>) -> bool {
    let subagent = payload.text(AGENT_ID);
    subagent.is_some() && subagent == payload.text(SESSION_ID)
}

/// Returns the `event_type` of a tool call that did not succeed. A command that fails is a success of the
/// tool; Copilot appends a last line with the exit code to its output.
fn tool_outcome(payload: &Payload<'_>) -> Option<&'static str> {
    match payload.text(&["toolResult/resultType", "tool_result/result_type"]).as_deref() {
        Some("denied" | "rejected") => return Some(TOOL_BLOCKED),
        Some("success") | None if !payload.has("error") => {}
        _ => return Some(TOOL_FAILED),
    }
    let tool = payload.text(&["toolName", "tool_name"])?.to_lowercase();
    let is_shell = tool.ends_with("bash") || tool.ends_with("powershell");
    let text = payload.text(&["toolResult/textResultForLlm", "tool_result/text_result_for_llm"])?;
    let last = text.trim_end().lines().next_back()?;
    let last = last.strip_prefix("<shellId: ")?.strip_suffix('>')?;
    let (_, exit_code) = last.split_once(" completed with exit code ")?;
    (is_shell && exit_code != "0").then_some(TOOL_FAILED)
}
