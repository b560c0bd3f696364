//! The members of an event: the fields that the API defines, and all others.

use std::borrow::Cow;

use crate::event::PromotedColumns;
use crate::json::{text, visit_members};

/// A field that the API defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    EventId,
    EventType,
    SessionId,
    WorkflowId,
    PhaseId,
    MilestoneId,
    Data,
    Timestamp,
}

impl Field {
    const COUNT: usize = 8;

    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::EventId,
        Self::EventType,
        Self::SessionId,
        Self::WorkflowId,
        Self::PhaseId,
        Self::MilestoneId,
        Self::Data,
        Self::Timestamp,
    ];

    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "event_id" => Self::EventId,
            "event_type" => Self::EventType,
            "session_id" => Self::SessionId,
            "workflow_id" => Self::WorkflowId,
            "phase_id" => Self::PhaseId,
            "milestone_id" => Self::MilestoneId,
            "data" => Self::Data,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::EventType => "event_type",
            Self::SessionId => "session_id",
            Self::WorkflowId => "workflow_id",
            Self::PhaseId => "phase_id",
            Self::MilestoneId => "milestone_id",
            Self::Data => "data",
            Self::Timestamp => "timestamp",
        }
    }
}

/// What the scanner found in `data`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanned<'a> {
    /// Whether there is no white space between tokens.
    pub(super) is_compact: bool,
    /// The number of levels of nested objects and arrays.
    pub(super) depth: usize,
    /// The promoted columns among the members.
    pub(super) promoted: PromotedColumns<'a>,
}

/// The members of an event as raw JSON values. If a name occurs twice, the last one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a> {
    known: [Option<Cow<'a, str>>; Field::COUNT],
    /// Set if `data` was read by the scanner.
    pub(super) scanned: Option<Scanned<'a>>,
    /// Set if no columns are to be read from `data`, beyond those in `promoted`.
    pub(super) is_promoted_complete: bool,
    extra: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Promoted columns that take precedence over members of `data`.
    pub(super) promoted: Option<PromotedColumns<'a>>,
}

impl<'a> Fields<'a> {
    /// Parses an event.
    ///
    /// # Errors
    /// If the text is not one JSON object. Wrong values are not errors here.
    pub(super) fn parse(json: &'a str) -> serde_json::Result<Self> {
        let mut fields = Self::default();
        visit_members(json, "an event: a JSON object", |name, raw| {
            match Field::of(&text::unescape(name)) {
                Some(field) => fields.set(field, raw),
                None => fields.keep_extra(name, raw),
            }
        })?;
        Ok(fields)
    }

    /// Sets a field to a raw JSON value.
    pub(super) fn set(&mut self, field: Field, raw: impl Into<Cow<'a, str>>) {
        self.known[field as usize] = Some(raw.into());
        if field == Field::Data {
            self.scanned = None;
        }
    }

    /// Sets `data` to a raw JSON value that the scanner has read.
    pub(super) fn set_data(&mut self, raw: &'a str, scanned: Scanned<'a>) {
        self.set(Field::Data, raw);
        self.scanned = Some(scanned);
    }

    /// Returns the raw JSON value of a field; `None` if it is missing or null.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        self.known[field as usize].as_deref().filter(|raw| *raw != "null")
    }

    /// Removes a field and returns its raw value; `None` if it is missing or null.
    pub(super) fn take(&mut self, field: Field) -> Option<Cow<'a, str>> {
        self.known[field as usize].take().filter(|raw| raw != "null")
    }

    /// Adds a member that the API does not define: its name as a JSON string token, and its raw value.
    pub(super) fn keep_extra(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        raw: impl Into<Cow<'a, str>>,
    ) {
        self.extra.push((name.into(), raw.into()));
    }

    /// The members that the API does not define, in the form of [`Fields::keep_extra`].
    pub(super) fn extras(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.extra
    }

    /// Removes and returns the members that the API does not define.
    pub(super) fn take_extra(&mut self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        std::mem::take(&mut self.extra)
    }

    /// Whether a field is present, possibly as null.
    pub(super) fn has(&self, field: Field) -> bool {
        self.known[field as usize].is_some()
    }
}
