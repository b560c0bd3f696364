//! `POST /v1/logs`: OpenTelemetry logs, OTLP/HTTP 1.x. Answers are in the encoding of the request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde_json::{Value, json};

use super::{self as ingest, Accepted, Input, media_type};
use crate::decode::{ExportResponse, OtlpEncoding, PartialSuccess, Status};
use crate::http::App;
use crate::http::problem::Problem;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Takes an export of log records. Those that cannot be stored are counted in the answer and not
/// to be sent again; the rest is stored.
pub(in crate::http) async fn logs(State(app): State<Arc<App>>, request: Request) -> Response {
    // Without an encoding that is known, the answer is a problem document.
    let encoding = encoding(request.headers());
    let input = |headers: &HeaderMap| {
        if let Some(encoding) = encoding {
            return Ok(Input::Otlp(encoding));
        }
        let allowed = "application/x-protobuf, application/json";
        Err(Problem::unsupported_type(&media_type(headers)?, allowed))
    };
    let taken = ingest::take(&app, request, input).await;
    match (taken, encoding) {
        (Ok(accepted), Some(encoding)) => success(encoding, &accepted),
        (Err(problem), Some(encoding)) => failure(encoding, problem),
        (Ok(_), None) => StatusCode::OK.into_response(),
        (Err(problem), None) => problem.into_response(),
    }
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

fn success(encoding: OtlpEncoding, accepted: &Accepted) -> Response {
    let partial_success = accepted.rejected.first().map(|first| PartialSuccess {
        rejected_log_records: accepted.rejected.len() as i64,
        error_message: format!("the first of them, at {}: {}", first.index(), first.error()),
    });
    let body = match encoding {
        OtlpEncoding::Protobuf => ExportResponse { partial_success }.encode_to_vec(),
        OtlpEncoding::Json => {
            let partial = partial_success.map(|partial| {
                json!({ "partialSuccess": {
                    // 64 bits are a string in protobuf's JSON.
                    "rejectedLogRecords": partial.rejected_log_records.to_string(),
                    "errorMessage": partial.error_message,
                } })
            });
            bytes(&partial.unwrap_or_else(|| json!({})))
        }
    };
    ([(CONTENT_TYPE, content_type(encoding))], body).into_response()
}

/// The same status and headers as elsewhere, and a `google.rpc.Status` for a body.
fn failure(encoding: OtlpEncoding, problem: Problem) -> Response {
    let message = problem.detail().to_owned();
    let body = match encoding {
        OtlpEncoding::Protobuf => Status { message }.encode_to_vec(),
        OtlpEncoding::Json => bytes(&json!({ "message": message })),
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

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}
