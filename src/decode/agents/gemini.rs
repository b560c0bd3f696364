//! Gemini CLI: <https://geminicli.com/docs/hooks/reference/>. Payloads do not have the ID of
//! the tool call, but the time at which the hook fired.

use super::agent::{AgentProfile, DEFAULT};
use super::names::{TOOL_COMPLETED, TOOL_FAILED, snake_case};
use super::payload::Payload;

/// `PreCompress` fires before each request to the model, whether the context is then compressed or not.
const COMPRESS_CHECKED: &str = "context_size_checked";

pub(super) const AGENT: AgentProfile = AgentProfile {
    name: "gemini",
    aliases: &["gemini-cli"],
    event_types: &[
        ("before_tool", "tool_execution_started"),
        ("after_tool", TOOL_COMPLETED),
        ("before_agent", "user_prompt_submitted"),
        ("after_agent", "agent_stopped"),
        ("before_model", "model_request_started"),
        ("after_model", "model_response_received"),
        ("pre_compress", COMPRESS_CHECKED),
    ],
    type_from_content: |event_type, payload| match event_type {
        TOOL_COMPLETED if payload.has("tool_response/error") || command_failed(payload) => {
            Some(TOOL_FAILED)
        }
        COMPRESS_CHECKED if payload.text(&["trigger"]).as_deref() == Some("manual") => {
            Some("context_compacting")
        }
        _ => None,
    },
    recognizes: |payload| {
        let event = payload.text(&["hook_event_name"]).map(|name| snake_case(&name));
        let own = |event: String| {
            event.starts_with("before_") || event.starts_with("after_") || event == "pre_compress"
        };
        payload.has("timestamp") && event.is_some_and(own)
            || payload.text(&["transcript_path"]).is_some_and(|path| path.contains(".gemini"))
    },
    ..DEFAULT
};

/// Returns true if the command of the shell tool failed or was cancelled. The response is
/// `Output: ...`, and lines such as `Exit Code: 2`; without a failure there is no exit code. The output itself is
/// repeated in `returnDisplay`, so that such a line in it is not taken for the exit code.
fn command_failed(payload: &Payload<'_>) -> bool {
    if payload.text(&["tool_name"]).as_deref() != Some("run_shell_command") {
        return false;
    }
    let Some(response) = payload.text(&["tool_response/llmContent"]) else { return false };
    let response = response.trim();
    let response = response.strip_prefix("<untrusted_context>").unwrap_or(response);
    let response = response.strip_suffix("</untrusted_context>").unwrap_or(response).trim();
    let Some(output) = response.strip_prefix("Output: ") else {
        return response.starts_with("Command was cancelled")
            || response.starts_with("Command was automatically cancelled");
    };
    let is_failure = |line: &str| {
        ["Exit Code: ", "Signal: ", "Error: "].iter().any(|label| line.starts_with(label))
    };
    let display = payload.text(&["tool_response/returnDisplay"]);
    let after = display.and_then(|display| output.strip_prefix(display.trim_end()));
    if let Some(after) = after.or_else(|| output.strip_prefix("(empty)")) {
        return after.lines().any(is_failure);
    }
    // In a terminal, the output is repeated in another form. The last lines are those of the tool.
    let is_of_tool = |line: &&str| {
        is_failure(line)
            || line.starts_with("Background PIDs: ")
            || line.starts_with("Process Group PGID: ")
    };
    output.lines().rev().take_while(is_of_tool).any(is_failure)
}
