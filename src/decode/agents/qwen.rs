//! Qwen Code. Payloads are like those of Claude Code, with the time at which the hook fired.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{PROMPT, prompt_type};
use crate::event::PromotedColumn;

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "qwen",
    aliases: &["qwen-code"],
    type_from_content: |event_type, payload| {
        // After a background task, the agent goes on without a prompt.
        let is_empty = event_type == PROMPT && payload.text(&["prompt"]).is_none();
        is_empty.then_some("agent_resumed").or_else(|| prompt_type(event_type, payload))
    },
    correct_columns: |_, promoted| {
        // `input_tokens` is the size of the context.
        promoted[PromotedColumn::InputTokens] = None;
    },
    recognizes: |payload| {
        payload.has("hook_event_name") && payload.has("timestamp") && payload.has("permission_mode")
            || payload.text(&["transcript_path"]).is_some_and(|path| path.contains(".qwen"))
    },
    ..DEFAULT
};
