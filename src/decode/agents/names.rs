//! Event names: those of agents, and the `event_type` they become.

use super::payload::Payload;
use crate::event::TEXT_BYTES_MAX;

/// Pairs (event name in snake case, `event_type`).
pub(super) type EventTypes = &'static [(&'static str, &'static str)];

/// Names that most agents use, because they follow Claude Code.
const COMMON: EventTypes = &[
    ("session_start", "session_started"),
    ("session_end", "session_completed"),
    ("user_prompt_submit", "user_prompt_submitted"),
    ("pre_tool_use", "tool_execution_started"),
    ("post_tool_use", TOOL_COMPLETED),
    ("post_tool_use_failure", TOOL_FAILED),
    ("post_tool_batch", "tool_batch_completed"),
    ("permission_request", "permission_requested"),
    ("permission_denied", "tool_blocked"),
    ("notification", "system_notification"),
    ("subagent_start", "subagent_started"),
    ("subagent_stop", "subagent_stopped"),
    ("stop", "agent_stopped"),
    ("stop_failure", "agent_failed"),
    ("pre_compact", "context_compacting"),
    ("post_compact", "context_compacted"),
    ("task_created", "task_created"),
    ("task_completed", "task_completed"),
];

pub(super) const PROMPT: &str = "user_prompt_submitted";
pub(super) const TOOL_STARTED: &str = "tool_execution_started";
pub(super) const TOOL_COMPLETED: &str = "tool_execution_completed";
pub(super) const TOOL_FAILED: &str = "tool_execution_failed";
pub(super) const TOOL_BLOCKED: &str = "tool_blocked";

/// Returns the `event_type` that the content of the payload shows, for what most agents report in the same way.
pub(super) fn common_type_from_content(
    event_type: &str,
    payload: &Payload<'_>,
) -> Option<&'static str> {
    match event_type {
        // The same session goes on with a shorter context.
        "session_started" if payload.text(&["source"]).as_deref() == Some("compact") => {
            Some("session_resumed")
        }
        "agent_stopped" if has_running_tasks(payload) => Some("background_tasks_awaited"),
        _ => None,
    }
}

/// Returns true if background tasks are running, so that the agent goes on when they end.
fn has_running_tasks(payload: &Payload<'_>) -> bool {
    let is_running = |task: &&str| {
        let status = Payload::parse(task).ok().and_then(|task| task.text(&["status"]));
        matches!(status.as_deref(), Some("running" | "pending"))
    };
    payload.elements("background_tasks").iter().any(is_running)
}

/// Returns the `event_type` of a prompt that no person wrote: a notification of a background task, or the
/// prompt that an agent gives its sub-agent.
pub(super) fn prompt_type(event_type: &str, payload: &Payload<'_>) -> Option<&'static str> {
    if event_type != PROMPT {
        return None;
    }
    let prompt = payload.text(&["prompt"]);
    let is_notification = |prompt: &str| {
        let prompt = prompt.trim();
        prompt.starts_with("<task-notification>") && prompt.ends_with("</task-notification>")
    };
    if prompt.is_some_and(|prompt| is_notification(&prompt)) {
        Some("task_notification")
    } else if payload.has("agent_id") || payload.has("agentId") {
        Some("subagent_prompt_submitted")
    } else {
        None
    }
}

/// Returns the `event_type` of an agent's event: by the agent's pairs, else by the common ones, else the
/// name in snake case.
pub(super) fn event_type(name: &str, own: EventTypes) -> String {
    let snake = snake_case(name);
    let known = own.iter().chain(COMMON).find(|(theirs, _)| *theirs == snake);
    match known {
        Some((_, ours)) => (*ours).to_owned(),
        None if snake.is_empty() => "unknown".to_owned(),
        None => bounded(snake),
    }
}

/// Returns a name in snake case. `PreToolUse`, `preToolUse`, `pre-tool-use` and `pre.tool.use` become
/// `pre_tool_use`, and `beforeMCPExecution` becomes `before_mcp_execution`.
pub(super) fn snake_case(name: &str) -> String {
    let characters: Vec<char> = name.trim().chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            if !snake.ends_with('_') {
                snake.push('_');
            }
            continue;
        }
        let before = at.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(at + 1);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || before.is_uppercase() && after.is_some_and(|after| after.is_lowercase())
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// Returns a text in at most the length of an ID: a longer one is shortened and gets a hash of the whole.
pub(in crate::decode) fn bounded(text: String) -> String {
    const HASH_BYTES: usize = 33;
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    let mut end = TEXT_BYTES_MAX - HASH_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{hash:032x}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_of_all_spellings() {
        for (name, snake) in [
            ("PreToolUse", "pre_tool_use"),
            ("preToolUse", "pre_tool_use"),
            ("agent-turn-complete", "agent_turn_complete"),
            ("tool.execute.before", "tool_execute_before"),
            ("beforeMCPExecution", "before_mcp_execution"),
            ("HTTP2Seen", "http2_seen"),
            ("already_snake", "already_snake"),
            (" Über Groß ", "über_groß"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn long_names_are_shortened_with_a_hash() {
        let long = bounded("ü".repeat(300));
        assert!(long.len() <= TEXT_BYTES_MAX, "{}", long.len());
        assert_ne!(long, bounded("ü".repeat(301)));
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
