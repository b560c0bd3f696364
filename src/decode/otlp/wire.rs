//! The messages of OTLP/HTTP logs (<https://opentelemetry.io/docs/specs/otlp/>) in protobuf and JSON, without
//! the fields that are not stored. Field numbers are those of `opentelemetry/proto/logs/v1`.
//!
//! Log records are left unparsed in both, so that an invalid record is rejected by itself.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    #[serde(default)]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<InstrumentationScope>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) log_records: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct InstrumentationScope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    #[serde(deserialize_with = "number")]
    pub(super) time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub(super) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(super) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    #[serde(deserialize_with = "hex")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    #[serde(deserialize_with = "hex")]
    pub(super) span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    #[serde(deserialize_with = "number")]
    pub(super) observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    pub(super) event_name: String,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
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
    #[prost(string, tag = "1")]
    String(String),
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
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub(super) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValue>,
}

/// [`ExportRequest`] in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExportRequestJson<'a> {
    #[serde(borrow, default)]
    pub(super) resource_logs: Vec<ResourceLogsJson<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceLogsJson<'a> {
    pub(super) resource: Option<Resource>,
    #[serde(borrow, default)]
    pub(super) scope_logs: Vec<ScopeLogsJson<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeLogsJson<'a> {
    pub(super) scope: Option<InstrumentationScope>,
    #[serde(borrow, default)]
    pub(super) log_records: Vec<&'a RawValue>,
}

/// An object such as `{"stringValue":"..."}`. Unknown kinds are no value.
impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[expect(clippy::struct_field_names, reason = "the names in OTLP")]
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Kinds {
            string_value: Option<String>,
            bool_value: Option<bool>,
            int_value: Option<Number<i64>>,
            double_value: Option<Number<f64>>,
            array_value: Option<ArrayValue>,
            kvlist_value: Option<KeyValueList>,
            bytes_value: Option<String>,
        }
        let kinds = Kinds::deserialize(deserializer)?;
        let value = (kinds.string_value.map(AttributeValue::String))
            .or(kinds.bool_value.map(AttributeValue::Bool))
            .or(kinds.int_value.map(|number| AttributeValue::Int(number.0)))
            .or(kinds.double_value.map(|number| AttributeValue::Double(number.0)))
            .or(kinds.array_value.map(AttributeValue::Array))
            .or(kinds.kvlist_value.map(AttributeValue::Map))
            // Bytes are base64 in JSON, and are stored so.
            .or(kinds.bytes_value.map(AttributeValue::String));
        Ok(Self { value })
    }
}

/// A number, or a string with a number, since many JSON parsers do not support 64-bit numbers.
struct Number<T>(T);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelled<'a> {
            Text(#[serde(borrow)] Cow<'a, str>),
            Signed(i64),
            Unsigned(u64),
            Double(f64),
        }
        let text = match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => text,
            Spelled::Signed(number) => number.to_string().into(),
            Spelled::Unsigned(number) => number.to_string().into(),
            Spelled::Double(number) => number.to_string().into(),
        };
        text.parse()
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("{text:?} is not a valid number")))
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::<Number<u64>>::deserialize(deserializer)?.map_or(0, |number| number.0))
}

/// IDs are hexadecimal in OTLP JSON, and not base64 as in other protobuf JSON.
fn hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?.unwrap_or_default();
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is not a hexadecimal ID")))
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
    /// The number of rejected log records.
    #[prost(int64, tag = "1")]
    pub rejected_log_records: i64,
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
