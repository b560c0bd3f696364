//! Payloads of agents' hooks. Each becomes one event, whatever its content is.
//!
//! Agents differ in the names of members. The table of each agent has the paths to look at
//! ([`agent::AgentProfile`]); after these, the paths that most agents use are tried.
//!
//! **Event IDs.** Agents do not give their events IDs, so these are derived from the payload. A hook
//! that fires twice for one event must be stored once, and two events that look alike must both be stored.
//!
//! - `hooks-backend emit` decides which event its payload is, and its line has the event ID ([`Claim`]).
//! - Of payloads that come by HTTP, one with the ID of a tool call or with the agent's time is the same event
//!   at any time: the event ID is a hash of the payload. Any other payload is the same event if it is
//!   received again within a second ([`Firings`]): the event ID is a hash of the payload and the time of the
//!   first.
//!
//! The timestamp of the event is the one that the agent gave, else the time at which the hook fired, which
//! `hooks-backend emit` sends, else the time at which the first payload was received.

mod agent;
mod claims;
mod emitted;
mod firings;
mod hook;
mod hook_metadata;
mod identity;
mod names;
mod payload;
mod registry;

mod claude_code;
mod cline;
mod codex;
mod copilot;
mod cursor;
mod gemini;
mod multi_agent_observability;
mod opencode;
mod openhands;
mod qwen;
mod vscode;
mod windsurf;

pub use claims::{Claim, newest_claims};
pub use emitted::EmittedPayload;
pub use firings::Firings;
pub use hook::{decode_emitted, decode_hook};
pub use hook_metadata::Hook;
pub use identity::{FiringIdentity, sender};
pub(super) use names::bounded;
pub use registry::{agent_names, is_agent};

use super::decoded::Invalid;
use super::fields::{Field, Fields};
use crate::json::text::unescape;

/// Maps the fields of events that agents post to `/events` in formats other than that of the API.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a field mapper")]
pub(super) fn map_fields(fields: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    if fields.extras().is_empty() {
        return Ok(fields);
    }
    let has = |wanted: &str| {
        fields.extras().iter().any(|(name, raw)| raw != "null" && unescape(name) == wanted)
    };
    Ok(match fields.get(Field::EventType) {
        None if has("hook_event_type") => multi_agent_observability::map_fields(fields),
        Some(event_type) if fields.get(Field::Data).is_none() => {
            // As in "PreToolUse". An event of the API without data has no tool or directory.
            let capital = event_type.as_bytes().get(1).is_some_and(u8::is_ascii_uppercase);
            if capital && (has("tool_name") || has("working_dir")) {
                openhands::map_fields(fields)
            } else {
                fields
            }
        }
        _ => fields,
    })
}
