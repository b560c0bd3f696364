//! OpenTelemetry (OTLP/HTTP): each log record, and each span of an agent, becomes one event. Other spans and
//! metrics are accepted and counted, because exporters that have one address for all signals report each
//! other response as an error.
//!
//! The `event_type` is the record's name, such as `claude_code.api_request`, which differs from those of the
//! hooks of the same agent. Promoted columns are taken from the attributes of the known agents, and from
//! those of the semantic conventions for generative AI (`gen_ai.*`).
//!
//! Records do not have IDs. The event ID of a record with a time is a hash of the record and of its number
//! among the equal records of the export, so that equal records are all stored, and an export that is sent
//! again is stored once. A record without a time gets a random ID.

mod attributes;
mod log_record;
mod origin;
mod proto_json;
mod span;
mod usage;
mod wire;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;

use prost::Message;

use origin::{RecordOrigin, timestamp};
use wire::{ExportRequest, ExportRequestJson, LogRecord, ResourceGroupJson, Span};
pub use wire::{ExportResponse, PartialSuccess, RpcStatus};

use super::body;
use super::context::Context;
use super::decoded::{DecodeError, Decoded, Invalid};
use super::fields::{Field, Fields};
use crate::json::each_member;
use crate::json::text::{has_surrogates, replace_lone_surrogates};

/// The encoding of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// The kind of records in an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    fn request_name(self) -> &'static str {
        match self {
            Self::Logs => "ExportLogsServiceRequest",
            Self::Traces => "ExportTraceServiceRequest",
            Self::Metrics => "ExportMetricsServiceRequest",
        }
    }

    fn member(self) -> &'static str {
        match self {
            Self::Logs => "resourceLogs",
            Self::Traces => "resourceSpans",
            Self::Metrics => "resourceMetrics",
        }
    }
}

/// Decodes an export.
///
/// # Errors
/// If the body is not an export of the signal, or has too many records.
pub fn decode_export(
    signal: Signal,
    encoding: OtlpEncoding,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let decoded = Decoded::new(context, body.len());
    let mut collector =
        RecordCollector { signal, context, decoded, index: 0, occurrences: HashMap::new() };
    let not_otlp = |error: &dyn Display| {
        DecodeError::NotJson(format!("not an OTLP {}: {error}", signal.request_name()))
    };
    match encoding {
        OtlpEncoding::Protobuf => {
            let request = ExportRequest::decode(body).map_err(|error| not_otlp(&error))?;
            // Unknown fields are skipped, so that any message could be an empty export.
            if request.resources.is_empty() && !body.is_empty() {
                return Err(not_otlp(&format!("{} is missing", signal.member())));
            }
            for group in request.resources {
                let resource = &group.resource.unwrap_or_default();
                for group in group.scopes {
                    let scope = &group.scope.unwrap_or_default();
                    for record in group.records {
                        let original = || format!("{record:?}");
                        collector.add(
                            RecordOrigin { resource, scope },
                            RawRecord::Protobuf(&record),
                            original,
                        )?;
                    }
                }
            }
        }
        OtlpEncoding::Json => {
            let text = without_lone_surrogates(body::text(body)?);
            for group in resources(signal, &text).map_err(|error| not_otlp(&error))? {
                let resource = &group.resource.unwrap_or_default();
                for group in group.scopes {
                    let scope = &group.scope.unwrap_or_default();
                    for record in group.records {
                        collector.add(
                            RecordOrigin { resource, scope },
                            RawRecord::Json(record.get()),
                            || record.get().to_owned(),
                        )?;
                    }
                }
            }
        }
    }
    Ok(collector.decoded)
}

/// Returns the groups of an export in JSON.
fn resources(signal: Signal, text: &str) -> serde_json::Result<Vec<ResourceGroupJson<'_>>> {
    let request: ExportRequestJson<'_> = read_object(text)?;
    let groups = match signal {
        Signal::Logs => request.logs,
        Signal::Traces => request.spans,
        Signal::Metrics => request.metrics,
    };
    let mut is_empty = true;
    if groups.is_none() {
        each_member(text.as_bytes(), |_, _| is_empty = false);
    }
    match groups {
        None if !is_empty => {
            let error = format!("{} is missing", signal.member());
            Err(serde::de::Error::custom(error))
        }
        groups => Ok(groups.unwrap_or_default()),
    }
}

/// Replaces lone surrogates by U+FFFD. Exporters that cut texts by UTF-16 units write them.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !has_surrogates(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut replaced = text.to_owned().into_bytes();
    replace_lone_surrogates(&mut replaced);
    String::from_utf8(replaced).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Parses a JSON object. Serde alone would accept an array of the members, too.
fn read_object<'j, T: serde::Deserialize<'j>>(json: &'j str) -> serde_json::Result<T> {
    if !json.trim_start().starts_with('{') {
        return Err(serde::de::Error::custom("must be an object"));
    }
    serde_json::from_str(json)
}

/// A record that is not parsed yet.
#[derive(Clone, Copy)]
enum RawRecord<'a> {
    Protobuf(&'a [u8]),
    Json(&'a str),
}

impl RawRecord<'_> {
    fn parse<T: Message + Default + serde::de::DeserializeOwned>(self) -> Result<T, Invalid> {
        match self {
            Self::Protobuf(bytes) => T::decode(bytes).map_err(|error| error.to_string()),
            Self::Json(text) => read_object(text).map_err(|error| error.to_string()),
        }
        .map_err(Invalid::event)
    }
}

/// The fields of an event whose ID depends on the other records of the export.
struct TimedFields {
    fields: Fields<'static>,
    /// Time since the epoch; 0 if there is none.
    nanos: u64,
    data: String,
}

struct RecordCollector<'c> {
    signal: Signal,
    context: &'c Context<'c>,
    decoded: Decoded,
    index: usize,
    /// The number of records with this hash.
    occurrences: HashMap<u128, u32>,
}

impl RecordCollector<'_> {
    fn add(
        &mut self,
        origin: RecordOrigin<'_>,
        record: RawRecord<'_>,
        original: impl FnOnce() -> String,
    ) -> Result<(), DecodeError> {
        let context = self.context;
        let event = match self.signal {
            Signal::Logs => {
                record.parse::<LogRecord>().map(|record| Some(log_record::event(origin, &record)))
            }
            Signal::Traces => record.parse::<Span>().map(|span| span::event(origin, &span)),
            Signal::Metrics => Ok(None),
        };
        let added = match event {
            Ok(None) => {
                self.decoded.ignored += 1;
                return Ok(());
            }
            _ if self.index >= context.batch_events_max => {
                return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
            }
            Ok(Some(event)) => {
                let fields = self.with_id(event);
                let Decoded { batch, redactions, .. } = &mut self.decoded;
                batch.push(|line| fields.into_line(context, redactions, line))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = added {
            self.decoded.reject(context, self.index, reason, original());
        }
        self.index += 1;
        Ok(())
    }

    fn with_id(&mut self, event: TimedFields) -> Fields<'static> {
        let TimedFields { mut fields, nanos, data } = event;
        if nanos > 0 {
            let hash = |occurrence: u32| {
                let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
                hasher.update(&nanos.to_le_bytes());
                hasher.update(data.as_bytes());
                if occurrence > 0 {
                    hasher.update(&occurrence.to_le_bytes());
                }
                hasher.digest128()
            };
            let first = hash(0);
            let occurrence = self.occurrences.entry(first).or_default();
            let id = if *occurrence == 0 { first } else { hash(*occurrence) };
            *occurrence += 1;
            fields.set(Field::EventId, format!("\"{id:032x}\""));
            if let Some(timestamp) = timestamp(nanos) {
                fields.set(Field::Timestamp, format!("\"{timestamp}\""));
            }
        }
        fields.set(Field::Data, data);
        fields
    }
}
