//! JSON objects, arrays and lines.
//!
//! Nearly all bodies are read by the scanner; `serde_json` parses what the scanner does not accept.

use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::context::Context;
use super::decoded::{DecodeError, Decoded, Invalid};
use super::fields::Fields;
use super::scan::Scanner;
use crate::json::text;

/// Maps the fields of another event format to those of the API.
pub(super) trait FieldMapper: Fn(Fields<'_>) -> Result<Fields<'_>, Invalid> {}
impl<F: Fn(Fields<'_>) -> Result<Fields<'_>, Invalid>> FieldMapper for F {}

/// Decodes one event.
pub(super) fn object(
    body: &str,
    context: &Context<'_>,
    map_fields: impl FieldMapper,
) -> Result<Decoded, DecodeError> {
    let fields = fields(body).map_err(|error| {
        let hint = if body.trim_start().starts_with('[') {
            "; send arrays of events to /events/batch"
        } else {
            ""
        };
        not_json(&error, hint)
    })?;
    let mut collector = EventCollector::new(context, map_fields, body);
    collector.add(fields, || body.to_owned());
    Ok(collector.decoded)
}

/// Decodes a JSON array of events.
pub(super) fn array(
    body: &str,
    context: &Context<'_>,
    map_fields: impl FieldMapper,
) -> Result<Decoded, DecodeError> {
    if body.trim_start().starts_with('{') {
        return Err(DecodeError::NotJson(
            "expected a JSON array of events; send a single event to /events, and one event \
             per line with Content-Type: application/x-ndjson"
                .to_owned(),
        ));
    }
    let mut collector = EventCollector::new(context, &map_fields, body);
    if scan(body, &mut collector).is_none() {
        collector = EventCollector::new(context, &map_fields, body);
        let mut deserializer = serde_json::Deserializer::from_str(body);
        let parsed = Elements(&mut collector).deserialize(&mut deserializer);
        parsed.and_then(|()| deserializer.end()).map_err(|error| not_json(&error, ""))?;
    }
    if collector.too_many {
        return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
    }
    Ok(collector.decoded)
}

/// Adds the events of an array of objects; `None` if the scanner does not accept the body.
fn scan<M: FieldMapper>(body: &str, collector: &mut EventCollector<'_, M>) -> Option<()> {
    let mut scanner = Scanner::new(body);
    scanner.take(b'[')?;
    if scanner.take(b']').is_none() {
        loop {
            let (fields, text) = scanner.fields()?;
            if collector.full() {
                collector.too_many = true;
                return Some(());
            }
            collector.add(fields, || text.to_owned());
            if scanner.take(b',').is_none() {
                break;
            }
        }
        scanner.take(b']')?;
    }
    scanner.end()
}

/// Returns the fields of an event.
pub(super) fn fields(text: &str) -> Result<Fields<'_>, serde_json::Error> {
    let mut scanner = Scanner::new(text);
    match scanner.fields() {
        Some((fields, _)) if scanner.end().is_some() => Ok(fields),
        _ => Fields::parse(text),
    }
}

/// Decodes one event per line. A line that is not JSON is rejected by itself; if no line is JSON, the body
/// is rejected.
pub(super) fn lines(
    body: &str,
    context: &Context<'_>,
    map_fields: impl FieldMapper,
) -> Result<Decoded, DecodeError> {
    let mut collector = EventCollector::new(context, map_fields, body);
    let mut first_error = None;
    let mut any_json = false;
    for (number, line) in body.lines().enumerate() {
        // Files that were joined have marks in the middle.
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        if collector.full() {
            return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
        }
        match fields(line) {
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
            Err(DecodeError::NotJson(format!("expected one JSON object per line: {error}")))
        }
        _ => Ok(collector.decoded),
    }
}

fn not_json(error: &serde_json::Error, hint: &str) -> DecodeError {
    DecodeError::NotJson(format!("the body is not the JSON expected here: {error}{hint}"))
}

/// Collects the events of one body.
struct EventCollector<'c, M> {
    context: &'c Context<'c>,
    map_fields: M,
    decoded: Decoded,
    index: usize,
    too_many: bool,
}

impl<'c, M: FieldMapper> EventCollector<'c, M> {
    fn new(context: &'c Context<'c>, map_fields: M, body: &str) -> Self {
        let decoded = Decoded::new(context, body.len());
        Self { context, map_fields, decoded, index: 0, too_many: false }
    }

    fn full(&self) -> bool {
        self.index >= self.context.batch_events_max
    }

    fn add(&mut self, fields: Fields<'_>, original: impl FnOnce() -> String) {
        let context = self.context;
        let map_fields = &self.map_fields;
        let Decoded { batch, redactions, .. } = &mut self.decoded;
        let added = batch.push(|line| map_fields(fields)?.into_line(context, redactions, line));
        match added {
            Ok(()) => self.index += 1,
            Err(reason) => self.reject(reason, original()),
        }
    }

    fn reject(&mut self, reason: Invalid, original: String) {
        self.decoded.reject(self.context, self.index, reason, original);
        self.index += 1;
    }
}

/// Adds the elements of an array, of any type.
struct Elements<'e, 'c, M>(&'e mut EventCollector<'c, M>);

impl<'de, M: FieldMapper> DeserializeSeed<'de> for Elements<'_, '_, M> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, M: FieldMapper> Visitor<'de> for Elements<'_, '_, M> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(collector) = self;
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            let raw = raw.get();
            if collector.full() {
                collector.too_many = true;
            } else if let Ok(fields) = fields(raw) {
                collector.add(fields, || raw.to_owned());
            } else {
                let error = format!("must be a JSON object, not {}", text::kind(raw));
                collector.reject(Invalid::event(error), raw.to_owned());
            }
        }
        Ok(())
    }
}
