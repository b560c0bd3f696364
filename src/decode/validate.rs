//! Validates the fields of an event and writes its stored line.

use std::borrow::Cow;

use super::compact::{TooDeep, compact};
use super::context::Context;
use super::decoded::Invalid;
use super::fields::{Field, Fields, Scanned};
use crate::event::{
    Event, PromotedColumn, PromotedColumns, TEXT_BYTES_MAX, Timestamp, generated_id, timestamp,
};
use crate::json::text;
use crate::redact::Redactions;

impl Fields<'_> {
    /// Appends the stored line of the event, and returns its key.
    ///
    /// # Errors
    /// If a field is invalid.
    pub(super) fn into_line(
        mut self,
        context: &Context<'_>,
        redactions: &mut Redactions,
        out: &mut Vec<u8>,
    ) -> Result<u128, Invalid> {
        // Counted apart: the secrets of an invalid event are counted when its original is redacted.
        let mut found = redactions.next();
        let known = self.promoted.take();
        let scanned = self.scanned.take();
        let event_type = self.required_text(Field::EventType)?;
        let event_type = context.redact_text(event_type, &mut found);
        let session_id = context.redact_id(self.required_text(Field::SessionId)?, &mut found);
        let event_id = match self.text(Field::EventId, 1)? {
            Some(id) => context.redact_id(id, &mut found),
            None => Cow::Owned(generated_id::generate()),
        };
        let sent = self.get(Field::Data).map(|raw| context.redact(raw, &mut found));
        let (data, promoted) = match &sent {
            Some(Cow::Borrowed(raw)) => data(raw, scanned, context.depth_max)?,
            // Secrets were replaced, so the scanner saw another text.
            Some(Cow::Owned(raw)) => data(raw, None, context.depth_max)?,
            None => (Cow::Borrowed("{}"), PromotedColumns::default()),
        };
        let mut promoted = match known {
            Some(known) if self.is_promoted_complete => known,
            Some(known) => known.or(promoted),
            None => promoted,
        };
        // Those of an agent or an exporter are from the payload as it was sent. They are in `data`, too, so
        // they are not counted.
        let mut again = found.next();
        promoted.map_texts(|column, text| match column {
            PromotedColumn::ParentSessionId => context.redact_id(text, &mut again),
            _ => context.redact_text(text, &mut again),
        });
        found.spend(&again);
        promoted.keep_valid();
        promoted[PromotedColumn::KeyName] = context.key_name.map(Cow::Borrowed);
        let event = Event {
            workflow_id: self.redacted_text(Field::WorkflowId, context, &mut found)?,
            phase_id: self.redacted_text(Field::PhaseId, context, &mut found)?,
            milestone_id: self.redacted_text(Field::MilestoneId, context, &mut found)?,
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

    fn redacted_text(
        &self,
        field: Field,
        context: &Context<'_>,
        found: &mut Redactions,
    ) -> Result<Option<Cow<'_, str>>, Invalid> {
        Ok(self.text(field, 0)?.map(|text| context.redact_text(text, found)))
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

    /// Returns the members that the API does not define as a JSON object, if there are any.
    fn extra(
        &self,
        context: &Context<'_>,
        found: &mut Redactions,
    ) -> Result<Option<String>, Invalid> {
        if self.extras().is_empty() {
            return Ok(None);
        }
        let mut object = String::from("{");
        for (name, raw) in self.extras() {
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

/// Returns `data` in the form in which it is stored, and the promoted columns among its members.
/// `scanned` is what the scanner found in the same text.
fn data<'d>(
    raw: &'d str,
    scanned: Option<Scanned<'d>>,
    depth_max: usize,
) -> Result<(Cow<'d, str>, PromotedColumns<'d>), Invalid> {
    if !raw.starts_with('{') {
        let error = format!("must be an object, not {}", text::kind(raw));
        return Err(Invalid::field("data", error));
    }
    match scanned {
        Some(scanned) if scanned.is_compact && scanned.depth <= depth_max => {
            Ok((Cow::Borrowed(raw), scanned.promoted))
        }
        _ => compact(raw, depth_max).map_err(|TooDeep| too_deep("data", depth_max)),
    }
}

fn too_deep(field: &str, depth_max: usize) -> Invalid {
    Invalid::field(field, format!("is nested deeper than {depth_max} levels (MAX_DEPTH)"))
}
