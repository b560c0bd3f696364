//! Where each agent's hooks are registered, which of its events are asked for, and how an entry looks.
//! Left out are events that could block or break an agent, or that come with every part of an answer.

use std::path::PathBuf;

use clap::ValueEnum;

use super::edit::Entry;

/// An agent whose settings can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Agent {
    ClaudeCode,
    Codex,
    Gemini,
    Cursor,
    Copilot,
}

/// For whom hooks are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Scope {
    /// All that this user does.
    User,
    /// This directory, for everyone who works in it.
    Project,
}

/// Seconds that an agent waits for a hook. `emit` needs two at most; the server a few milliseconds.
const COMMAND_SECONDS: u32 = 4;
const HTTP_SECONDS: u32 = 2;

/// Tells our addresses from those that people write themselves.
const MARK: &str = "by=hooks-backend";

impl Agent {
    pub(in crate::cli) const ALL: [Self; 5] =
        [Self::ClaudeCode, Self::Codex, Self::Gemini, Self::Cursor, Self::Copilot];

    /// Its name, here and in addresses.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
            Self::Copilot => "copilot",
        }
    }

    /// The settings file, under the home or the project's directory.
    pub(in crate::cli) fn file(self, scope: Scope) -> PathBuf {
        PathBuf::from(match (self, scope) {
            (Self::ClaudeCode, _) => ".claude/settings.json",
            (Self::Codex, _) => ".codex/hooks.json",
            (Self::Gemini, _) => ".gemini/settings.json",
            (Self::Cursor, _) => ".cursor/hooks.json",
            (Self::Copilot, Scope::User) => ".copilot/hooks/hooks-backend.json",
            (Self::Copilot, Scope::Project) => ".github/hooks/hooks-backend.json",
        })
    }

    /// Whether the file needs `"version": 1`.
    pub(super) fn has_version(self) -> bool {
        matches!(self, Self::Cursor | Self::Copilot)
    }

    /// Whether the agent has this file for hooks alone, so that it goes with the last of them.
    pub(super) fn file_is_for_hooks(self) -> bool {
        matches!(self, Self::Cursor | Self::Copilot | Self::Codex)
    }

    /// What is registered for a server at `url`, with `program` as the command; `commands` alone, even
    /// where the agent could call the server itself.
    pub(super) fn entries(self, url: &str, program: &str, commands: bool) -> Vec<Entry> {
        let emit = |event: Option<&str>| {
            let event = event.map_or(String::new(), |event| format!(" --event {event}"));
            quoted(&format!("{program} emit --agent {}{event} --url {url}", self.name()))
        };
        let events: &[&'static str] = match self {
            Self::ClaudeCode => &[
                "SessionStart",
                "SessionEnd",
                "UserPromptSubmit",
                "PreToolUse",
                "PostToolUse",
                "PostToolUseFailure",
                "PermissionRequest",
                "PermissionDenied",
                "Notification",
                "SubagentStart",
                "SubagentStop",
                "Stop",
                "StopFailure",
                "PreCompact",
                "PostCompact",
                "TaskCreated",
                "TaskCompleted",
            ],
            Self::Codex => &[
                "SessionStart",
                "UserPromptSubmit",
                "PreToolUse",
                "PostToolUse",
                "PermissionRequest",
                "PreCompact",
                "PostCompact",
                "SubagentStart",
                "SubagentStop",
                "Stop",
            ],
            Self::Gemini => &[
                "SessionStart",
                "SessionEnd",
                "BeforeAgent",
                "AfterAgent",
                "BeforeTool",
                "AfterTool",
                "Notification",
                "PreCompress",
            ],
            Self::Cursor => &[
                "sessionStart",
                "sessionEnd",
                "beforeSubmitPrompt",
                "preToolUse",
                "postToolUse",
                "postToolUseFailure",
                "subagentStart",
                "subagentStop",
                "preCompact",
                "stop",
            ],
            Self::Copilot => &[
                "sessionStart",
                "sessionEnd",
                "userPromptSubmitted",
                "preToolUse",
                "postToolUse",
                "agentStop",
                "subagentStop",
                "errorOccurred",
            ],
        };
        let entry = |&event: &&'static str| {
            let json = match self {
                // Those that Claude Code calls over HTTP need no process; these it does not.
                Self::ClaudeCode if event != "SessionStart" && !commands => {
                    group(event, &http(event, url))
                }
                Self::ClaudeCode | Self::Codex => {
                    group(event, &command(&emit(None), "timeout", COMMAND_SECONDS))
                }
                // In milliseconds.
                Self::Gemini => {
                    group(event, &command(&emit(None), "timeout", COMMAND_SECONDS * 1000))
                }
                Self::Cursor => format!(
                    "{{\n  \"command\": {},\n  \"timeout\": {COMMAND_SECONDS}\n}}",
                    emit(None)
                ),
                Self::Copilot => format!(
                    "{{\n  \"type\": \"command\",\n  \"bash\": {},\n  \"timeoutSec\": {COMMAND_SECONDS}\n}}",
                    emit(Some(event))
                ),
            };
            Entry { event, json }
        };
        events.iter().map(entry).collect()
    }

    /// Whether an entry's text is one of ours.
    pub(in crate::cli) fn is_own(self, text: &str) -> bool {
        text.contains(MARK)
            || text.contains("hooks-backend")
                && text.contains(&format!(" emit --agent {}", self.name()))
    }
}

/// The server that one of our hooks leads to.
pub(super) fn server(hook: &str) -> &str {
    let address = hook.find("http://").or_else(|| hook.find("https://"));
    let address = address.map_or("", |at| &hook[at..]);
    let address = &address[..address.find(['"', ' ', '\'']).unwrap_or(address.len())];
    address.find("/hooks/").map_or(address, |path| &address[..path])
}

/// An entry for every tool, where the event is about one.
fn group(event: &str, hook: &str) -> String {
    let about_tools = event.contains("Tool") || event.contains("Permission");
    let matcher = if about_tools { "\n  \"matcher\": \"*\"," } else { "" };
    format!("{{{matcher}\n  \"hooks\": [\n    {}\n  ]\n}}", hook.replace('\n', "\n    "))
}

fn command(command: &str, unit: &str, time: u32) -> String {
    format!("{{\n  \"type\": \"command\",\n  \"command\": {command},\n  \"{unit}\": {time}\n}}")
}

/// A call that brings what is set in the agent's environment; what is not set comes empty. All hooks
/// at a session's end share a second and a half.
fn http(event: &str, url: &str) -> String {
    let url = quoted(&format!("{url}/hooks/claude-code?{MARK}"));
    let seconds = if event == "SessionEnd" { 1 } else { HTTP_SECONDS };
    format!(
        "{{\n  \"type\": \"http\",\n  \"url\": {url},\n  \"timeout\": {seconds},\n  \"headers\": {{ \
         \"Authorization\": \"Bearer $HOOKS_API_KEY\", \"X-Workflow-Id\": \"$WORKFLOW_ID\", \
         \"X-Phase-Id\": \"$PHASE_ID\", \"X-Milestone-Id\": \"$MILESTONE_ID\" }},\n  \
         \"allowedEnvVars\": [\"HOOKS_API_KEY\", \"WORKFLOW_ID\", \"PHASE_ID\", \"MILESTONE_ID\"]\n}}"
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
