//! The table of an agent: where in its payloads to find what.

use std::borrow::Cow;

use super::names::{EventTypes, common_type_from_content, event_type, snake_case};
use super::payload::Payload;
use crate::event::{ColumnKind, PromotedColumn, PromotedColumns};

/// An agent whose payloads are understood. Paths are tried in order.
pub(super) struct AgentProfile {
    /// The name in URLs and in the column `agent`.
    pub(super) name: &'static str,
    /// Other names in URLs.
    pub(super) aliases: &'static [&'static str],
    /// Paths to the name of the event.
    pub(super) event_name_paths: &'static [&'static str],
    /// Paths to the ID of the session.
    pub(super) session_paths: &'static [&'static str],
    /// Paths to the time at which the event happened.
    pub(super) timestamp_paths: &'static [&'static str],
    /// Paths to promoted columns, tried before [`PromotedColumn::payload_paths`].
    pub(super) columns: &'static [(PromotedColumn, &'static [&'static str])],
    /// Returns the tool's name if it is part of the event's name, which is given in snake case.
    pub(super) tool_from_event: fn(&str) -> Option<&str>,
    /// Pairs (event name in snake case, `event_type`), tried before the common ones.
    pub(super) event_types: EventTypes,
    /// Returns the `event_type` that the content of the payload shows, if the name of the event shows
    /// another one, which is given.
    pub(super) type_from_content: fn(&str, &Payload<'_>) -> Option<&'static str>,
    /// Corrects the promoted columns that the paths found.
    pub(super) correct_columns: for<'a> fn(&Payload<'a>, &mut PromotedColumns<'a>),
    /// Returns payloads of further events that the payload reports.
    pub(super) further_payloads: fn(&Payload<'_>) -> Vec<String>,
    /// Returns true if a payload is this agent's, or most likely so.
    pub(super) recognizes: fn(&Payload<'_>) -> bool,
}

/// Where most agents have it. Also used for payloads of unknown agents.
pub(super) const DEFAULT: AgentProfile = AgentProfile {
    name: "",
    aliases: &[],
    event_name_paths: &["hook_event_name", "hookEventName", "event_type", "event", "type"],
    session_paths: &["session_id", "sessionId", "conversation_id", "thread_id"],
    timestamp_paths: &["timestamp"],
    columns: &[],
    tool_from_event: |_| None,
    event_types: &[],
    type_from_content: |_, _| None,
    correct_columns: |_, _| {},
    further_payloads: |_| Vec::new(),
    recognizes: |_| true,
};

impl AgentProfile {
    /// Returns the `event_type` of an event with this name.
    pub(super) fn event_type(&self, event_name: &str, payload: &Payload<'_>) -> String {
        let by_name = event_type(event_name, self.event_types);
        let by_content = (self.type_from_content)(&by_name, payload)
            .or_else(|| common_type_from_content(&by_name, payload));
        by_content.map_or(by_name, str::to_owned)
    }

    /// Returns the promoted columns of a payload. `event_name` is the event's name, if it is known.
    pub(super) fn promoted<'a>(
        &self,
        payload: &Payload<'a>,
        event_name: &str,
    ) -> PromotedColumns<'a> {
        let mut promoted = PromotedColumns::default();
        for column in PromotedColumn::ALL {
            let own = self.columns.iter().find(|(own, _)| *own == column);
            let own = own.map_or(&[][..], |(_, paths)| paths);
            let same_name = [column.name()];
            let paths = [own, column.payload_paths(), &same_name];
            promoted[column] = paths.into_iter().find_map(|paths| match column.kind() {
                ColumnKind::Text => payload.text(paths),
                ColumnKind::Count | ColumnKind::Measure => payload.number(paths),
            });
        }
        promoted[PromotedColumn::KeyName] = None;
        promoted[PromotedColumn::Agent] =
            Some(Cow::Borrowed(self.name)).filter(|name| !name.is_empty());
        if promoted[PromotedColumn::ToolName].is_none() {
            let snake = snake_case(event_name);
            let tool = (self.tool_from_event)(&snake);
            promoted[PromotedColumn::ToolName] = tool.map(|tool| Cow::Owned(tool.to_owned()));
        }
        (self.correct_columns)(payload, &mut promoted);
        promoted
    }
}
