//! The messages of OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/>) in protobuf and JSON, without the
//! fields that are not stored. Field numbers are those of `opentelemetry/proto/*/v1`.
//!
//! The exports of all signals have the same structure: groups by resource, in these groups by scope, in
//! these the records: log records, spans or metrics. Records are left unparsed, so that an invalid record is
//! rejected by itself.
//!
//! Text is bytes here, because a text that an exporter cut in the middle of a character must not cost the
//! record.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::proto_json::{
    Number, id, list, null_default, number, present_list, severity, span_kind, status_code, text,
    text_option,
};

/// A text that may be invalid UTF-8: see [`lossy`].
pub(super) type TextBytes = Vec<u8>;

/// Returns a text with U+FFFD for invalid bytes.
pub(super) fn lossy(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// An export of any signal.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) resources: Vec<ResourceGroup>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResourceGroup {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scopes: Vec<ScopeGroup>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScopeGroup {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<InstrumentationScope>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) records: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct InstrumentationScope {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "text")]
    pub(super) name: TextBytes,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    pub(super) version: TextBytes,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    #[serde(alias = "time_unix_nano", deserialize_with = "number")]
    pub(super) time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    #[serde(alias = "severity_number", deserialize_with = "severity")]
    pub(super) severity_number: i32,
    #[prost(bytes = "vec", tag = "3")]
    #[serde(alias = "severity_text", deserialize_with = "text")]
    pub(super) severity_text: TextBytes,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    #[serde(alias = "trace_id", deserialize_with = "id")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    #[serde(alias = "span_id", deserialize_with = "id")]
    pub(super) span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    #[serde(alias = "observed_time_unix_nano", deserialize_with = "number")]
    pub(super) observed_time_unix_nano: u64,
    #[prost(bytes = "vec", tag = "12")]
    #[serde(alias = "event_name", deserialize_with = "text")]
    pub(super) event_name: TextBytes,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(alias = "trace_id", deserialize_with = "id")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(rename = "spanId", alias = "span_id", deserialize_with = "id")]
    pub(super) id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(alias = "parent_span_id", deserialize_with = "id")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    #[serde(deserialize_with = "text")]
    pub(super) name: TextBytes,
    #[prost(int32, tag = "6")]
    #[serde(deserialize_with = "span_kind")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    #[serde(alias = "start_time_unix_nano", deserialize_with = "number")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    #[serde(alias = "end_time_unix_nano", deserialize_with = "number")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    #[serde(deserialize_with = "list")]
    pub(super) events: Vec<SpanEvent>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<SpanStatus>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpanEvent {
    #[prost(fixed64, tag = "1")]
    #[serde(alias = "time_unix_nano", deserialize_with = "number")]
    pub(super) time_unix_nano: u64,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    pub(super) name: TextBytes,
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpanStatus {
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    pub(super) message: TextBytes,
    #[prost(int32, tag = "3")]
    #[serde(deserialize_with = "status_code")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "text")]
    pub(super) key: TextBytes,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "AttributeValue", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) value: Option<AttributeValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum AttributeValue {
    #[prost(bytes, tag = "1")]
    String(TextBytes),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    Map(KeyValueList),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(super) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "null_default")]
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(super) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "list")]
    pub(super) values: Vec<KeyValue>,
}

/// [`ExportRequest`] in JSON, where the names of the groups tell the signal; `None` if the member is absent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ExportRequestJson<'a> {
    #[serde(
        borrow,
        rename = "resourceLogs",
        alias = "resource_logs",
        deserialize_with = "present_list"
    )]
    pub(super) logs: Option<Vec<ResourceGroupJson<'a>>>,
    #[serde(
        borrow,
        rename = "resourceSpans",
        alias = "resource_spans",
        deserialize_with = "present_list"
    )]
    pub(super) spans: Option<Vec<ResourceGroupJson<'a>>>,
    #[serde(
        borrow,
        rename = "resourceMetrics",
        alias = "resource_metrics",
        deserialize_with = "present_list"
    )]
    pub(super) metrics: Option<Vec<ResourceGroupJson<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct ResourceGroupJson<'a> {
    pub(super) resource: Option<Resource>,
    #[serde(
        borrow,
        default,
        rename = "scopeLogs",
        alias = "scope_logs",
        alias = "scopeSpans",
        alias = "scope_spans",
        alias = "scopeMetrics",
        alias = "scope_metrics",
        deserialize_with = "list"
    )]
    pub(super) scopes: Vec<ScopeGroupJson<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ScopeGroupJson<'a> {
    pub(super) scope: Option<InstrumentationScope>,
    #[serde(
        borrow,
        default,
        rename = "logRecords",
        alias = "log_records",
        alias = "spans",
        alias = "metrics",
        deserialize_with = "list"
    )]
    pub(super) records: Vec<&'a RawValue>,
}

/// An `intValue`. Some exporters also send numbers that no 64 bits hold.
enum IntOrDouble {
    Int(i64),
    Double(f64),
}

impl std::str::FromStr for IntOrDouble {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Int).or_else(|_| text.parse().map(Self::from_double))
    }
}

impl IntOrDouble {
    fn from_double(number: f64) -> Self {
        let is_int = number.fract() == 0.0 && number.abs() < 9e15;
        if is_int { Self::Int(number as i64) } else { Self::Double(number) }
    }
}

impl From<IntOrDouble> for AttributeValue {
    fn from(number: IntOrDouble) -> Self {
        match number {
            IntOrDouble::Int(number) => Self::Int(number),
            IntOrDouble::Double(number) => Self::Double(number),
        }
    }
}

/// An object such as `{"stringValue":"..."}`. Unknown kinds are no value, and so is null.
impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[expect(clippy::struct_field_names, reason = "the names in OTLP")]
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Kinds {
            #[serde(alias = "string_value", deserialize_with = "text_option")]
            string_value: Option<TextBytes>,
            #[serde(alias = "bool_value")]
            bool_value: Option<bool>,
            #[serde(alias = "int_value")]
            int_value: Option<Number<IntOrDouble>>,
            #[serde(alias = "double_value")]
            double_value: Option<Number<f64>>,
            #[serde(alias = "array_value")]
            array_value: Option<ArrayValue>,
            #[serde(alias = "kvlist_value")]
            kvlist_value: Option<KeyValueList>,
            #[serde(alias = "bytes_value", deserialize_with = "text_option")]
            bytes_value: Option<TextBytes>,
        }
        let kinds = Option::<Kinds>::deserialize(deserializer)?.unwrap_or_default();
        let value = (kinds.string_value.map(AttributeValue::String))
            .or(kinds.bool_value.map(AttributeValue::Bool))
            .or(kinds.int_value.map(|number| number.0.into()))
            .or(kinds.double_value.map(|number| AttributeValue::Double(number.0)))
            .or(kinds.array_value.map(AttributeValue::Array))
            .or(kinds.kvlist_value.map(AttributeValue::Map))
            // Bytes are base64 in JSON, and are stored so.
            .or(kinds.bytes_value.map(AttributeValue::String));
        Ok(Self { value })
    }
}

/// The response to an export.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// Set if some records were rejected. The sender must not send these again.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// The rejected part of an export.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// The number of rejected records.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why they were rejected.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `google.rpc.Status`: why an export failed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// A description for people.
    #[prost(string, tag = "2")]
    pub message: String,
}
