//! `OpenHands`: the event's name stands in `event_type`.

use super::{Agent, DEFAULT};

pub(super) const AGENT: Agent = Agent {
    name: "openhands",
    event: &["event_type", "hook_event_name"],
    recognised: |payload| payload.has("event_type") && !payload.has("hook_event_name"),
    ..DEFAULT
};
