//! A line of `hooks-backend emit`: the payload of a hook, and what else is known about it. Lines are
//! posted to `/hooks`, and kept in the spool file until then.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hook_metadata::Hook;
use super::identity::FiringIdentity;
use super::payload::Payload;
use crate::decode::compact::compact;
use crate::event::{Timestamp, timestamp};
use crate::json::text::quoted;
use crate::json::visit_members;

#[derive(Deserialize, Serialize)]
pub(super) struct Emitted<'a> {
    #[serde(borrow)]
    agent: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    /// 32 hexadecimal digits. Lines of older versions have none.
    #[serde(borrow, default)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    fired_at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    workflow_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    phase_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    milestone_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) payload: &'a RawValue,
}

impl<'a> Emitted<'a> {
    pub(super) fn hook(&self, received_at: Timestamp) -> Hook<'a> {
        let fired_at = self.fired_at.as_ref().and_then(|at| timestamp::parse_text(at).ok());
        let event_id = self.event_id.as_ref().filter(|id| id.len() == 32);
        Hook {
            event_id: event_id.and_then(|id| u128::from_str_radix(id, 16).ok()),
            agent: self.agent.clone(),
            event: self.event.clone(),
            fired_at: fired_at.unwrap_or(received_at),
            workflow_id: self.workflow_id.clone(),
            phase_id: self.phase_id.clone(),
            milestone_id: self.milestone_id.clone(),
        }
    }
}

/// The payload that an agent gave its hook, as compact JSON.
pub struct EmittedPayload(String);

impl EmittedPayload {
    /// Returns the payload in the input of a hook; `None` if it is empty. Input that is not a JSON object
    /// becomes `{"unparsed":"..."}`. If it is larger than `bytes_max`, or if `is_cut` because more was not
    /// read, long texts in it are cut and `cut_bytes` has the size of the input.
    pub fn new(input: &[u8], bytes: u64, is_cut: bool, bytes_max: usize) -> Option<Self> {
        let text = String::from_utf8_lossy(input);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if text.is_empty() {
            return None;
        }
        if is_cut || text.len() > bytes_max {
            return Some(Self(cut(text, bytes)));
        }
        let is_object = Payload::parse(text).is_ok();
        Some(Self(match compact(text, usize::MAX) {
            Ok((payload, _)) if is_object => payload.into_owned(),
            _ => format!("{{\"unparsed\":{}}}", quoted(text)),
        }))
    }

    /// The text of the payload.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns what tells the event of the payload from others.
    pub fn identity(&self, hook: &Hook<'_>) -> Option<FiringIdentity> {
        FiringIdentity::of(hook, &self.0).ok()
    }

    /// Returns the line, without a line feed. The hook has the ID of the event, if `emit` could decide.
    pub fn line(&self, hook: &Hook<'_>) -> Option<String> {
        let emitted = Emitted {
            agent: hook.agent.clone(),
            event: hook.event.clone(),
            event_id: hook.event_id.map(|id| format!("{id:032x}").into()),
            fired_at: Some(hook.fired_at.to_string().into()),
            workflow_id: hook.workflow_id.clone(),
            phase_id: hook.phase_id.clone(),
            milestone_id: hook.milestone_id.clone(),
            payload: serde_json::from_str(&self.0).ok()?,
        };
        serde_json::to_string(&emitted).ok()
    }
}

/// Returns an object with the members of a payload that are not long, the beginning of the others as
/// text, and the size of the whole.
fn cut(text: &str, bytes: u64) -> String {
    const MEMBER_BYTES_MAX: usize = 16 << 10;
    let start = |text: &str| {
        let end = (0..=MEMBER_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        quoted(&text[..end.unwrap_or_default().min(text.len())])
    };
    let mut members = vec![format!("\"cut_bytes\":{bytes}")];
    let is_object = visit_members(text, "an object", |name, raw| {
        // Of very many members, only the first are kept.
        if members.len() > 100 {
            return;
        }
        let is_long = raw.len() > MEMBER_BYTES_MAX;
        if name.len() < 256 {
            members.push(match compact(raw, usize::MAX) {
                Ok((raw, _)) if !is_long => format!("{name}:{raw}"),
                _ => format!("{name}:{}", start(raw)),
            });
        }
    });
    if is_object.is_err() {
        members.push(format!("\"unparsed\":{}", start(text)));
    }
    format!("{{{}}}", members.join(","))
}
