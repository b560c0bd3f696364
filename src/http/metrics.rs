//! `GET /metrics` and `GET /metrics/prometheus`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::openapi::schemas::Text;
use super::problem::Problem;

/// The most important metrics as JSON.
#[derive(Serialize, ToSchema)]
struct MetricsSummary {
    events_received_total: u64,
    events_stored_total: u64,
    storage_errors_total: u64,
    uptime_seconds: f64,
}

/// Returns the metrics as Prometheus text, or a summary as JSON if `Accept` contains
/// `application/json`.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "Server",
    responses((
        status = 200,
        description = "The metrics.",
        content((Text = "text/plain"), (MetricsSummary = "application/json"))
    ))
)]
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return Ok(Json(MetricsSummary {
            events_received_total: app.metrics.events_received.get(),
            events_stored_total: app.metrics.events_stored.get(),
            storage_errors_total: app.metrics.storage_errors.get(),
            uptime_seconds: app.metrics.uptime_seconds(),
        })
        .into_response());
    }
    prometheus(State(app)).await
}

/// Returns the metrics as Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics/prometheus",
    operation_id = "getPrometheusMetrics",
    tag = "Server",
    responses((
        status = 200,
        description = "The metrics.",
        body = Text,
        content_type = "text/plain"
    ))
)]
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
