//! A JSON object's members, sorted into the contract's fields and everything else.

use std::borrow::Cow;

use crate::decode::compact::{TooDeep, compact};
use crate::decode::scan::Scanned;
use crate::decode::{Context, Invalid};
use crate::event::{Event, PromotedColumn, PromotedColumns, TEXT_BYTES_MAX, Timestamp, timestamp};
use crate::json::{text, visit_members};
use crate::redact::Redactions;

/// The fields that the wire contract names.
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

    fn name(self) -> &'static str {
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

/// An event as it was sent: raw JSON values by field. Where a name stands twice, the last counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a> {
    known: [Option<Cow<'a, str>>; Field::COUNT],
    /// Of `data`, if the scanner went through it.
    scanned: Option<Scanned<'a>>,
    extra: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    promoted: PromotedColumns<'a>,
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

    /// Sets `data` to a raw JSON value of which so much is known.
    pub(super) fn set_data(&mut self, raw: &'a str, scanned: Scanned<'a>) {
        self.set(Field::Data, raw);
        self.scanned = Some(scanned);
    }

    /// The raw JSON value of a field that is there and not null.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        self.known[field as usize].as_deref().filter(|raw| *raw != "null")
    }

    /// Takes a field's raw value out, if it is there and not null.
    pub(super) fn take(&mut self, field: Field) -> Option<Cow<'a, str>> {
        self.known[field as usize].take().filter(|raw| raw != "null")
    }

    /// Sets promoted columns, which take precedence over members of `data`.
    pub(super) fn set_promoted(&mut self, promoted: PromotedColumns<'a>) {
        self.promoted = promoted;
    }

    /// Keeps a field that the contract does not name: its name as a JSON string, its raw value.
    pub(super) fn keep_extra(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        raw: impl Into<Cow<'a, str>>,
    ) {
        self.extra.push((name.into(), raw.into()));
    }

    /// The fields that the contract does not name, each with its name as a JSON string.
    pub(super) fn extras(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.extra
    }

    /// Takes out the fields that the contract does not name.
    pub(super) fn take_extra(&mut self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        std::mem::take(&mut self.extra)
    }

    /// Whether a field is there, be it null.
    pub(super) fn has(&self, field: Field) -> bool {
        self.known[field as usize].is_some()
    }

    /// The event that these fields make, ready to be stored.
    pub(super) fn into_line(
        mut self,
        context: &Context<'_>,
        redactions: &mut Redactions,
        out: &mut Vec<u8>,
    ) -> Result<u128, Invalid> {
        // Those of an event that turns out to be invalid are found again in its original.
        let mut found = Redactions::default();
        let known = std::mem::take(&mut self.promoted);
        let scanned = self.scanned.take();
        let event_type = self.required_text(Field::EventType)?;
        let session_id = self.required_text(Field::SessionId)?;
        let event_id = match self.text(Field::EventId, 1)? {
            Some(id) => id,
            None => Cow::Owned(uuid::Uuid::now_v7().to_string()),
        };
        let sent = self.get(Field::Data).map(|raw| context.redact(raw, &mut found));
        let (data, promoted) = match (&sent, scanned) {
            (None, _) => (Cow::Borrowed("{}"), PromotedColumns::default()),
            // As it was when it was scanned, and as it is to be stored.
            (Some(Cow::Borrowed(raw)), Some(scanned))
                if raw.starts_with('{')
                    && scanned.is_compact
                    && scanned.depth <= context.depth_max =>
            {
                (Cow::Borrowed(*raw), scanned.promoted)
            }
            (Some(raw), _) if raw.starts_with('{') => compact(raw, context.depth_max)
                .map_err(|TooDeep| too_deep("data", context.depth_max))?,
            (Some(raw), _) => {
                let error = format!("must be an object, not {}", text::kind(raw));
                return Err(Invalid::field("data", error));
            }
        };
        let mut promoted = known.or(promoted);
        promoted[PromotedColumn::KeyName] = context.key_name.map(Cow::Borrowed);
        let event = Event {
            workflow_id: self.text(Field::WorkflowId, 0)?,
            phase_id: self.text(Field::PhaseId, 0)?,
            milestone_id: self.text(Field::MilestoneId, 0)?,
            timestamp: self.timestamp(context.received_at)?,
            received_at: context.received_at,
            extra: self.extra(context, &mut found)?.map(Cow::Owned),
            promoted,
            event_id,
            event_type,
            session_id,
            data,
        };
        event.write_line(out);
        redactions.add(&found);
        Ok(event.key())
    }

    fn required_text(&self, field: Field) -> Result<Cow<'_, str>, Invalid> {
        self.text(field, 1)?.ok_or_else(|| {
            let error = format!("is required: a string of 1 to {TEXT_BYTES_MAX} bytes");
            Invalid::field(field.name(), error)
        })
    }

    fn text(&self, field: Field, bytes_min: usize) -> Result<Option<Cow<'_, str>>, Invalid> {
        let Some(raw) = self.get(field) else { return Ok(None) };
        let must = format_args!("must be a string of {bytes_min} to {TEXT_BYTES_MAX} bytes");
        if !raw.starts_with('"') {
            let error = format!("{must}, not {}", text::kind(raw));
            return Err(Invalid::field(field.name(), error));
        }
        let text = text::unescape(raw);
        if text.len() < bytes_min || text.len() > TEXT_BYTES_MAX {
            let error = format!("{must}, it has {}", text.len());
            return Err(Invalid::field(field.name(), error));
        }
        Ok(Some(text))
    }

    fn timestamp(&self, received_at: Timestamp) -> Result<Timestamp, Invalid> {
        let parsed = match self.get(Field::Timestamp) {
            None => return Ok(received_at),
            Some(raw) => match raw.as_bytes()[0] {
                b'"' => timestamp::parse_text(&text::unescape(raw)),
                b'-' | b'0'..=b'9' => timestamp::parse_number(raw),
                _ => Err(format!("must be a string or a number, not {}", text::kind(raw))),
            },
        };
        parsed.map_err(|error| Invalid::field("timestamp", error))
    }

    fn extra(
        &self,
        context: &Context<'_>,
        found: &mut Redactions,
    ) -> Result<Option<String>, Invalid> {
        if self.extra.is_empty() {
            return Ok(None);
        }
        let mut object = String::from("{");
        for (name, raw) in &self.extra {
            let (name, raw) = (context.redact(name, found), context.redact(raw, found));
            let (value, _) = compact(&raw, context.depth_max).map_err(|TooDeep| {
                let name: String = text::unescape(&name).chars().take(TEXT_BYTES_MAX).collect();
                too_deep(&name, context.depth_max)
            })?;
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&name);
            object.push(':');
            object.push_str(&value);
        }
        object.push('}');
        Ok(Some(object))
    }
}

fn too_deep(field: &str, depth_max: usize) -> Invalid {
    Invalid::field(field, format!("is nested deeper than {depth_max} levels (MAX_DEPTH)"))
}
