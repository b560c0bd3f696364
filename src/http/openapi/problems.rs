//! The responses with a problem document (RFC 9457), which operations share.

use std::collections::BTreeMap;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::schemas::{Binary, OtlpStatus};
use crate::http::problem::Problem;

/// A problem response: name of the component, status, description.
type Shared = (&'static str, u16, &'static str);

const SHARED: [Shared; 13] = [
    ("BadRequest", 400, "The body is not JSON, or does not have the expected shape."),
    (
        "Unauthorized",
        401,
        "The API key is missing or not valid. On a server without API keys: the read token is, which \
         `token_file` can name.",
    ),
    (
        "Forbidden",
        403,
        "The API key lacks the scope. On a server without API keys: the request comes from a web page \
         of another origin.",
    ),
    ("RequestTimeout", 408, "The body did not arrive in time (`BODY_TIMEOUT`)."),
    ("Gone", 410, "The position in the stream is not known any more."),
    (
        "PayloadTooLarge",
        413,
        "The body, also after decompression, or the batch is larger than a limit, which `detail` \
         names.",
    ),
    ("UnsupportedMediaType", 415, "The content type or content encoding is not supported."),
    (
        "UnprocessableContent",
        422,
        "No event of the request is valid (see `rejected`), or a parameter is not valid (see \
         `parameter`).",
    ),
    ("TooManyRequests", 429, "The sender exceeds its rate limit."),
    ("RequestHeaderFieldsTooLarge", 431, "The request's headers exceed a limit."),
    (
        "InternalServerError",
        500,
        "The server or its store failed because of a bug or a damaged file; the log has details.",
    ),
    (
        "ServiceUnavailable",
        503,
        "The server cannot handle the request now: it is starting, shutting down, out of disk space \
         or at a limit, or its store is unreachable.",
    ),
    ("GatewayTimeout", 504, "The query takes longer than the time limit of the store."),
];

/// Returns the shared responses as components.
pub(super) fn components() -> impl Iterator<Item = (String, RefOr<Response>)> {
    SHARED.iter().map(|shared| (shared.0.to_owned(), problem(shared).build().into()))
}

/// Returns references to some of the shared responses, by status.
pub(super) fn references(names: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let shared = SHARED.iter().filter(|(name, ..)| names.contains(name));
    shared
        .map(|(name, status, _)| (status.to_string(), Ref::from_response_name(*name).into()))
        .collect()
}

fn problem(&(_, status, description): &Shared) -> ResponseBuilder {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    let header = |schema: RefOr<_>, text: &str| {
        HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build()
    };
    match status {
        401 => response.header(
            "WWW-Authenticate",
            header(String::schema(), "The scheme by which a key is sent: `Bearer`."),
        ),
        429 | 503 => response.header(
            "Retry-After",
            header(u16::schema(), "Seconds after which to send the request again."),
        ),
        _ => response,
    }
}

/// The problems of routes that store events.
pub(in crate::http) struct IngestProblems;

impl IntoResponses for IngestProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[
            "BadRequest",
            "RequestTimeout",
            "PayloadTooLarge",
            "UnsupportedMediaType",
            "UnprocessableContent",
            "TooManyRequests",
            "ServiceUnavailable",
        ])
    }
}

/// The problems of routes that query the store.
pub(in crate::http) struct QueryProblems;

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["UnprocessableContent", "ServiceUnavailable", "GatewayTimeout"])
    }
}

/// Further problems of the stream of events.
pub(in crate::http) struct StreamProblems;

impl IntoResponses for StreamProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["Gone"])
    }
}

/// The problems of `POST /v1/{signal}`: a `google.rpc.Status` in the encoding of the request, or a problem
/// document if that encoding is not known.
pub(in crate::http) struct OtlpProblems;

impl IntoResponses for OtlpProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let statuses = [400, 401, 403, 408, 413, 422, 429, 503];
        let shared = SHARED.iter().filter(|(_, status, _)| statuses.contains(status));
        let mut responses: BTreeMap<_, _> = shared
            .map(|shared| {
                let json = Ref::from_schema_name(OtlpStatus::name());
                let json = ContentBuilder::new().schema(Some(json)).build();
                let protobuf = ContentBuilder::new().schema(Some(Binary::schema())).build();
                let response = problem(shared)
                    .content("application/json", json)
                    .content("application/x-protobuf", protobuf);
                (shared.1.to_string(), response.build().into())
            })
            .collect();
        responses.extend(references(&["UnsupportedMediaType"]));
        responses
    }
}
