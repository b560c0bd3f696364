//! The filter of a query: which events it is about.

use super::condition::{Comparison, Condition};
use crate::event::Timestamp;

/// Columns that a filter can compare with one value. `event_type` is not among them, because it may have
/// one of several values.
pub const FILTER_COLUMNS: [&str; 8] = [
    "session_id",
    "event_id",
    "workflow_id",
    "phase_id",
    "milestone_id",
    "agent",
    "tool_name",
    "tool_use_id",
];

/// Selects events. All its parts must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Columns of [`FILTER_COLUMNS`] and the values that they must have.
    pub equal: Vec<(&'static str, String)>,
    /// Allowed event types; any if empty.
    pub event_types: Vec<String>,
    /// Events at this time or later.
    pub since: Option<Timestamp>,
    /// Events before this time.
    pub until: Option<Timestamp>,
    /// Text that the JSON of `data` must contain, without regard to ASCII case.
    pub text: Option<String>,
}

impl Filter {
    /// The value that the filter requires of a column.
    pub(crate) fn value(&self, column: &str) -> Option<&str> {
        let mut equal = self.equal.iter();
        equal.find(|(name, _)| *name == column).map(|(_, value)| value.as_str())
    }

    /// The id (`event_id` or `tool_use_id`) that finds the events by itself, if the filter has one and
    /// no session, which would find them at least as fast.
    pub(crate) fn id_alone(&self) -> Option<&str> {
        if self.value("session_id").is_some() {
            return None;
        }
        self.value("event_id").or_else(|| self.value("tool_use_id"))
    }

    /// The filter's conditions on columns. The text is not among them: it is searched for in the
    /// event's line.
    pub(crate) fn conditions(&self) -> Vec<Condition<'_>> {
        let equal = self.equal.iter().map(|(column, value)| Condition::Equal(column, value));
        let mut conditions: Vec<_> = equal.collect();
        if !self.event_types.is_empty() {
            conditions.push(Condition::OneOf("event_type", &self.event_types));
        }
        let since = self.since.map(|time| Condition::Time(Comparison::AtLeast, time));
        let until = self.until.map(|time| Condition::Time(Comparison::Less, time));
        conditions.extend(since.into_iter().chain(until));
        conditions
    }
}
