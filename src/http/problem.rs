//! Errors as RFC 9457 problem documents.

use std::path::Path;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::decode::{BodyError, DecodeError, Rejected};
use crate::journal::AppendError;
use crate::metrics::Limit;

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "session_id is missing",
    "rejected": [{ "index": 0, "field": "session_id", "error": "is missing" }],
})))]
pub(super) struct Problem {
    /// Always `about:blank`: the status is the kind of the problem (RFC 9457, section 4.2.1).
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What went wrong, and how to avoid it.
    detail: String,
    /// The invalid events of the request, if no event is valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedEvent>,
    /// The parameter that is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    parameter: Option<Box<str>>,
    /// The file with the header that permits reading, if the server has no API keys and the client can
    /// be on its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    token_file: Option<Box<str>>,
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
    #[serde(skip)]
    limit: Option<Limit>,
}

/// An invalid event of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RejectedEvent {
    /// Position in the request, from 0.
    index: usize,
    /// The invalid field, if there is one.
    #[schema(required = true)]
    field: Option<String>,
    /// Why it is not valid.
    error: String,
}

impl From<&Rejected> for RejectedEvent {
    fn from(rejected: &Rejected) -> Self {
        Self {
            index: rejected.index,
            field: rejected.reason.field.clone(),
            error: rejected.reason.error.clone(),
        }
    }
}

impl RejectedEvent {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn error(&self) -> &str {
        &self.error
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            rejected: Vec::new(),
            parameter: None,
            token_file: None,
            retry_after_seconds: None,
            limit: None,
        }
    }

    /// Attributes the problem to a limit, for the metrics.
    pub(super) fn of(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub(super) fn unavailable(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    pub(super) fn too_many(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Names the file of the read token; one that is not UTF-8 cannot be named.
    pub(super) fn with_token_file(self, path: &Path) -> Self {
        Self { token_file: path.to_str().map(Box::from), ..self }
    }

    pub(super) fn too_large(detail: impl Into<String>, limit: Limit) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail).of(limit)
    }

    pub(super) fn head_too_large(detail: impl Into<String>, limit: Limit) -> Self {
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail).of(limit)
    }

    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// The problem of a content type that is not allowed; `found` is empty if there is none.
    pub(super) fn unsupported_type(found: &str, allowed: &str) -> Self {
        let found = match found {
            "" => "the content type is missing".to_owned(),
            found => format!("the content type {found:?} is not taken here"),
        };
        Self::unsupported(format!("{found}; allowed: {allowed}"))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn draining() -> Self {
        Self::unavailable("the server is shutting down; nothing of this request was stored", 1)
    }

    pub(super) fn invalid(rejected: Vec<RejectedEvent>) -> Self {
        let detail = match &*rejected {
            [one] => match &one.field {
                Some(field) => format!("{field} {}", one.error),
                None => one.error.clone(),
            },
            many => format!("none of the {} events is valid; see 'rejected'", many.len()),
        };
        Self { rejected, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// True if agents and OpenTelemetry exporters do not send a request again after this status.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status, 400 | 408 | 413)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem of a parameter; `error` continues a sentence that begins with its name.
    pub(super) fn parameter(name: &str, error: &str) -> Self {
        let detail = format!("the parameter {name} {error}");
        Self { parameter: Some(name.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no such route; events go to POST /events and POST /events/batch, agents' hooks to POST \
             /hooks/{agent}, OpenTelemetry to POST /v1/logs and /v1/traces",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this route has other methods; the 'allow' header names them",
        )
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => {
                Self::too_large(format!("{error} (MAX_BODY_BYTES)"), Limit::BodyBytes)
            }
            BodyError::Corrupt { .. } => Self::bad_request(error.to_string()),
        }
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooManyEvents { .. } => {
                Self::too_large(format!("{error} (MAX_BATCH_EVENTS)"), Limit::BatchEvents)
            }
            DecodeError::NotUtf8 { .. } | DecodeError::NotJson(_) => {
                Self::bad_request(error.to_string())
            }
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let text = error.to_string();
        match error {
            AppendError::Busy => Self::unavailable(text, 1),
            AppendError::Full { .. } => Self::unavailable(text, 10).of(Limit::JournalBytes),
            AppendError::Write(_) | AppendError::Failed => Self::unavailable(text, 5),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(limit);
        }
        response
    }
}
