//! `POST /v1/logs`, `/v1/traces`, `/v1/metrics`: OpenTelemetry by OTLP/HTTP 1.x. Responses are in the encoding
//! of the request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde::Serialize;

use super::IngestRequest;
use super::headers::media_type;
use super::pipeline::{Outcome, ingest};
use crate::decode::{
    self, Context, ExportResponse, OtlpEncoding, PartialSuccess, RpcStatus, Signal,
};
use crate::http::App;
use crate::http::openapi::parameters::IngestParameters;
use crate::http::openapi::problems::OtlpProblems;
use crate::http::openapi::schemas::{
    Binary, ExportLogsRequest, ExportLogsResponse, ExportMetricsRequest, ExportMetricsResponse,
    ExportTraceRequest, ExportTraceResponse, LogsPartialSuccess, OtlpStatus, TracePartialSuccess,
};
use crate::http::problem::Problem;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Stores OpenTelemetry log records (OTLP/HTTP).
///
/// Invalid records are counted in the response, and should not be sent again; the others are stored.
#[utoipa::path(
    post,
    path = "/v1/logs",
    operation_id = "postLogs",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content(
        (ExportLogsRequest = "application/json"),
        (Binary = "application/x-protobuf")
    )),
    responses(
        (
            status = 200,
            description = "An ExportLogsServiceResponse in the encoding of the request.",
            content((ExportLogsResponse = "application/json"), (Binary = "application/x-protobuf"))
        ),
        OtlpProblems
    )
)]
pub(in crate::http) async fn logs(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(&app, Signal::Logs, request).await
}

/// Stores OpenTelemetry spans of agents (OTLP/HTTP).
///
/// Spans that have no attributes of agents are accepted, counted and not stored. Invalid spans are counted in
/// the response, and should not be sent again.
#[utoipa::path(
    post,
    path = "/v1/traces",
    operation_id = "postTraces",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content(
        (ExportTraceRequest = "application/json"),
        (Binary = "application/x-protobuf")
    )),
    responses(
        (
            status = 200,
            description = "An ExportTraceServiceResponse in the encoding of the request.",
            content((ExportTraceResponse = "application/json"), (Binary = "application/x-protobuf"))
        ),
        OtlpProblems
    )
)]
pub(in crate::http) async fn traces(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(&app, Signal::Traces, request).await
}

/// Accepts OpenTelemetry metrics (OTLP/HTTP) without storing them.
///
/// Metrics are sums of what log records and spans report one by one. They are counted and not stored, so that
/// exporters that have one address for all signals report no errors.
#[utoipa::path(
    post,
    path = "/v1/metrics",
    operation_id = "postMetrics",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content(
        (ExportMetricsRequest = "application/json"),
        (Binary = "application/x-protobuf")
    )),
    responses(
        (
            status = 200,
            description = "An ExportMetricsServiceResponse in the encoding of the request.",
            content((ExportMetricsResponse = "application/json"), (Binary = "application/x-protobuf"))
        ),
        OtlpProblems
    )
)]
pub(in crate::http) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(&app, Signal::Metrics, request).await
}

async fn respond(app: &Arc<App>, signal: Signal, request: Request) -> Response {
    let Some(encoding) = encoding(request.headers()) else {
        let found = media_type(request.headers()).unwrap_or_default();
        let allowed = "application/x-protobuf, application/json";
        return Problem::unsupported_type(&found, allowed).into_response();
    };
    match export(app, signal, encoding, request).await {
        Ok(outcome) => success(signal, encoding, &outcome),
        Err(problem) => failure(encoding, problem),
    }
}

async fn export(
    app: &Arc<App>,
    signal: Signal,
    encoding: OtlpEncoding,
    request: Request,
) -> Result<Outcome, Problem> {
    let mut request = IngestRequest::from_request(request, app).await?;
    // Exporters must not retry after a partial success or a 400.
    request.keeps_originals = true;
    let decode = move |body: &[u8], context: &Context<'_>| {
        decode::decode_export(signal, encoding, body, context)
    };
    ingest(request, decode).await
}

/// Renders the response to a request without access.
pub(in crate::http) fn denied(headers: &HeaderMap, problem: Problem) -> Response {
    match encoding(headers) {
        Some(encoding) => failure(encoding, problem),
        None => problem.into_response(),
    }
}

fn encoding(headers: &HeaderMap) -> Option<OtlpEncoding> {
    match media_type(headers).ok()?.as_str() {
        PROTOBUF => Some(OtlpEncoding::Protobuf),
        JSON => Some(OtlpEncoding::Json),
        _ => None,
    }
}

fn success(signal: Signal, encoding: OtlpEncoding, outcome: &Outcome) -> Response {
    let partial_success = outcome.rejected.first().map(|first| PartialSuccess {
        rejected: outcome.rejected.len() as i64,
        error_message: format!(
            "the first rejected record, at {}: {}",
            first.index(),
            first.error()
        ),
    });
    let body = match encoding {
        OtlpEncoding::Protobuf => ExportResponse { partial_success }.encode_to_vec(),
        OtlpEncoding::Json => json_response(signal, partial_success),
    };
    ([(CONTENT_TYPE, content_type(encoding))], body).into_response()
}

fn json_response(signal: Signal, partial_success: Option<PartialSuccess>) -> Vec<u8> {
    match signal {
        Signal::Logs => json(&ExportLogsResponse {
            partial_success: partial_success.map(|partial| LogsPartialSuccess {
                rejected_log_records: partial.rejected.to_string(),
                error_message: partial.error_message,
            }),
        }),
        Signal::Traces => json(&ExportTraceResponse {
            partial_success: partial_success.map(|partial| TracePartialSuccess {
                rejected_spans: partial.rejected.to_string(),
                error_message: partial.error_message,
            }),
        }),
        // No metric is rejected.
        Signal::Metrics => json(&ExportMetricsResponse {}),
    }
}

/// Renders a problem with its status and headers, and a `google.rpc.Status` as the body.
fn failure(encoding: OtlpEncoding, problem: Problem) -> Response {
    let message = problem.detail().to_owned();
    let body = match encoding {
        OtlpEncoding::Protobuf => RpcStatus { message }.encode_to_vec(),
        OtlpEncoding::Json => json(&OtlpStatus { message }),
    };
    let mut response = problem.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type(encoding)));
    *response.body_mut() = Body::from(body);
    response
}

fn content_type(encoding: OtlpEncoding) -> &'static str {
    match encoding {
        OtlpEncoding::Protobuf => PROTOBUF,
        OtlpEncoding::Json => JSON,
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // Structs of strings are always JSON.
    serde_json::to_vec(body).unwrap_or_default()
}
