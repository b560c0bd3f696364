//! JSON objects, arrays and lines.

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Fields;
use super::{Context, DecodeError, Decoded, Invalid, Rejected, text};
use crate::redact::Redactions;

/// Turns the fields of another vocabulary into ours.
pub(super) trait Rename: Fn(Fields<'_>) -> Result<Fields<'_>, Invalid> {}
impl<F: Fn(Fields<'_>) -> Result<Fields<'_>, Invalid>> Rename for F {}

/// One event.
pub(super) fn object(
    body: &str,
    context: &Context<'_>,
    rename: impl Rename,
) -> Result<Decoded, DecodeError> {
    let fields: Fields<'_> = serde_json::from_str(body).map_err(|error| {
        let hint = if body.trim_start().starts_with('[') {
            "; arrays of events go to /events/batch"
        } else {
            ""
        };
        not_json(&error, hint)
    })?;
    let mut collector = Collector::new(context, rename);
    collector.add(fields, || body.to_owned());
    Ok(collector.decoded)
}

/// A JSON array of events.
pub(super) fn array(
    body: &str,
    context: &Context<'_>,
    rename: impl Rename,
) -> Result<Decoded, DecodeError> {
    if body.trim_start().starts_with('{') {
        return Err(DecodeError::NotJson(
            "expected a JSON array of events; a single event goes to /events, and one event a \
             line needs Content-Type: application/x-ndjson"
                .to_owned(),
        ));
    }
    // The quick way takes each element apart as it is parsed, and stops at the first that is no
    // object. The thorough one first finds where each element ends.
    let mut collector = Collector::new(context, &rename);
    if parse(body, &mut collector, Walk::Quick).is_ok() {
        return Ok(collector.decoded);
    }
    let mut collector = Collector::new(context, &rename);
    match parse(body, &mut collector, Walk::Thorough) {
        Ok(()) => Ok(collector.decoded),
        Err(_) if collector.too_many => {
            Err(DecodeError::TooManyEvents { max: context.batch_events_max })
        }
        Err(error) => Err(not_json(&error, "")),
    }
}

/// One event a line. A line that is no JSON spoils itself alone, unless there is no valid one.
pub(super) fn lines(
    body: &str,
    context: &Context<'_>,
    rename: impl Rename,
) -> Result<Decoded, DecodeError> {
    let mut collector = Collector::new(context, rename);
    let mut first_error = None;
    let mut any_json = false;
    for (number, line) in body.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if collector.full() {
            return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
        }
        match serde_json::from_str::<Fields<'_>>(line) {
            Ok(fields) => {
                any_json = true;
                collector.add(fields, || line.to_owned());
            }
            Err(error) => {
                let error = format!("line {}: {error}", number + 1);
                collector.reject(Invalid::event(error.clone()), line.to_owned());
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if !any_json => {
            Err(DecodeError::NotJson(format!("not one JSON object a line: {error}")))
        }
        _ => Ok(collector.decoded),
    }
}

fn not_json(error: &serde_json::Error, hint: &str) -> DecodeError {
    DecodeError::NotJson(format!("the body is not the JSON expected here: {error}{hint}"))
}

/// Makes records of the events of one body, in order.
struct Collector<'c, R> {
    context: &'c Context<'c>,
    rename: R,
    decoded: Decoded,
    index: usize,
    too_many: bool,
}

impl<'c, R: Rename> Collector<'c, R> {
    fn new(context: &'c Context<'c>, rename: R) -> Self {
        Self { context, rename, decoded: Decoded::new(context), index: 0, too_many: false }
    }

    fn full(&self) -> bool {
        self.index >= self.context.batch_events_max
    }

    fn add(&mut self, fields: Fields<'_>, original: impl FnOnce() -> String) {
        let context = self.context;
        let rename = &self.rename;
        let Decoded { batch, redactions, .. } = &mut self.decoded;
        let added = batch.push(|line| rename(fields)?.into_line(context, redactions, line));
        match added {
            Ok(()) => self.index += 1,
            Err(reason) => self.reject(reason, original()),
        }
    }

    fn reject(&mut self, mut reason: Invalid, mut original: String) {
        if let Some(redactor) = self.context.redactor {
            let found = &mut self.decoded.redactions;
            original = redactor.original(&original, found).into_owned();
            // These can quote the event; what they quote has been counted.
            let counted = &mut Redactions::default();
            reason.error = redactor.plain(&reason.error, counted).into_owned();
            reason.field = reason.field.map(|name| redactor.plain(&name, counted).into_owned());
        }
        self.decoded.rejected.push(Rejected { index: self.index, reason, original });
        self.index += 1;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Walk {
    Quick,
    Thorough,
}

fn parse<R: Rename>(
    body: &str,
    collector: &mut Collector<'_, R>,
    walk: Walk,
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(body);
    Elements { collector, walk }.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Elements<'e, 'c, R> {
    collector: &'e mut Collector<'c, R>,
    walk: Walk,
}

impl<'de, R: Rename> DeserializeSeed<'de> for Elements<'_, '_, R> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: Rename> Visitor<'de> for Elements<'_, '_, R> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { collector, walk } = self;
        loop {
            let more = match walk {
                Walk::Quick => match seq.next_element::<Fields<'de>>()? {
                    Some(_) if collector.full() => {
                        collector.too_many = true;
                        return Err(A::Error::custom("too many"));
                    }
                    Some(fields) => {
                        let rejected = collector.decoded.rejected.len();
                        collector.add(fields, String::new);
                        // The original is needed now, and only the thorough walk knows it.
                        if collector.decoded.rejected.len() > rejected {
                            return Err(A::Error::custom("rejected"));
                        }
                        true
                    }
                    None => false,
                },
                Walk::Thorough => match seq.next_element::<&'de RawValue>()? {
                    Some(_) if collector.full() => {
                        collector.too_many = true;
                        return Err(A::Error::custom("too many"));
                    }
                    Some(raw) => {
                        let raw = raw.get();
                        if let Ok(fields) = serde_json::from_str::<Fields<'_>>(raw) {
                            collector.add(fields, || raw.to_owned());
                        } else {
                            let error = format!("must be a JSON object, not {}", text::kind(raw));
                            collector.reject(Invalid::event(error), raw.to_owned());
                        }
                        true
                    }
                    None => false,
                },
            };
            if !more {
                return Ok(());
            }
        }
    }
}
