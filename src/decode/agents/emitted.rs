//! A line of `hooks-backend emit`: the payload of a hook, and what else is known about it. Lines are
//! posted to `/hooks`, and kept in the spool file until then.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hook_metadata::Hook;
use super::payload::Payload;
use crate::decode::compact::compact;
use crate::event::{Timestamp, timestamp};
use crate::json::text::quoted;

#[derive(Deserialize, Serialize)]
pub(super) struct Emitted<'a> {
    #[serde(borrow)]
    agent: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
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
        Hook {
            agent: self.agent.clone(),
            event: self.event.clone(),
            fired_at: fired_at.unwrap_or(received_at),
            workflow_id: self.workflow_id.clone(),
            phase_id: self.phase_id.clone(),
            milestone_id: self.milestone_id.clone(),
        }
    }
}

/// Returns the line, without a line feed, of the input that an agent gave its hook; `None` if it is empty.
/// Input that is not a JSON object becomes `{"unparsed":"..."}`.
pub fn emitted_line(hook: &Hook<'_>, input: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input));
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let is_object = Payload::parse(text).is_ok();
    let payload = match compact(text, usize::MAX) {
        Ok((payload, _)) if is_object => payload,
        _ => Cow::Owned(format!("{{\"unparsed\":{}}}", quoted(text))),
    };
    let emitted = Emitted {
        agent: hook.agent.clone(),
        event: hook.event.clone(),
        fired_at: Some(hook.fired_at.to_string().into()),
        workflow_id: hook.workflow_id.clone(),
        phase_id: hook.phase_id.clone(),
        milestone_id: hook.milestone_id.clone(),
        payload: serde_json::from_str(&payload).ok()?,
    };
    serde_json::to_string(&emitted).ok()
}
