//! The event: its fields, their limits, and the one line it is stored as. No I/O.

mod facts;
pub mod line;
pub mod timestamp;

use std::borrow::Cow;

pub use facts::{Facts, count, measure};
pub use timestamp::Timestamp;
pub(crate) use timestamp::civil;

use crate::json::text::write_string;

/// Most bytes (UTF-8, unescaped) in an id or a name: `event_id`, `event_type`, `session_id`,
/// `workflow_id`, `phase_id`, `milestone_id`. Two of them and a timestamp stay far below
/// PostgreSQL's 2,704 bytes for an index entry.
pub const TEXT_BYTES_MAX: usize = 255;

/// The members of a stored event, in the order of the line.
pub const MEMBERS: [&str; 20] = [
    "event_id",
    "event_type",
    "session_id",
    "workflow_id",
    "phase_id",
    "milestone_id",
    "data",
    "timestamp",
    "received_at",
    "agent",
    "tool_name",
    "tool_use_id",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "subagent_id",
    "parent_session_id",
    "key_name",
    "extra",
];

/// One hook event, borrowing what it can from the request's body or the stored line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// What identifies the event within its session; 1 to 255 bytes.
    pub event_id: Cow<'a, str>,
    /// What happened; 1 to 255 bytes, an open list.
    pub event_type: Cow<'a, str>,
    /// The agent's session; 1 to 255 bytes.
    pub session_id: Cow<'a, str>,
    /// Up to 255 bytes.
    pub workflow_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub phase_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub milestone_id: Option<Cow<'a, str>>,
    /// A JSON object without white space between its tokens, else as it was sent.
    pub data: Cow<'a, str>,
    /// When it happened, by the sender's word; when it was received, if the sender said nothing.
    pub timestamp: Timestamp,
    /// When this server received it.
    pub received_at: Timestamp,
    /// What `data` says of the agent and its tool.
    pub facts: Facts<'a>,
    /// The name of the API key with which it was sent, where that is kept.
    pub key_name: Option<Cow<'a, str>>,
    /// A JSON object of the fields this contract does not name.
    pub extra: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// The 128-bit key by which a repeated event is known: a hash of `session_id` and `event_id`.
    /// Stable across versions, since journals keep it on disk. Two different events share a key
    /// with a chance of 2^-128; a sender who builds a collision on purpose can only hide an event
    /// whose ids he knows, which he could as well send first himself.
    pub fn key(&self) -> u128 {
        key(&self.session_id, &self.event_id)
    }

    /// Appends the event as one JSON line without its line feed.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"event_id\":");
        write_string(&self.event_id, out);
        out.extend_from_slice(b",\"event_type\":");
        write_string(&self.event_type, out);
        out.extend_from_slice(b",\"session_id\":");
        write_string(&self.session_id, out);
        for (key, value) in [
            (&b",\"workflow_id\":"[..], &self.workflow_id),
            (b",\"phase_id\":", &self.phase_id),
            (b",\"milestone_id\":", &self.milestone_id),
        ] {
            out.extend_from_slice(key);
            match value {
                Some(text) => write_string(text, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data.as_bytes());
        out.extend_from_slice(b",\"timestamp\":\"");
        out.extend_from_slice(&self.timestamp.text());
        out.extend_from_slice(b"\",\"received_at\":\"");
        out.extend_from_slice(&self.received_at.text());
        out.push(b'"');
        for (key, value) in [
            (&b",\"agent\":"[..], &self.facts.agent),
            (b",\"tool_name\":", &self.facts.tool_name),
            (b",\"tool_use_id\":", &self.facts.tool_use_id),
        ] {
            if let Some(text) = value {
                out.extend_from_slice(key);
                write_string(text, out);
            }
        }
        for (key, value) in [
            (&b",\"duration_ms\":"[..], &self.facts.duration_ms),
            (b",\"input_tokens\":", &self.facts.input_tokens),
            (b",\"output_tokens\":", &self.facts.output_tokens),
            (b",\"cost_usd\":", &self.facts.cost_usd),
        ] {
            if let Some(number) = value {
                out.extend_from_slice(key);
                out.extend_from_slice(number.as_bytes());
            }
        }
        for (key, value) in [
            (&b",\"subagent_id\":"[..], &self.facts.subagent_id),
            (b",\"parent_session_id\":", &self.facts.parent_session_id),
            (b",\"key_name\":", &self.key_name),
        ] {
            if let Some(text) = value {
                out.extend_from_slice(key);
                write_string(text, out);
            }
        }
        if let Some(extra) = &self.extra {
            out.extend_from_slice(b",\"extra\":");
            out.extend_from_slice(extra.as_bytes());
        }
        out.push(b'}');
    }
}

/// See [`Event::key`].
pub fn key(session_id: &str, event_id: &str) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(&(session_id.len() as u64).to_le_bytes());
    hasher.update(session_id.as_bytes());
    hasher.update(event_id.as_bytes());
    hasher.digest128()
}
