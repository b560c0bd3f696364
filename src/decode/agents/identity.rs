//! What tells the event of a payload from others.

use std::borrow::Cow;

use super::agent::{AgentProfile, DEFAULT};
use super::hook_metadata::Hook;
use super::payload::Payload;
use super::registry::agent_of;
use crate::event::{PromotedColumn, PromotedColumns, Timestamp, timestamp};

/// A hash of the event's name and the payload, and how far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiringIdentity {
    /// The payload has the ID of a tool call: an equal payload is the same event.
    Unique(u128),
    /// The payload has the agent's time, which parallel events share.
    Timed(u128),
    /// The payload has neither.
    Bare(u128),
}

impl FiringIdentity {
    pub(super) fn hash(self) -> u128 {
        match self {
            Self::Unique(hash) | Self::Timed(hash) | Self::Bare(hash) => hash,
        }
    }

    /// Returns the identity of an event with this name and compact payload.
    pub(super) fn new(
        agent: &AgentProfile,
        payload: &Payload<'_>,
        promoted: &PromotedColumns<'_>,
        name: &str,
        data: &str,
    ) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(data.as_bytes());
        let hash = hasher.digest128();
        if promoted[PromotedColumn::ToolUseId].is_some() {
            Self::Unique(hash)
        } else if sent_at(agent, payload).is_some() {
            Self::Timed(hash)
        } else {
            Self::Bare(hash)
        }
    }

    /// Returns the identity of the event of a payload, which must be compact.
    pub(super) fn of(hook: &Hook<'_>, data: &str) -> serde_json::Result<Self> {
        let payload = Payload::parse(data)?;
        let agent = agent_of(&hook.agent, &payload);
        let name = name_of(agent, &payload, hook);
        let promoted = agent.promoted(&payload, &name);
        Ok(Self::new(agent, &payload, &promoted, &name, data))
    }
}

/// Returns the name of the agent that sent a payload; `None` if it is not known.
pub fn sender(agent: &str, payload: &str) -> Option<&'static str> {
    let payload = Payload::parse(payload).ok()?;
    Some(agent_of(agent, &payload).name).filter(|name| !name.is_empty())
}

/// Returns the event's name.
pub(super) fn name_of<'a>(
    agent: &AgentProfile,
    payload: &Payload<'a>,
    hook: &Hook<'_>,
) -> Cow<'a, str> {
    payload
        .text(agent.event_name_paths)
        .or_else(|| hook.event.clone().map(|name| Cow::Owned(name.into_owned())))
        .or_else(|| payload.text(DEFAULT.event_name_paths))
        .unwrap_or_default()
}

/// Returns the time that the agent gave.
pub(super) fn sent_at(agent: &AgentProfile, payload: &Payload<'_>) -> Option<Timestamp> {
    let text = payload.text(agent.timestamp_paths)?;
    timestamp::parse_text(&text).or_else(|_| timestamp::parse_number(&text)).ok()
}
