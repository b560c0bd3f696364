//! `GET /metrics` and `GET /metrics/prometheus`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;

/// Returns all metrics as Prometheus text, or the most important as JSON if the client accepts it.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return Ok(Json(serde_json::json!({
            "events_received_total": app.metrics.events_received.get(),
            "events_stored_total": app.metrics.events_stored.get(),
            "storage_errors_total": app.metrics.storage_errors.get(),
            "uptime_seconds": app.metrics.uptime_seconds(),
        }))
        .into_response());
    }
    prometheus(State(app)).await
}

/// Returns all metrics as Prometheus text.
pub(super) async fn prometheus(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    refresh_gauges(&app);
    let text = app.metrics.text().map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}"))
    })?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Sets the gauges that are read when they are asked for.
fn refresh_gauges(app: &App) {
    let Some(forwarding) = &app.forwarding else { return };
    let status = forwarding.status.borrow().clone();
    let appended = *app.journal.appended().borrow();
    let (bytes, segments) = forwarding.reader.size();
    let waiting_bytes = forwarding.reader.end().saturating_sub(status.position);
    app.metrics.journal_bytes.set(bytes as i64);
    app.metrics.journal_waiting_bytes.set(waiting_bytes as i64);
    app.metrics.journal_segments.set(segments as i64);
    app.metrics.lag_events.set(status.lag_events(appended) as i64);
    app.metrics.lag_seconds.set(status.lag_seconds(appended));
}
