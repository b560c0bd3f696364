//! Errors as RFC 9457 problem documents.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::decode::{BodyError, DecodeError, Rejected};
use crate::journal::AppendError;
use crate::metrics::Limit;

/// An answer that is not the one the sender hoped for.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// `about:blank`: the status says what kind of problem it is (RFC 9457, section 4.2.1).
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedEvent>,
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
    #[serde(skip)]
    limit: Option<Limit>,
}

/// A rejected event, as answers show it.
#[derive(Debug, Serialize)]
pub(super) struct RejectedEvent {
    index: usize,
    field: Option<String>,
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
            retry_after_seconds: None,
            limit: None,
        }
    }

    /// The same problem, counted as that limit's.
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

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
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

    /// The content type found (empty if there was none) is not among those allowed.
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

    /// What was wrong, for an answer of another shape.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no such route; events go to POST /events and POST /events/batch, agents' hooks to POST \
             /hooks/{agent}, OpenTelemetry logs to POST /v1/logs",
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
