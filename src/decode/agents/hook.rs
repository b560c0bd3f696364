//! Decodes the payloads of hooks.

use std::borrow::Cow;

use super::agent::{AgentProfile, DEFAULT};
use super::emitted::Emitted;
use super::firings::{Firing, Firings};
use super::hook_metadata::Hook;
use super::identity::{FiringIdentity, name_of, sent_at};
use super::names::bounded;
use super::payload::Payload;
use super::registry::agent_of;
use crate::decode::body;
use crate::decode::compact::{TooDeep, compact};
use crate::decode::context::Context;
use crate::decode::decoded::{DecodeError, Decoded, Invalid};
use crate::decode::fields::{Field, Fields};
use crate::event::{PromotedColumn, Timestamp};
use crate::json::text::quoted;

/// Decodes the payload of a hook.
///
/// # Errors
/// If it is not a JSON object.
pub fn decode_hook(
    hook: &Hook<'_>,
    body: &[u8],
    firings: &Firings,
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let text = body::text(body)?;
    let mut decoded = Decoded::new(context, body.len());
    match push(hook, text, firings, context, &mut decoded) {
        Ok(()) => Ok(decoded),
        Err(error) => Err(DecodeError::NotJson(format!("not the payload of a hook: {error}"))),
    }
}

/// Decodes lines of `hooks-backend emit`: one hook per line. An invalid line is rejected by itself.
///
/// # Errors
/// If there are too many lines.
pub fn decode_emitted(
    body: &[u8],
    firings: &Firings,
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::new(context, body.len());
    let lines = body::text(body)?.lines().filter(|line| !line.trim().is_empty());
    for (index, line) in lines.enumerate() {
        if index >= context.batch_events_max {
            return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
        }
        let pushed = serde_json::from_str::<Emitted<'_>>(line).and_then(|emitted| {
            let hook = emitted.hook(context.received_at);
            push(&hook, emitted.payload.get(), firings, context, &mut decoded)
        });
        if let Err(error) = pushed {
            let reason = Invalid::event(format!("not a line of 'hooks-backend emit': {error}"));
            decoded.reject(context, index, reason, line.to_owned());
        }
    }
    Ok(decoded)
}

/// Adds the event of a payload, and further events that it reports. The only possible error is invalid JSON.
fn push(
    hook: &Hook<'_>,
    raw: &str,
    firings: &Firings,
    context: &Context<'_>,
    decoded: &mut Decoded,
) -> serde_json::Result<()> {
    let payload = Payload::parse(raw)?;
    let agent = agent_of(&hook.agent, &payload);
    // The ID is a hash of this form, so white space makes no difference: `emit` removes it.
    let data = match compact(raw, context.depth_max) {
        Ok((data, _)) => data,
        Err(TooDeep) => Cow::Owned(format!("{{\"unparsed\":{}}}", quoted(raw.trim()))),
    };
    let fields = fields(agent, &payload, data, hook, firings);
    let Decoded { batch, redactions, .. } = decoded;
    let pushed = batch.push(|line| fields.into_line(context, redactions, line));
    pushed.map_err(|invalid| serde::de::Error::custom(invalid.error))?;
    for further in (agent.further_payloads)(&payload) {
        // The ID that `emit` gave belongs to the event above.
        let hook = Hook { event_id: None, ..hook.clone() };
        push(&hook, &further, firings, context, decoded)?;
    }
    Ok(())
}

fn fields<'a>(
    agent: &AgentProfile,
    payload: &Payload<'a>,
    data: Cow<'a, str>,
    hook: &Hook<'_>,
    firings: &Firings,
) -> Fields<'a> {
    let name = name_of(agent, payload, hook);
    let mut promoted = agent.promoted(payload, &name);
    let event_type = agent.event_type(&name, payload);
    let identity = FiringIdentity::new(agent, payload, &promoted, &name, &data);
    let (event_id, timestamp) = match (identity, hook.event_id) {
        (FiringIdentity::Bare(hash), Some(id)) => {
            let event = firings.named(hash, Firing::new(id, hook.fired_at));
            (event.event_id, event.at)
        }
        (FiringIdentity::Bare(hash), None) => {
            let mut name = hash.to_le_bytes().to_vec();
            name.extend(hook.fired_at.micros().to_le_bytes());
            let id = xxhash_rust::xxh3::xxh3_128(&name);
            let event = firings.unnamed(hash, Firing::new(id, hook.fired_at));
            (event.event_id, event.at)
        }
        (FiringIdentity::Unique(hash) | FiringIdentity::Timed(hash), id) => {
            (id.unwrap_or(hash), sent_at(agent, payload).unwrap_or(hook.fired_at))
        }
    };
    let session_id =
        session_of(agent, payload).unwrap_or_else(|| no_session(agent, payload, timestamp));
    // The start and end of a sub-agent are events of the parent's session.
    promoted[PromotedColumn::ParentSessionId].take_if(|parent| **parent == session_id);
    let mut fields = Fields::default();
    fields.set(Field::EventId, format!("\"{event_id:032x}\""));
    fields.set(Field::EventType, quoted(&event_type));
    fields.set(Field::SessionId, quoted(&session_id));
    fields.set(Field::Timestamp, format!("\"{timestamp}\""));
    fields.set(Field::Data, data);
    for (field, value) in [
        (Field::WorkflowId, &hook.workflow_id),
        (Field::PhaseId, &hook.phase_id),
        (Field::MilestoneId, &hook.milestone_id),
    ] {
        // An unset environment variable makes an empty header.
        if let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
            fields.set(field, quoted(&bounded(value.to_owned())));
        }
    }
    fields.promoted = Some(promoted);
    fields.is_promoted_complete = true;
    fields
}

/// Returns the session of the agent: its ID, or the name of its transcript file.
fn session_of(agent: &AgentProfile, payload: &Payload<'_>) -> Option<String> {
    let named = payload.text(agent.session_paths).or_else(|| payload.text(DEFAULT.session_paths));
    let session = named.map(Cow::into_owned).or_else(|| {
        let transcript = payload.text(&["transcript_path", "transcriptPath"])?;
        let file = transcript.rsplit(['/', '\\']).next()?;
        Some(file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned())
    });
    session.filter(|session| !session.is_empty()).map(bounded)
}

/// Returns the session for payloads without one: one per agent, working directory and day.
fn no_session(agent: &AgentProfile, payload: &Payload<'_>, timestamp: Timestamp) -> String {
    let agent = if agent.name.is_empty() { "unknown" } else { agent.name };
    let directory = payload.text(&["cwd", "working_dir", "workspace_roots"]).unwrap_or_default();
    let directory = xxhash_rust::xxh3::xxh3_64(directory.as_bytes()) as u32;
    let day = timestamp.to_string();
    format!("{agent}-{directory:08x}-{}", &day[..10])
}
