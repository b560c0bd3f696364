//! The table of an agent: where in its payloads to find what.

use super::names::Names;
use super::payload::Payload;
use super::{
    claude_code, cline, codex, copilot, cursor, gemini, opencode, openhands, vscode, windsurf,
};
use crate::event::PromotedColumn;

/// The agent name in URLs that leaves it to the payload to identify the agent.
const AUTO: &str = "auto";

/// An agent whose payloads are understood. Paths are tried in order.
pub(super) struct Agent {
    /// The name in URLs and in the column `agent`.
    pub(super) name: &'static str,
    /// Other names in URLs.
    pub(super) aliases: &'static [&'static str],
    pub(super) event: &'static [&'static str],
    pub(super) session: &'static [&'static str],
    pub(super) timestamp: &'static [&'static str],
    /// Paths to promoted columns, tried before [`PromotedColumn::payload_paths`].
    pub(super) columns: &'static [(PromotedColumn, &'static [&'static str])],
    /// Returns the tool's name if it is part of the event's name, which is given in snake case.
    pub(super) tool_from_event: fn(&str) -> Option<&str>,
    /// The `event_type` of events, beyond the common ones.
    pub(super) names: Names,
    /// Whether the tool failed, although the event says that it completed.
    pub(super) failed: fn(&Payload<'_>) -> bool,
    /// Whether a payload is this agent's, or most likely so.
    pub(super) recognised: fn(&Payload<'_>) -> bool,
}

/// Where most agents have it. Also used for payloads of unknown agents.
pub(super) const DEFAULT: Agent = Agent {
    name: "",
    aliases: &[],
    event: &["hook_event_name", "hookEventName", "event_type", "event", "type"],
    session: &["session_id", "sessionId", "conversation_id", "thread_id"],
    timestamp: &["timestamp"],
    columns: &[],
    tool_from_event: |_| None,
    names: &[],
    failed: |_| false,
    recognised: |_| true,
};

/// In the order in which they are recognised: the most distinctive first.
static AGENTS: [Agent; 10] = [
    windsurf::AGENT,
    cline::AGENT,
    cursor::AGENT,
    opencode::AGENT,
    codex::AGENT,
    gemini::AGENT,
    vscode::AGENT,
    copilot::AGENT,
    openhands::AGENT,
    claude_code::AGENT,
];

static UNKNOWN: Agent = DEFAULT;

/// Returns the agent names that URLs can have, without aliases.
pub fn agent_names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|agent| agent.name).chain([AUTO])
}

/// Whether a URL can have this agent name.
pub fn is_agent(name: &str) -> bool {
    name == AUTO || named(name).is_some()
}

fn named(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name || agent.aliases.contains(&name))
}

/// Returns the agent that sent a payload. The name in the URL decides, except for Claude Code: other
/// agents run the hooks in its settings files, too.
pub(super) fn agent_of(name: &str, payload: &Payload<'_>) -> &'static Agent {
    match named(name) {
        Some(agent) if agent.name != claude_code::AGENT.name => agent,
        claude_code => {
            let recognised = AGENTS.iter().find(|agent| (agent.recognised)(payload));
            recognised.or(claude_code).unwrap_or(&UNKNOWN)
        }
    }
}
