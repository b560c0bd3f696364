//! Windsurf: <https://docs.windsurf.com/windsurf/cascade/hooks>. The name of an action
//! combines phase and tool; a trajectory is a session.

use super::agent::{AgentProfile, DEFAULT};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "windsurf",
    event_name_paths: &["agent_action_name"],
    session_paths: &["trajectory_id"],
    columns: &[(PromotedColumn::ToolName, &["tool_info/mcp_tool_name"])],
    tool_from_event: |action| match action {
        "pre_user_prompt" | "post_cascade_response" => None,
        action => action.strip_prefix("pre_").or_else(|| action.strip_prefix("post_")),
    },
    event_types: &[
        ("pre_user_prompt", "user_prompt_submitted"),
        ("post_cascade_response", "agent_responded"),
        ("pre_read_code", "tool_execution_started"),
        ("post_read_code", super::names::TOOL_COMPLETED),
        ("pre_write_code", "tool_execution_started"),
        ("post_write_code", super::names::TOOL_COMPLETED),
        ("pre_run_command", "tool_execution_started"),
        ("post_run_command", super::names::TOOL_COMPLETED),
        ("pre_mcp_tool_use", "tool_execution_started"),
        ("post_mcp_tool_use", super::names::TOOL_COMPLETED),
    ],
    recognizes: |payload| payload.has("agent_action_name"),
    ..DEFAULT
};
