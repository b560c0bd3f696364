//! The hooks of each agent: the settings file, the events, and the form of an entry.
//!
//! Hooks are commands that do not wait for the server: `emit --background` returns at once, and where the
//! agent has `async`, it does not even wait for that. Agents kill `async` hooks that still run when they exit, so the
//! hooks of events after which an agent may exit are never `async`. Only the last hook of a session waits
//! for the response: afterwards the machine or container may be gone.
//!
//! Events that can block or fail the agent, and events sent for each piece of a streamed response,
//! are not registered; docs/agents.md gives the reason for each.

use std::path::PathBuf;

use clap::ValueEnum;
use jsonc_parser::cst::CstInputValue;
use jsonc_parser::json;

use super::document::HookEntry;

/// An agent whose settings `install` can edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Agent {
    ClaudeCode,
    Codex,
    Gemini,
    Cursor,
    Copilot,
    Qwen,
}

/// The settings file to edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum SettingsScope {
    /// The user's settings: every session of this user.
    User,
    /// The project's settings: every user in this directory.
    Project,
}

/// Hook timeouts in seconds. `emit` takes at most two seconds, the server a few milliseconds.
const COMMAND_TIMEOUT_SECONDS: u32 = 4;
/// Codex allows no more for `SessionEnd` and `Interrupt`, and warns at each start about a longer one.
const CODEX_END_TIMEOUT_SECONDS: u32 = 3;
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
    "TeammateIdle",
    "PostToolBatch",
    "Elicitation",
    "ElicitationResult",
    "PostModelSwitch",
    "ConfigChange",
    "CwdChanged",
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
    "Interrupt",
    "SessionEnd",
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
    "postToolUseFailure",
    "permissionRequest",
    "notification",
    "preCompact",
    "agentStop",
    "subagentStart",
    "subagentStop",
    "errorOccurred",
];

const QWEN_EVENTS: &[&str] = &[
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
    "TodoCreated",
    "TodoCompleted",
];

/// The server and the command that hooks are registered for.
pub(super) struct Destination<'a> {
    /// Base URL of the server.
    pub(super) url: &'a str,
    /// Path of this program, quoted for a shell.
    pub(super) program: &'a str,
    /// Register HTTP requests instead of commands where the agent can send them.
    pub(super) http: bool,
    /// The settings file to which the hooks are added.
    pub(super) scope: SettingsScope,
}

impl Agent {
    pub(in crate::cli) const ALL: [Self; 6] =
        [Self::ClaudeCode, Self::Codex, Self::Gemini, Self::Cursor, Self::Copilot, Self::Qwen];

    /// The name on the command line and in `/hooks/{agent}`.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
            Self::Copilot => "copilot",
            Self::Qwen => "qwen",
        }
    }

    /// Path of the settings file, relative to the home or the project directory.
    pub(in crate::cli) fn file(self, scope: SettingsScope) -> PathBuf {
        PathBuf::from(match (self, scope) {
            (Self::ClaudeCode, _) => ".claude/settings.json",
            (Self::Codex, _) => ".codex/hooks.json",
            (Self::Gemini, _) => ".gemini/settings.json",
            (Self::Cursor, _) => ".cursor/hooks.json",
            (Self::Copilot, SettingsScope::User) => ".copilot/hooks/hooks-backend.json",
            (Self::Copilot, SettingsScope::Project) => ".github/hooks/hooks-backend.json",
            (Self::Qwen, _) => ".qwen/settings.json",
        })
    }

    /// The environment variable that replaces the directory of the user's settings.
    pub(super) fn directory_variable(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some("CLAUDE_CONFIG_DIR"),
            Self::Codex => Some("CODEX_HOME"),
            Self::Copilot => Some("COPILOT_HOME"),
            Self::Gemini | Self::Cursor | Self::Qwen => None,
        }
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
    pub(super) fn events(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeCode => CLAUDE_CODE_EVENTS,
            Self::Codex => CODEX_EVENTS,
            Self::Gemini => GEMINI_EVENTS,
            Self::Cursor => CURSOR_EVENTS,
            Self::Copilot => COPILOT_EVENTS,
            Self::Qwen => QWEN_EVENTS,
        }
    }

    /// The entries to register.
    pub(super) fn entries(self, to: &Destination) -> Vec<HookEntry> {
        let entry = |&event| HookEntry { event, value: self.entry(event, to) };
        self.events().iter().map(entry).collect()
    }

    fn entry(self, event: &str, to: &Destination) -> CstInputValue {
        let command = self.command(event, to);
        let seconds = COMMAND_TIMEOUT_SECONDS;
        match self {
            // Claude Code has no HTTP hooks for SessionStart.
            Self::ClaudeCode if event != "SessionStart" && to.http => {
                group(event, http(event, to.url))
            }
            Self::ClaudeCode | Self::Codex if self.is_async(event) => group(
                event,
                json!({ "type": "command", "command": command, "timeout": seconds, "async": true }),
            ),
            Self::Codex if matches!(event, "SessionEnd" | "Interrupt") => {
                group(event, plain_command(&command, CODEX_END_TIMEOUT_SECONDS))
            }
            Self::ClaudeCode | Self::Codex => group(event, plain_command(&command, seconds)),
            // Milliseconds. For Qwen Code they are seconds by now, but milliseconds from 1000 on.
            Self::Gemini | Self::Qwen => group(event, plain_command(&command, seconds * 1000)),
            Self::Cursor => json!({ "command": command, "timeout": seconds }),
            Self::Copilot => {
                json!({ "type": "command", "bash": command, "timeoutSec": seconds })
            }
        }
    }

    /// True if the agent runs the hook without waiting for it. Qwen Code could, but skips hooks while ten
    /// are running.
    fn is_async(self, event: &str) -> bool {
        // After the last four, the agent may exit. The prompt follows the start at once, and two `async`
        // hooks can overtake each other.
        const IN_ORDER: [&str; 5] =
            ["SessionStart", "Stop", "StopFailure", "Interrupt", "SessionEnd"];
        matches!(self, Self::ClaudeCode | Self::Codex) && !IN_ORDER.contains(&event)
    }

    fn command(self, event: &str, to: &Destination) -> String {
        let mut command = format!("{} emit --agent {}", to.program, self.name());
        if self == Self::Copilot {
            command.extend([" --event ", event]);
        }
        // These run a command that both the user and the project have registered twice. The others run
        // it once, as long as it is the same.
        let runs_twice = matches!(self, Self::Codex | Self::Cursor | Self::Copilot);
        if runs_twice && to.scope == SettingsScope::Project {
            command += " --from project";
        }
        // Also where the hook is `async`: otherwise one process for each waits for a hung server.
        if !is_last(event) {
            command += " --background";
        }
        command + " --url " + to.url
    }

    /// True if the text of a hook or entry was registered by `install`.
    pub(in crate::cli) fn is_own(self, text: &str) -> bool {
        self == Self::ClaudeCode && text.contains(MARK)
            || text.contains(&format!(" emit --agent {}", self.name()))
                && (text.contains("hooks-backend") || text.contains(" --url http"))
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

/// Whether nothing follows an event in a session.
fn is_last(event: &str) -> bool {
    event.eq_ignore_ascii_case("SessionEnd")
}

fn plain_command(command: &str, timeout: u32) -> CstInputValue {
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
