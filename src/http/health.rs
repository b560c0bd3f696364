//! `GET /health`, `GET /health/live` and `GET /health/ready`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::{App, Forwarding};
use crate::index::Index;
use crate::store::Store;

/// Lag from which the server counts as degraded although the database is connected.
const LAG_DEGRADED_SECONDS: f64 = 60.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    /// Events are accepted and do not reach the database or the index.
    Degraded,
    /// Events cannot be accepted.
    Unhealthy,
}

#[derive(Serialize)]
struct HealthReport {
    status: Health,
    storage: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    delivery: DeliveryReport,
}

/// State of what lies behind the journal.
#[derive(Default, Serialize)]
struct DeliveryReport {
    #[serde(skip)]
    is_degraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarder: Option<ForwarderReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<JournalReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<IndexReport>,
}

#[derive(Serialize)]
struct DatabaseReport {
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ForwarderReport {
    lag_events: u64,
    lag_seconds: f64,
}

#[derive(Serialize)]
struct JournalReport {
    bytes: u64,
    bytes_max: u64,
    segments: usize,
}

#[derive(Serialize)]
struct IndexReport {
    /// True when all events that existed at start are indexed.
    ready: bool,
    bytes: u64,
    lag_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl DeliveryReport {
    fn of(app: &App) -> Self {
        match (&app.read.store, &app.forwarding) {
            (Store::Index(index), _) => Self::of_index(index),
            (_, Some(forwarding)) => Self::of_forwarder(app, forwarding),
            (_, None) => Self::default(),
        }
    }

    fn of_index(index: &Index) -> Self {
        let status = index.status().borrow().clone();
        Self {
            is_degraded: status.error.is_some(),
            index: Some(IndexReport {
                ready: status.ready,
                bytes: status.bytes,
                lag_bytes: status.lag_bytes,
                error: status.error,
            }),
            ..Self::default()
        }
    }

    fn of_forwarder(app: &App, forwarding: &Forwarding) -> Self {
        let status = forwarding.status.borrow().clone();
        let appended = *app.journal.appended().borrow();
        let (lag_events, lag_seconds) = (status.lag_events(appended), status.lag_seconds(appended));
        let (bytes, segments) = forwarding.reader.size();
        let bytes_max = app.config.journal.max_bytes;
        Self {
            is_degraded: !status.connected || lag_seconds > LAG_DEGRADED_SECONDS,
            database: Some(DatabaseReport { reachable: status.connected, error: status.error }),
            forwarder: Some(ForwarderReport { lag_events, lag_seconds }),
            journal: Some(JournalReport { bytes, bytes_max, segments }),
            index: None,
        }
    }
}

/// Returns the reason why events cannot be accepted now.
fn not_ready_reason(app: &App) -> Option<String> {
    if app.drain.is_draining() {
        return Some("shutting down".to_owned());
    }
    if !app.journal.is_ready() {
        return Some("starting: reading the journal".to_owned());
    }
    app.journal.blocked().map(|error| error.to_string())
}

/// Returns the state of the server and its parts; 503 if events cannot be accepted.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let error = not_ready_reason(&app);
    let delivery = DeliveryReport::of(&app);
    let (code, status) = match (&error, delivery.is_degraded) {
        (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, Health::Unhealthy),
        (None, true) => (StatusCode::OK, Health::Degraded),
        (None, false) => (StatusCode::OK, Health::Healthy),
    };
    let report = HealthReport {
        status,
        storage: app.storage,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.metrics.uptime_seconds() as u64,
        error,
        delivery,
    };
    (code, Json(report)).into_response()
}

/// Returns 200 while the process runs.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Returns 200 while events can be accepted, and 503 otherwise.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match not_ready_reason(&app) {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(error) => {
            let body = json!({ "status": "not ready", "error": error });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
