//! Hooks that arrive at `/events` in a shape of their own: what the senders of
//! `claude-code-hooks-multi-agent-observability` post, and what `OpenHands` does.

use std::borrow::Cow;

use super::{Agent, Payload, claude_code, json, names, openhands, promoted};
use crate::decode::Invalid;
use crate::decode::fields::{Field, Fields};
use crate::json::text;

/// Turns these two shapes into ours; all else stays as it is.
#[expect(clippy::unnecessary_wraps, reason = "as for every other vocabulary")]
pub(in crate::decode) fn rename(fields: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    if fields.extras().is_empty() {
        return Ok(fields);
    }
    let has = |wanted: &str| {
        fields.extras().iter().any(|(name, raw)| raw != "null" && text::unescape(name) == wanted)
    };
    Ok(match fields.get(Field::EventType) {
        None if has("hook_event_type") => observability(fields),
        Some(event_type) if fields.get(Field::Data).is_none() => {
            // "PreToolUse"; and an event of ours without data has no tool or directory either.
            let capital = event_type.as_bytes().get(1).is_some_and(u8::is_ascii_uppercase);
            if capital && (has("tool_name") || has("working_dir")) {
                openhands(fields)
            } else {
                fields
            }
        }
        _ => fields,
    })
}

/// `{source_app, session_id, hook_event_type, payload, timestamp, ...}`: the payload is Claude
/// Code's and becomes `data`; the rest is kept as extra fields. With the sender's time in it the
/// whole is different for each event, so that its hash is the id.
fn observability(mut fields: Fields<'_>) -> Fields<'_> {
    let agent: &'static Agent = &claude_code::AGENT;
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(fields.get(Field::Timestamp).unwrap_or_default().as_bytes());
    for (name, raw) in fields.take_extra() {
        hasher.update(name.as_bytes());
        hasher.update(raw.as_bytes());
        match (&*text::unescape(&name), &raw) {
            ("payload", Cow::Borrowed(payload))
                if payload.starts_with('{') && fields.get(Field::Data).is_none() =>
            {
                if let Ok(payload) = Payload::parse(payload) {
                    fields.set_promoted(promoted(agent, &payload, ""));
                }
                fields.set(Field::Data, raw);
                continue;
            }
            ("hook_event_type", raw) if raw.starts_with('"') => {
                let event_type = names::event_type(&text::unescape(raw), agent.names);
                fields.set(Field::EventType, json(&event_type));
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

/// `{event_type: "PreToolUse", session_id, tool_name, ...}`: all of it becomes `data`.
fn openhands(mut fields: Fields<'_>) -> Fields<'_> {
    let agent: &'static Agent = &openhands::AGENT;
    let event_type = fields.get(Field::EventType).unwrap_or_default().to_owned();
    let extra = fields.take_extra();
    let members = extra.iter().filter_map(|(name, raw)| match raw {
        Cow::Borrowed(raw) => Some((Cow::Owned(text::unescape(name).into_owned()), *raw)),
        Cow::Owned(_) => None,
    });
    let payload: Payload<'_> = members.collect();
    fields.set_promoted(promoted(agent, &payload, ""));
    let mut data = format!("{{\"event_type\":{event_type}");
    for (name, raw) in &extra {
        data.push(',');
        data.push_str(name);
        data.push(':');
        data.push_str(raw);
    }
    data.push('}');
    fields.set(Field::Data, data);
    if event_type.starts_with('"') {
        let event_type = names::event_type(&text::unescape(&event_type), agent.names);
        fields.set(Field::EventType, json(&event_type));
    }
    fields
}
