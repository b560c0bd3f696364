//! What every request passes, whatever its route: the limits of its head, its metrics, a panic in its
//! handler, what is left of its body, and the headers that all answers have.

mod unread_body;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::http::App;
use crate::http::problem::Problem;
use crate::metrics::{Limit, Metrics};
use unread_body::Leftover;

/// What HTTP/1 adds to a name and a value.
const HEADER_EXTRA_BYTES: usize = ": \r\n".len();

/// The outermost layer.
pub(in crate::http) async fn guard(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let (request, leftover) = Leftover::of(request);
    let mut response = match check_head(&app, &request) {
        Ok(()) => observed(&app, request, next).await,
        Err(problem) => {
            drop(request);
            problem.into_response()
        }
    };
    let status = response.status();
    // A body that was too slow for the handler is too slow for this, too.
    if (status.is_client_error() || status.is_server_error())
        && status != StatusCode::REQUEST_TIMEOUT
    {
        leftover.discard(app.body_timeout).await;
    }
    if let Some(limit) = response.extensions().get() {
        app.metrics.count_limit(*limit);
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if reads {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Answers a request; counts and times it if its route is known.
async fn observed(app: &App, request: Request, next: Next) -> Response {
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    let begun = Instant::now();
    let sends_events = request.method() == Method::POST;
    let response = caught(&app.metrics, next.run(request)).await;
    let route = route.as_str();
    let status = response.status();
    app.metrics.requests.with_label_values(&[route, status.as_str()]).inc();
    let seconds = begun.elapsed().as_secs_f64();
    app.metrics.request_seconds.with_label_values(&[route]).observe(seconds);
    if sends_events && status.is_success() {
        app.metrics.ack_seconds.observe(seconds);
    }
    response
}

/// Counts what HTTP/1 would send, whatever the protocol.
fn check_head(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.len() > app.headers_max {
        let detail = format!(
            "the request has {} headers, more than {} (MAX_HEADERS)",
            headers.len(),
            app.headers_max
        );
        return Err(Problem::head_too_large(detail, Limit::Headers));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let header = |(name, value): (&axum::http::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_EXTRA_BYTES
    };
    if target + headers.iter().map(header).sum::<usize>() > app.header_bytes_max {
        let detail = format!(
            "the request's target and headers are larger than {} bytes (MAX_HEADER_BYTES)",
            app.header_bytes_max
        );
        return Err(Problem::head_too_large(detail, Limit::HeaderBytes));
    }
    Ok(())
}

/// Turns a panic, which is a bug, into an answer. The state that handlers share is changed by others
/// alone, so none of it can be left half done.
async fn caught(metrics: &Metrics, answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        metrics.panics.inc();
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server has a bug that this request has met; its log has more",
        )
        .into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_counted() {
        let metrics = Metrics::new("none").unwrap();
        let response = caught(&metrics, async { panic!("a bug") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(metrics.panics.get(), 1);
    }
}
