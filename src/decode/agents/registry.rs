//! The known agents, and which of them sent a payload.

use super::agent::{AgentProfile, DEFAULT};
use super::payload::Payload;
use super::{
    claude_code, cline, codex, copilot, cursor, gemini, opencode, openhands, qwen, vscode, windsurf,
};

/// The agent name in URLs that leaves it to the payload to identify the agent.
const AUTO: &str = "auto";

/// The known agents, in the order in which their predicates are tried: the most specific first.
static AGENTS: [AgentProfile; 11] = [
    windsurf::AGENT,
    cline::AGENT,
    cursor::AGENT,
    opencode::AGENT,
    codex::AGENT,
    gemini::AGENT,
    qwen::AGENT,
    vscode::AGENT,
    copilot::AGENT,
    openhands::AGENT,
    claude_code::AGENT,
];

static UNKNOWN: AgentProfile = DEFAULT;

/// Returns the agent names that URLs can have, without aliases.
pub fn agent_names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|agent| agent.name).chain([AUTO])
}

/// Returns true if a URL can have this agent name.
pub fn is_agent(name: &str) -> bool {
    name == AUTO || named(name).is_some()
}

fn named(name: &str) -> Option<&'static AgentProfile> {
    AGENTS.iter().find(|agent| agent.name == name || agent.aliases.contains(&name))
}

/// Returns the agent that sent a payload. The name in the URL decides, except for Claude Code: other
/// agents run the hooks in its settings files, too.
pub(super) fn agent_of(name: &str, payload: &Payload<'_>) -> &'static AgentProfile {
    match named(name) {
        Some(agent) if agent.name != claude_code::AGENT.name => agent,
        claude_code => {
            let recognized = AGENTS.iter().find(|agent| (agent.recognizes)(payload));
            recognized.or(claude_code).unwrap_or(&UNKNOWN)
        }
    }
}
