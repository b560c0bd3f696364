//! All routes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::app::App;
use super::problem::Problem;
use super::{health, ingest, metrics, middleware, read};
use crate::decode::Format;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(
            "/events",
            post(|app, request| ingest::ingest(app, Format::Object, request)).get(read::events),
        )
        .route("/events/export", get(read::export))
        .route("/events/stream", get(read::stream))
        .route("/events/batch", post(|app, request| ingest::ingest(app, Format::Array, request)))
        .route("/hooks", post(ingest::hooks::emitted))
        .route("/hooks/{agent}", post(ingest::hooks::agent))
        .route("/hooks/{agent}/{event}", post(ingest::hooks::event))
        .route("/v1/logs", post(ingest::otlp::logs))
        .route("/sessions", get(read::sessions))
        .route("/sessions/{session_id}", get(read::session))
        .route("/stats", get(read::stats))
        .route("/openapi.json", get(openapi))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/prometheus", get(metrics::prometheus))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .fallback(|| async { Problem::not_found() })
        .layer(from_fn_with_state(app.clone(), middleware::guard))
        .with_state(app)
}

/// What this API is, kept by hand.
async fn openapi() -> Response {
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (json, include_str!("openapi.json")).into_response()
}
