//! Events of `claude-code-hooks-multi-agent-observability`, which its senders post to `/events`.

use std::borrow::Cow;

use super::claude_code;
use super::payload::Payload;
use crate::decode::fields::{Field, Fields};
use crate::json::text::{quoted, unescape};

/// Maps `{source_app, session_id, hook_event_type, payload, timestamp, ...}`. The payload is that of a hook
/// of Claude Code and becomes `data`; the other members are kept in `extra`. An event with the sender's
/// time differs from all others, so its ID is a hash of all members.
pub(super) fn map_fields(mut fields: Fields<'_>) -> Fields<'_> {
    let agent = &claude_code::AGENT;
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(fields.get(Field::Timestamp).unwrap_or_default().as_bytes());
    let extra = fields.take_extra();
    let member = |wanted: &str| {
        let found = extra.iter().rev().find(|(name, _)| unescape(name) == wanted);
        found.map(|(_, raw)| &**raw)
    };
    let payload = member("payload").and_then(|raw| Payload::parse(raw).ok()).unwrap_or_default();
    if let Some(name) = member("hook_event_type").filter(|name| name.starts_with('"')) {
        fields.set(Field::EventType, quoted(&agent.event_type(&unescape(name), &payload)));
    }
    for (name, raw) in extra {
        hasher.update(name.as_bytes());
        hasher.update(raw.as_bytes());
        match (&*unescape(&name), &raw) {
            ("payload", Cow::Borrowed(payload))
                if payload.starts_with('{') && fields.get(Field::Data).is_none() =>
            {
                if let Ok(payload) = Payload::parse(payload) {
                    fields.promoted = Some(agent.promoted(&payload, ""));
                }
                fields.set(Field::Data, raw);
                continue;
            }
            _ => {}
        }
        fields.keep_extra(name, raw);
    }
    if fields.get(Field::EventId).is_none() && fields.get(Field::Timestamp).is_some() {
        fields.set(Field::EventId, format!("\"{:032x}\"", hasher.digest128()));
    }
    fields
}
