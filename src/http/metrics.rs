//! `GET /metrics` and `GET /metrics/prometheus`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::negotiation::{MediaType, preferred_type};
use super::openapi::schemas::Text;
use super::problem::Problem;
use crate::store::Store;

/// The most important metrics as JSON.
#[derive(Serialize, ToSchema)]
struct MetricsSummary {
    events_received_total: u64,
    events_stored_total: u64,
    storage_errors_total: u64,
    uptime_seconds: f64,
}

const PROMETHEUS: MediaType =
    MediaType { kind: "text", subtype: "plain", parameter: Some(("version", "0.0.4")) };
const OPEN_METRICS: MediaType = MediaType {
    kind: "application",
    subtype: "openmetrics-text",
    parameter: Some(("version", "1.0.0")),
};
const JSON: MediaType = MediaType { kind: "application", subtype: "json", parameter: None };

/// Returns the metrics as Prometheus text, as OpenMetrics text, or a summary as JSON, whichever `Accept`
/// prefers.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "Server",
    responses((
        status = 200,
        description = "The metrics.",
        content(
            (Text = "text/plain"),
            (MetricsSummary = "application/json"),
            (Text = "application/openmetrics-text")
        )
    ))
)]
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if preferred_type(&headers, &[PROMETHEUS, JSON, OPEN_METRICS]) != 1 {
        return prometheus(State(app), headers).await;
    }
    let summary = MetricsSummary {
        events_received_total: app.metrics.events_received.get(),
        events_stored_total: app.metrics.events_stored.get(),
        storage_errors_total: app.metrics.storage_errors.get(),
        uptime_seconds: app.metrics.uptime_seconds(),
    };
    Ok(([(VARY, "accept")], Json(summary)).into_response())
}

/// Returns the metrics as Prometheus text, or as OpenMetrics text if `Accept` prefers it.
#[utoipa::path(
    get,
    path = "/metrics/prometheus",
    operation_id = "getPrometheusMetrics",
    tag = "Server",
    responses((
        status = 200,
        description = "The metrics.",
        content((Text = "text/plain"), (Text = "application/openmetrics-text"))
    ))
)]
pub(super) async fn prometheus(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    refresh_gauges(&app);
    let (content_type, text) = if preferred_type(&headers, &[PROMETHEUS, OPEN_METRICS]) == 0 {
        ("text/plain; version=0.0.4; charset=utf-8", app.metrics.text())
    } else {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (content_type, Ok(app.metrics.open_metrics()))
    };
    let text = text.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}"))
    })?;
    Ok(([(CONTENT_TYPE, content_type), (VARY, "accept")], text).into_response())
}

/// Sets the gauges that are read when they are asked for.
fn refresh_gauges(app: &App) {
    if let Store::Index(index) = &app.read.store {
        let status = index.current_status();
        app.metrics.index_up.set(i64::from(status.error.is_none()));
        app.metrics.index_lag_bytes.set(status.lag_bytes as i64);
    }
    let Some(forwarding) = &app.forwarding else { return };
    let status = forwarding.status.borrow().clone();
    let appended = *app.journal.appended().borrow();
    let (bytes, segments) = forwarding.reader.size();
    let waiting_bytes = forwarding.reader.end().saturating_sub(status.position);
    app.metrics.journal_bytes.set(bytes as i64);
    app.metrics.journal_waiting_bytes.set(waiting_bytes as i64);
    app.metrics.journal_max_bytes.set(app.config.journal.max_bytes as i64);
    app.metrics.journal_segments.set(segments as i64);
    app.metrics.lag_events.set(status.lag_events(appended) as i64);
    app.metrics.lag_seconds.set(status.lag_seconds(appended));
}
