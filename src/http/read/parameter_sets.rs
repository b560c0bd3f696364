//! The query parameters of the reading routes: their names and their descriptions, of which both the
//! check of requests and the OpenAPI document are made.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr, Required};
use utoipa::{IntoParams, ToSchema};

use crate::http::openapi::schemas::{MemberName, QueryTime};

/// Maximum number of events in a page of `GET /events`.
pub(super) const EVENTS_MAX: usize = 1000;
pub(super) const EVENTS_DEFAULT: usize = 100;

/// Maximum number of sessions in a page of `GET /sessions`.
pub(super) const SESSIONS_MAX: usize = 200;
pub(super) const SESSIONS_DEFAULT: usize = 50;

/// Maximum length of the text of a search.
pub(super) const TEXT_BYTES_MAX: usize = 255;

/// A query parameter.
#[derive(Clone, Copy)]
pub(super) struct QueryParameter {
    pub(super) name: &'static str,
    description: &'static str,
    schema: fn() -> RefOr<Schema>,
}

const fn parameter(
    name: &'static str,
    description: &'static str,
    schema: fn() -> RefOr<Schema>,
) -> QueryParameter {
    QueryParameter { name, description, schema }
}

/// The parameters that select events, on every reading route.
const FILTER: &[QueryParameter] = &[
    parameter("session_id", "Events of this session.", text),
    parameter("event_type", "Events of one of these types, up to 50, separated by commas.", text),
    parameter("event_id", "Events with this id.", text),
    parameter("workflow_id", "Events of this workflow.", text),
    parameter("phase_id", "Events of this phase.", text),
    parameter("milestone_id", "Events of this milestone.", text),
    parameter("agent", "Events of this agent.", text),
    parameter("tool_name", "Events about this tool.", text),
    parameter("tool_use_id", "Events about this tool call.", text),
    parameter("since", "Events with this timestamp or a later one.", time),
    parameter("until", "Events with an earlier timestamp.", time),
];

const TEXT: &[QueryParameter] = &[parameter(
    "q",
    "Events whose `data`, as JSON, contains this text. Ignores the case of ASCII letters. One page \
     searches 50,000 events.",
    || string().max_length(Some(TEXT_BYTES_MAX)).into(),
)];

const MEMBERS: &[QueryParameter] = &[
    parameter(
        "fields",
        "The members to return, separated by commas. With `data=false`, at least one besides `data` \
         and `extra`.",
        || {
            let member = Ref::from_schema_name(MemberName::name());
            ArrayBuilder::new().items(RefOr::<Schema>::from(member)).min_items(Some(1)).into()
        },
    ),
    parameter("data", "`false` leaves out `data` and `extra`.", || {
        ObjectBuilder::new().schema_type(Type::Boolean).into()
    }),
];

const ORDER: &[QueryParameter] = &[parameter(
    "order",
    "Sort order by timestamp: `desc` (newest first, default of `GET /events`) or `asc` (oldest \
     first, default of the export).",
    || string().enum_values(Some(["asc", "desc"])).into(),
)];

const CURSOR: &[QueryParameter] =
    &[parameter("cursor", "The `next_cursor` of the previous page.", text)];

const EVENTS_LIMIT: &[QueryParameter] =
    &[parameter("limit", "Maximum number of events in the page.", || {
        whole_number(EVENTS_MAX, EVENTS_DEFAULT)
    })];

const SESSIONS_LIMIT: &[QueryParameter] =
    &[parameter("limit", "Maximum number of sessions in the page.", || {
        whole_number(SESSIONS_MAX, SESSIONS_DEFAULT)
    })];

const FORMAT: &[QueryParameter] = &[parameter("format", "The format of the export.", || {
    let formats = string().enum_values(Some(["ndjson", "csv", "parquet"]));
    formats.default(Some("ndjson".into())).into()
})];

const SPREADSHEET: &[QueryParameter] = &[parameter(
    "spreadsheet",
    "With `format=csv`: `true` writes an apostrophe before texts that spreadsheets take for a formula (`=`, \
     `+`, `-`, `@`, tab, carriage return).",
    || ObjectBuilder::new().schema_type(Type::Boolean).into(),
)];

const AFTER: &[QueryParameter] = &[parameter(
    "after",
    "The id of the last event that the client has seen; for clients that cannot set the header \
     `Last-Event-ID`, which takes precedence.",
    text,
)];

const BUCKET: &[QueryParameter] = &[parameter(
    "bucket",
    "The length of a bucket, from `1s` to `366d`, such as `5m`. At most 1,000 buckets per response. \
     Default: a length that makes at most 60 buckets.",
    || string().pattern(Some("^[1-9][0-9]{0,7}[smhd]$")).into(),
)];

/// Defines the set of query parameters of a route.
macro_rules! sets {
    ($($(#[$meta:meta])* $name:ident: [$($part:ident),*];)*) => {$(
        $(#[$meta])*
        pub(in crate::http) struct $name;

        impl $name {
            pub(super) const SET: &'static [&'static [QueryParameter]] = &[$($part),*];
        }

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                Self::SET.iter().copied().flatten().map(describe).collect()
            }
        }
    )*};
}

sets! {
    /// Query parameters of `GET /events`.
    ListEvents: [FILTER, TEXT, ORDER, EVENTS_LIMIT, CURSOR, MEMBERS];
    /// Query parameters of `GET /events/export`.
    ExportEvents: [FILTER, TEXT, FORMAT, SPREADSHEET, ORDER, MEMBERS];
    /// Query parameters of `GET /events/stream`.
    StreamEvents: [FILTER, TEXT, MEMBERS, AFTER];
    /// Query parameters of `GET /sessions`.
    ListSessions: [FILTER, SESSIONS_LIMIT, CURSOR];
    /// Query parameters of `GET /stats`.
    GetStats: [FILTER, BUCKET];
}

fn describe(parameter: &QueryParameter) -> Parameter {
    let QueryParameter { name, description, schema } = *parameter;
    let described = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema()))
        // An empty value counts as absent. The builder has no method for this member.
        .extensions(Some(Extensions::from_iter([("allowEmptyValue", true)])));
    if name == "fields" {
        return described.style(Some(ParameterStyle::Form)).explode(Some(false)).build();
    }
    described.build()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn text() -> RefOr<Schema> {
    string().into()
}

fn time() -> RefOr<Schema> {
    Ref::from_schema_name(QueryTime::name()).into()
}

fn whole_number(maximum: usize, default: usize) -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    number.minimum(Some(1_usize)).maximum(Some(maximum)).default(Some(default.into())).into()
}
