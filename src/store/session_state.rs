//! The state of a session: which events end it, and after which ones its agent waits for a person.
//!
//! Each rule is the time of the newest event of a kind, so that a query computes it by aggregation. Only
//! events of hooks count: telemetry arrives late, and goes on after the end.

use serde::Serialize;
use utoipa::ToSchema;

use crate::event::Timestamp;

/// A session without events for longer than this is quiet.
const QUIET_MICROS: i64 = 10 * 60 * 1_000_000;

/// Events that end a session. The session of `doctor` has no other.
pub(super) const ENDED: [&str; 5] =
    ["session_completed", "session_ended", "session_cancelled", "session_deleted", "doctor_tested"];

/// Events that end the turn of an agent, and so the session of a sub-agent, which waits for nobody.
pub(super) const TURN_ENDED: [&str; 2] = ["agent_stopped", "agent_failed"];

/// Events that end the use of a tool.
pub(super) const TOOL_ENDED: [&str; 2] = ["tool_execution_completed", TOOL_FAILED];
pub(super) const TOOL_FAILED: &str = "tool_execution_failed";

/// Events by which an agent asks a person.
const ASKED: [&str; 2] = ["permission_requested", "system_notification"];

/// Events that also occur while an agent waits, or after the end. A session starts again when its context is
/// compacted, and people change settings while the agent waits.
const NEUTRAL: [&str; 21] = [
    "session_started",
    "session_resumed",
    "context_compacting",
    "context_compacted",
    "subagent_stopped",
    "internal_agent_stopped",
    "config_change",
    "cwd_changed",
    "directory_added",
    "file_changed",
    "instructions_loaded",
    "post_model_switch",
    "pre_model_switch",
    "setup",
    "message_display",
    "message_updated",
    "message_part_updated",
    "session_updated",
    "session_status",
    "session_diff",
    "file_watcher_updated",
];

/// Events of hooks in the background that can arrive after the end of the turn in which they happened. They
/// show that an agent that asked goes on, and not that another turn has begun.
const LATE: [&str; 5] = [
    "tool_execution_completed",
    "tool_execution_failed",
    "tool_blocked",
    "tool_batch_completed",
    "task_completed",
];

/// Other events that do not reopen a session that has ended.
const AFTER_END: [&str; 4] =
    ["agent_stopped", "agent_failed", "background_tasks_awaited", "system_notification"];

/// Neutral events that reopen a session all the same.
const STARTED: [&str; 2] = ["session_started", "session_resumed"];

/// Agents whose sessions start before there is a prompt, so that they wait for one.
const STARTED_BEFORE_PROMPT: [&str; 5] = ["claude-code", "codex", "copilot", "gemini", "qwen"];

/// The agent that checks its permissions by `permission_requested`, and asks people by `system_notification`.
const CHECKS_PERMISSIONS: &str = "copilot";

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Its last event ended it. Events of telemetry decide no state.
    Ended,
    /// Its last event was a stop, a failure, a request for permission, a notification, or the start of a session
    /// that has no prompt yet.
    Waiting,
    /// Otherwise, if it had no event for ten minutes.
    Quiet,
    /// Otherwise.
    Running,
}

/// The times of a session's newest events of some kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewestEvents {
    pub(super) ended: Option<Timestamp>,
    pub(super) turn_ended: Option<Timestamp>,
    pub(super) reopening: Option<Timestamp>,
    /// Start of a session without a prompt.
    pub(super) started: Option<Timestamp>,
    pub(super) compacted: Option<Timestamp>,
    pub(super) asked: Option<Timestamp>,
    /// Event after which the agent works.
    pub(super) working: Option<Timestamp>,
    /// The same without those that can be late.
    pub(super) begun: Option<Timestamp>,
    /// The newest event of a hook, else of telemetry.
    pub(super) any: Timestamp,
}

impl SessionState {
    /// Returns the state of a session, which is that of a sub-agent or not.
    pub(super) fn new(newest: NewestEvents, is_subagent: bool) -> Self {
        let is_last = |event: Option<Timestamp>, others| event.is_some() && event >= others;
        let ended = newest.ended.max(newest.turn_ended.filter(|_| is_subagent));
        let is_idle = is_last(newest.turn_ended.max(newest.started), newest.begun);
        // People compact the context before the first prompt, too.
        let is_unprompted = newest.begun.is_none() && newest.compacted.is_some();
        if is_last(ended, newest.reopening) {
            Self::Ended
        } else if is_idle || is_unprompted || is_last(newest.asked, newest.working) {
            Self::Waiting
        } else if newest.any.micros() < Timestamp::now().micros() - QUIET_MICROS {
            Self::Quiet
        } else {
            Self::Running
        }
    }
}

/// SQL for the time of the newest event that ends a session.
pub(super) fn newest_ended() -> String {
    newest(&format!("event_type IN ({})", literals(&ENDED)))
}

/// SQL for the time of the newest event that ends a turn.
pub(super) fn newest_turn_ended() -> String {
    newest(&format!("event_type IN ({})", literals(&TURN_ENDED)))
}

/// SQL for the time of the newest event that reopens a session.
pub(super) fn newest_reopening() -> String {
    let closed: Vec<&str> =
        NEUTRAL.iter().filter(|name| !STARTED.contains(name)).copied().collect();
    let closed = literals(&[&closed[..], &ENDED, &LATE, &AFTER_END].concat());
    newest(&format!("{IS_HOOK} AND event_type NOT IN ({closed})"))
}

/// SQL for the time of the newest start of a session without a prompt.
pub(super) fn newest_started() -> String {
    let agents = literals(&STARTED_BEFORE_PROMPT);
    newest(&format!("event_type = 'session_started' AND agent IN ({agents})"))
}

/// SQL for the time of the newest compaction.
pub(super) fn newest_compacted() -> String {
    newest("event_type = 'context_compacted'")
}

/// SQL for the time of the newest event by which an agent asks a person.
pub(super) fn newest_asked() -> String {
    newest(&format!(
        "event_type IN ({}) AND NOT (event_type = 'permission_requested' \
         AND coalesce(agent, '') = '{CHECKS_PERMISSIONS}')",
        literals(&ASKED)
    ))
}

/// SQL for the time of the newest event after which an agent works.
pub(super) fn newest_working() -> String {
    newest_except(&[&ASKED, &TURN_ENDED, &NEUTRAL])
}

/// SQL for the time of the newest event that shows that a turn has begun.
pub(super) fn newest_begun() -> String {
    newest_except(&[&ASKED, &TURN_ENDED, &NEUTRAL, &LATE])
}

fn newest_except(types: &[&[&str]]) -> String {
    newest(&format!("{IS_HOOK} AND event_type NOT IN ({})", literals(&types.concat())))
}

/// SQL for the time of the newest event of a hook.
pub(super) fn newest_hook() -> String {
    newest(IS_HOOK)
}

/// SQL for whether an event is one of a hook: names of telemetry have a dot, and a log record without a name
/// is a `log`.
const IS_HOOK: &str = "event_type NOT LIKE '%.%' AND event_type <> 'log'";

fn newest(condition: &str) -> String {
    format!("max(CASE WHEN {condition} THEN \"timestamp\" END)")
}

/// SQL for a list of texts, which must not have quotes.
pub(super) fn literals(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ")
}
