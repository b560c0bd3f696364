//! A hook without its payload: the agent, the event's name and the time.

use std::borrow::Cow;

use crate::event::Timestamp;

/// What is known about a hook besides its payload.
#[derive(Clone, Debug)]
pub struct Hook<'h> {
    /// The agent name in the URL: one of [`agent_names`](super::agent_names), or an alias.
    pub agent: Cow<'h, str>,
    /// The event's name, used if the payload has none.
    pub event: Option<Cow<'h, str>>,
    /// Time at which the hook fired; if it is not known, the time at which it was received.
    pub fired_at: Timestamp,
    /// The workflow of the event.
    pub workflow_id: Option<Cow<'h, str>>,
    /// The phase of the event.
    pub phase_id: Option<Cow<'h, str>>,
    /// The milestone of the event.
    pub milestone_id: Option<Cow<'h, str>>,
    /// The ID that `emit` gave the event.
    pub event_id: Option<u128>,
}
