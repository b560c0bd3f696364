//! Middleware for every request: limits on the head, request metrics, panics, unread bodies, and the
//! headers that all responses have.

mod unread_body;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::config::LimitsConfig;
use crate::http::App;
use crate::http::problem::Problem;
use crate::metrics::{Limit, Metrics};
use unread_body::UnreadBody;

/// Bytes that HTTP/1 adds to a header's name and value.
const HEADER_EXTRA_BYTES: usize = ": \r\n".len();

/// The outermost layer of the router.
pub(in crate::http) async fn outermost(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (request, unread_body) = UnreadBody::track(request);
    let mut response = match check_head(&app.config.limits, &request) {
        Ok(()) => run_measured(&app.metrics, request, next).await,
        Err(problem) => {
            drop(request);
            problem.into_response()
        }
    };
    let status = response.status();
    // After a 408 the rest of the body would be too slow as well.
    if (status.is_client_error() || status.is_server_error())
        && status != StatusCode::REQUEST_TIMEOUT
    {
        unread_body.discard(app.config.http.body_timeout).await;
    }
    if let Some(limit) = response.extensions().get() {
        app.metrics.count_limit(*limit);
    }
    add_headers(response.headers_mut(), is_read);
    response
}

fn add_headers(headers: &mut HeaderMap, is_read: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_read {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Runs the rest of the router; counts and times the request if its route is known.
async fn run_measured(metrics: &Metrics, request: Request, next: Next) -> Response {
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    let started_at = Instant::now();
    let sends_events = request.method() == Method::POST;
    let response = catch_panic(metrics, next.run(request)).await;
    let route = route.as_str();
    let status = response.status();
    metrics.requests.with_label_values(&[route, status.as_str()]).inc();
    let seconds = started_at.elapsed().as_secs_f64();
    metrics.request_seconds.with_label_values(&[route]).observe(seconds);
    if sends_events && status.is_success() {
        metrics.ack_seconds.observe(seconds);
    }
    response
}

/// Checks `MAX_HEADERS` and `MAX_HEADER_BYTES`. HTTP/2 is measured as if it were HTTP/1.
fn check_head(limits: &LimitsConfig, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let (count, count_max) = (headers.len(), limits.max_headers as usize);
    if count > count_max {
        let detail =
            format!("the request has {count} headers, more than {count_max} (MAX_HEADERS)");
        return Err(Problem::head_too_large(detail, Limit::Headers));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let header_bytes = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_EXTRA_BYTES
    };
    let bytes = target + headers.iter().map(header_bytes).sum::<usize>();
    if bytes as u64 > limits.max_header_bytes {
        let detail = format!(
            "the request's target and headers are larger than {} bytes (MAX_HEADER_BYTES)",
            limits.max_header_bytes
        );
        return Err(Problem::head_too_large(detail, Limit::HeaderBytes));
    }
    Ok(())
}

/// Turns a panic in a handler into a 500. Handlers never leave shared state half changed, so the
/// server can continue.
async fn catch_panic(metrics: &Metrics, response: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(response).catch_unwind().await.unwrap_or_else(|_| {
        metrics.panics.inc();
        let detail = "the request failed because of a bug in the server; see its log";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_becomes_a_500_and_is_counted() {
        let metrics = Metrics::new("none").unwrap();
        let response = catch_panic(&metrics, async { panic!("a bug") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(metrics.panics.get(), 1);
    }
}
