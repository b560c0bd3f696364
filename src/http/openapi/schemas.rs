//! Schemas of bodies that are no Rust types: those that are decoded or written as a stream.

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::decode::agent_names;
use crate::event::{ColumnKind, MEMBERS, Member, MemberKind, PromotedColumn};

/// Defines a schema that a function builds.
macro_rules! schema {
    ($($(#[$meta:meta])* $type:ident = $name:literal: $schema:expr;)*) => {$(
        $(#[$meta])*
        pub(in crate::http) struct $type;

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

schema! {
    /// The members of a stored event.
    StoredEvent = "Event": stored_event();
    /// The name of a member of a stored event.
    MemberName = "Member":
        string().enum_values(Some(MEMBERS.iter().map(|member| member.name))).build();
    /// An agent whose hook payloads are understood.
    AgentName = "Agent": string()
        .description(Some(
            "The agent that sends the payload; `auto` recognizes the agent by its payload.",
        ))
        .enum_values(Some(agent_names()))
        .build();
    /// A timestamp as senders may write it.
    SentTimestamp = "Timestamp": sent_timestamp();
    /// A point in time in a query.
    QueryTime = "Time": query_time();
    /// Bytes.
    Binary = "Binary":
        string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).build();
    /// JSON Lines.
    Lines = "Lines": string().description(Some("JSON Lines: one JSON object a line.")).build();
    /// Text.
    Text = "Text": string().build();
    /// An object with any members.
    JsonObject = "JsonObject": ObjectBuilder::new().build();
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn date_time() -> ObjectBuilder {
    string().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn stored_event() -> Schema {
    let event = ObjectBuilder::new().description(Some(
        "A stored event. `fields` and `data` select its members. Without them, the members up to \
         `received_at` are present; the others only if they have a value.",
    ));
    let event = MEMBERS.iter().fold(event, |event, member| event.property(member.name, of(member)));
    event
        .examples([json!({
            "event_id": "0199c0de-0000-7000-8000-000000000001",
            "event_type": "tool_execution_completed",
            "session_id": "session-1",
            "workflow_id": null,
            "phase_id": null,
            "milestone_id": null,
            "data": { "tool_name": "Bash", "duration_ms": 12 },
            "timestamp": "2026-11-23T09:00:00.000000Z",
            "received_at": "2026-11-23T09:00:00.012345Z",
            "tool_name": "Bash",
            "duration_ms": 12,
        })])
        .into()
}

fn of(member: &Member) -> Schema {
    let schema = match member.kind {
        MemberKind::Object => ObjectBuilder::new(),
        MemberKind::Timestamp => date_time(),
        MemberKind::Scalar(kind) => {
            let scalar = match kind {
                ColumnKind::Text => Type::String,
                ColumnKind::Count => Type::Integer,
                ColumnKind::Measure => Type::Number,
            };
            let is_promoted = PromotedColumn::ALL.iter().any(|column| column.name() == member.name);
            // A promoted column without a value is absent.
            let is_nullable = !member.is_required && !is_promoted;
            ObjectBuilder::new().schema_type(if is_nullable {
                SchemaType::Array(vec![scalar, Type::Null])
            } else {
                scalar.into()
            })
        }
    };
    schema.description(Some(member.description)).into()
}

fn sent_timestamp() -> Schema {
    let day = "(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
    let time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?";
    let number = |minimum: isize, maximum: isize| {
        let number = ObjectBuilder::new().schema_type(Type::Number);
        number.minimum(Some(minimum)).maximum(Some(maximum))
    };
    AnyOfBuilder::new()
        .description(Some(
            "ISO 8601 with an offset, or without one (then UTC); or a number: epoch seconds between \
             -1e11 and 1e11, else epoch milliseconds. From year 1 to 9999. If absent or null, the \
             time of receipt.",
        ))
        .item(date_time())
        .item(string().pattern(Some(format!("^{day}([T ]{time})?$"))))
        .item(number(-62_135_596_800, 253_402_300_799_999))
        .item(number(-62_135_596_800_000, -100_000_000_000))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .into()
}

fn query_time() -> Schema {
    AnyOfBuilder::new()
        .description(Some(
            "A timestamp such as `2026-11-23T09:00:00Z`, in any form that events may have; or a \
             duration before now: `30s`, `15m`, `2h`, `7d`.",
        ))
        .item(date_time())
        .item(string().pattern(Some("^[1-9][0-9]{0,5}[smhd]$")))
        .item(string().pattern(Some("^([0-9]{1,7}|[0-9]{9,13})(\\.[0-9]{1,9})?$")))
        .into()
}

/// A new event. Other members are stored under `extra`.
#[derive(ToSchema)]
#[schema(examples(json!({
    "event_type": "tool_execution_completed",
    "session_id": "session-1",
    "data": { "tool_name": "Bash", "duration_ms": 12 },
    "timestamp": "2026-11-23T09:00:00Z",
})))]
#[expect(dead_code, reason = "describes what `decode` reads")]
pub(in crate::http) struct NewEvent {
    /// What happened; not a closed list.
    #[schema(min_length = 1, max_length = 255)]
    event_type: String,
    /// The agent's session.
    #[schema(min_length = 1, max_length = 255)]
    session_id: String,
    /// Unique within the session. If absent or null, the server generates a UUIDv7.
    #[schema(min_length = 1, max_length = 255)]
    event_id: Option<String>,
    /// The workflow that the event belongs to.
    #[schema(max_length = 255)]
    workflow_id: Option<String>,
    /// The phase of the workflow.
    #[schema(max_length = 255)]
    phase_id: Option<String>,
    /// The milestone of the workflow.
    #[schema(max_length = 255)]
    milestone_id: Option<String>,
    /// The payload, stored as it was sent.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    /// When it happened.
    #[schema(required = false, schema_with = timestamp)]
    timestamp: (),
}

fn timestamp() -> RefOr<Schema> {
    Ref::from_schema_name(SentTimestamp::name()).into()
}

/// A CloudEvent 1.0. Other attributes are stored under `extra`.
pub(in crate::http) struct CloudEvent;

impl PartialSchema for CloudEvent {
    fn schema() -> RefOr<Schema> {
        let text = || string().min_length(Some(1)).max_length(Some(255));
        let needs =
            |name: &str| ObjectBuilder::new().schema_type(SchemaType::AnyValue).required(name);
        let members = ObjectBuilder::new()
            .property("specversion", string().enum_values(Some(["1.0"])))
            .property("id", text().description(Some("Stored as `event_id`.")))
            .property(
                "source",
                ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(
                    "Required by CloudEvents; any value is stored under `extra`.",
                )),
            )
            .property("type", text().description(Some("Stored as `event_type`.")))
            .property("subject", text().description(Some("The session, without `sessionid`.")))
            .property(
                "sessionid",
                ObjectBuilder::new()
                    .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
                    .min_length(Some(1))
                    .max_length(Some(255))
                    .description(Some("Extension attribute; stored as `session_id`.")),
            )
            .property("time", timestamp())
            .required("specversion")
            .required("id")
            .required("type");
        let session = AnyOfBuilder::new().item(needs("subject")).item(needs("sessionid"));
        utoipa::openapi::AllOfBuilder::new()
            .description(Some(
                "A CloudEvent 1.0. The extension attribute `sessionid`, else `subject`, names the \
                 session. Other attributes are stored under `extra`.",
            ))
            .item(members)
            .item(session)
            .examples([json!({
                "specversion": "1.0",
                "id": "1",
                "source": "/agents/1",
                "type": "tool_execution_completed",
                "subject": "session-1",
                "time": "2026-11-23T09:00:00Z",
                "data": { "tool_name": "Bash" },
            })])
            .into()
    }
}

impl ToSchema for CloudEvent {}

/// A page of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is written as a stream")]
pub(in crate::http) struct EventPage {
    events: Vec<StoredEvent>,
    /// The `cursor` of the next page; null if this is the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// An `ExportLogsServiceRequest` of OTLP.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `decode` reads")]
pub(in crate::http) struct ExportLogsRequest {
    #[schema(rename = "resourceLogs", value_type = Vec<Object>, required = false)]
    resource_logs: Vec<Value>,
}

/// An `ExportLogsServiceResponse` of OTLP.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ExportLogsResponse {
    /// Absent if all log records were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) partial_success: Option<LogsPartialSuccess>,
}

/// The log records that were rejected, and will be again if they are sent again.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct LogsPartialSuccess {
    /// A number; JSON of Protobuf writes 64-bit integers as strings.
    pub(in crate::http) rejected_log_records: String,
    pub(in crate::http) error_message: String,
}

/// An `ExportTraceServiceRequest` of OTLP.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `decode` reads")]
pub(in crate::http) struct ExportTraceRequest {
    #[schema(rename = "resourceSpans", value_type = Vec<Object>, required = false)]
    resource_spans: Vec<Value>,
}

/// An `ExportTraceServiceResponse` of OTLP.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ExportTraceResponse {
    /// Absent if all spans were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) partial_success: Option<TracePartialSuccess>,
}

/// The spans that were rejected, and will be again if they are sent again.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct TracePartialSuccess {
    /// A number; JSON of Protobuf writes 64-bit integers as strings.
    pub(in crate::http) rejected_spans: String,
    pub(in crate::http) error_message: String,
}

/// An `ExportMetricsServiceRequest` of OTLP.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `decode` reads")]
pub(in crate::http) struct ExportMetricsRequest {
    #[schema(rename = "resourceMetrics", value_type = Vec<Object>, required = false)]
    resource_metrics: Vec<Value>,
}

/// An `ExportMetricsServiceResponse` of OTLP.
#[derive(serde::Serialize, ToSchema)]
pub(in crate::http) struct ExportMetricsResponse {}

/// A `google.rpc.Status`.
#[derive(serde::Serialize, ToSchema)]
pub(in crate::http) struct OtlpStatus {
    pub(in crate::http) message: String,
}
