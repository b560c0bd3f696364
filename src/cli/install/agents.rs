//! The hooks of each agent: the settings file, the events, and the form of an entry.
//! Events that can block or fail the agent, and events sent for each piece of a streamed response,
//! are not registered.

use std::path::PathBuf;

use clap::ValueEnum;
use jsonc_parser::cst::CstInputValue;
use jsonc_parser::json;

use super::document::Entry;

/// An agent whose settings `install` can edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Agent {
    ClaudeCode,
    Codex,
    Gemini,
    Cursor,
    Copilot,
}

/// The settings file to edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Scope {
    /// The user's settings: every session of this user.
    User,
    /// The project's settings: every user in this directory.
    Project,
}

/// Hook timeouts in seconds. `emit` takes at most two seconds, the server a few milliseconds.
const COMMAND_TIMEOUT_SECONDS: u32 = 4;
const HTTP_TIMEOUT_SECONDS: u32 = 2;
/// Claude Code gives all hooks of `SessionEnd` together 1.5 seconds.
const SESSION_END_TIMEOUT_SECONDS: u32 = 1;

/// Query parameter that marks the URLs we registered.
const MARK: &str = "by=hooks-backend";

const CLAUDE_CODE_EVENTS: &[&str] = &[
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
];

const CODEX_EVENTS: &[&str] = &[
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
];

const GEMINI_EVENTS: &[&str] = &[
    "SessionStart",
    "SessionEnd",
    "BeforeAgent",
    "AfterAgent",
    "BeforeTool",
    "AfterTool",
    "Notification",
    "PreCompress",
];

const CURSOR_EVENTS: &[&str] = &[
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
];

const COPILOT_EVENTS: &[&str] = &[
    "sessionStart",
    "sessionEnd",
    "userPromptSubmitted",
    "preToolUse",
    "postToolUse",
    "agentStop",
    "subagentStop",
    "errorOccurred",
];

/// The server and the command that hooks are registered for.
pub(super) struct Destination<'a> {
    /// Base URL of the server.
    pub(super) url: &'a str,
    /// Path of this program, quoted for a shell.
    pub(super) program: &'a str,
    /// Register commands even where the agent can send HTTP requests itself.
    pub(super) commands_only: bool,
}

impl Agent {
    pub(in crate::cli) const ALL: [Self; 5] =
        [Self::ClaudeCode, Self::Codex, Self::Gemini, Self::Cursor, Self::Copilot];

    /// The name on the command line and in `/hooks/{agent}`.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
            Self::Copilot => "copilot",
        }
    }

    /// Path of the settings file, relative to the home or the project directory.
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

    /// True if the file must have `"version": 1`.
    pub(super) fn has_version(self) -> bool {
        matches!(self, Self::Cursor | Self::Copilot)
    }

    /// True if the file holds only hooks, so that it is deleted together with the last one.
    pub(super) fn file_is_for_hooks(self) -> bool {
        matches!(self, Self::Cursor | Self::Copilot | Self::Codex)
    }

    /// The events to register.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeCode => CLAUDE_CODE_EVENTS,
            Self::Codex => CODEX_EVENTS,
            Self::Gemini => GEMINI_EVENTS,
            Self::Cursor => CURSOR_EVENTS,
            Self::Copilot => COPILOT_EVENTS,
        }
    }

    /// The entries to register.
    pub(super) fn entries(self, to: &Destination) -> Vec<Entry> {
        let entry = |&event| Entry { event, value: self.entry(event, to) };
        self.events().iter().map(entry).collect()
    }

    fn entry(self, event: &str, to: &Destination) -> CstInputValue {
        let emit = |arguments: &str| {
            format!("{} emit --agent {}{arguments} --url {}", to.program, self.name(), to.url)
        };
        let seconds = COMMAND_TIMEOUT_SECONDS;
        match self {
            // Claude Code has no HTTP hooks for SessionStart.
            Self::ClaudeCode if event != "SessionStart" && !to.commands_only => {
                group(event, http(event, to.url))
            }
            Self::ClaudeCode | Self::Codex => group(event, command(&emit(""), seconds)),
            // Gemini's timeouts are in milliseconds.
            Self::Gemini => group(event, command(&emit(""), seconds * 1000)),
            Self::Cursor => json!({ "command": (emit("")), "timeout": seconds }),
            Self::Copilot => json!({
                "type": "command",
                "bash": (emit(&format!(" --event {event}"))),
                "timeoutSec": seconds,
            }),
        }
    }

    /// True if the text of a hook or entry was registered by `install`.
    pub(in crate::cli) fn is_own(self, text: &str) -> bool {
        text.contains(MARK)
            || text.contains("hooks-backend")
                && text.contains(&format!(" emit --agent {}", self.name()))
    }
}

/// Base URL of the server in the text of one of our hooks.
pub(super) fn server(hook: &str) -> &str {
    let url = hook.find("http://").or_else(|| hook.find("https://"));
    let url = url.map_or("", |at| &hook[at..]);
    let url = &url[..url.find(['"', ' ', '\'']).unwrap_or(url.len())];
    url.find("/hooks/").map_or(url, |path| &url[..path])
}

/// A matcher group with one hook; events about tools match every tool.
fn group(event: &str, hook: CstInputValue) -> CstInputValue {
    let is_about_tools = event.contains("Tool") || event.contains("Permission");
    let hooks = ("hooks".to_owned(), CstInputValue::Array(vec![hook]));
    let matcher = is_about_tools.then(|| ("matcher".to_owned(), json!("*")));
    CstInputValue::Object(matcher.into_iter().chain([hooks]).collect())
}

fn command(command: &str, timeout: u32) -> CstInputValue {
    json!({ "type": "command", "command": command, "timeout": timeout })
}

/// An HTTP hook with headers from the agent's environment; unset variables become empty headers.
fn http(event: &str, url: &str) -> CstInputValue {
    let timeout =
        if event == "SessionEnd" { SESSION_END_TIMEOUT_SECONDS } else { HTTP_TIMEOUT_SECONDS };
    json!({
        "type": "http",
        "url": (format!("{url}/hooks/claude-code?{MARK}")),
        "timeout": timeout,
        "headers": {
            "Authorization": "Bearer $HOOKS_API_KEY",
            "X-Workflow-Id": "$WORKFLOW_ID",
            "X-Phase-Id": "$PHASE_ID",
            "X-Milestone-Id": "$MILESTONE_ID",
        },
        "allowedEnvVars": ["HOOKS_API_KEY", "WORKFLOW_ID", "PHASE_ID", "MILESTONE_ID"],
    })
}
