//! The table of an agent: where in its payloads to find what.

use super::names::Names;
use super::payload::Payload;
use crate::event::PromotedColumn;

/// An agent whose payloads are understood. Paths are tried in order.
pub(super) struct AgentProfile {
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
pub(super) const DEFAULT: AgentProfile = AgentProfile {
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
