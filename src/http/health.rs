//! `GET /health`, `/health/live`, `/health/ready`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use crate::store::Store;

/// From this age of the oldest event that is not stored, the database counts as not keeping up.
const LAG_DEGRADED_SECONDS: f64 = 60.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    /// Events are taken, but do not reach the database or the index.
    Degraded,
    /// Events can't be taken.
    Unhealthy,
}

#[derive(Serialize)]
struct Report {
    status: Health,
    storage: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Database>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarder: Option<ForwarderReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<JournalReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<IndexReport>,
}

#[derive(Serialize)]
struct Database {
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
    /// Whether all that was there at the start can be found.
    ready: bool,
    bytes: u64,
    lag_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why events can't be taken now.
fn refusing(app: &App) -> Option<String> {
    if app.drain.is_draining() {
        return Some("shutting down".to_owned());
    }
    if !app.journal.is_ready() {
        return Some("starting: reading the journal".to_owned());
    }
    app.journal.blocked().map(|error| error.to_string())
}

/// How the server is, for people and monitors.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let refusing = refusing(&app);
    let mut status = if refusing.is_some() { Health::Unhealthy } else { Health::Healthy };
    let mut report = Report {
        status,
        storage: app.storage,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.metrics.uptime_seconds() as u64,
        error: refusing,
        database: None,
        forwarder: None,
        journal: None,
        index: None,
    };
    if let Store::Index(index) = &app.store {
        let index = index.status().borrow().clone();
        if status == Health::Healthy && index.error.is_some() {
            status = Health::Degraded;
            report.status = status;
        }
        report.index = Some(IndexReport {
            ready: index.ready,
            bytes: index.bytes,
            lag_bytes: index.lag_bytes,
            error: index.error,
        });
    }
    if let Some(forwarding) = &app.forwarding {
        let forwarder = forwarding.status.borrow().clone();
        let appended = *app.journal.appended().borrow();
        let lag_seconds = forwarder.lag_seconds(appended);
        if status == Health::Healthy && (!forwarder.connected || lag_seconds > LAG_DEGRADED_SECONDS)
        {
            status = Health::Degraded;
        }
        let (bytes, segments) = forwarding.reader.size();
        report.status = status;
        report.database =
            Some(Database { reachable: forwarder.connected, error: forwarder.error.clone() });
        report.forwarder =
            Some(ForwarderReport { lag_events: forwarder.lag_events(appended), lag_seconds });
        report.journal =
            Some(JournalReport { bytes, bytes_max: forwarding.journal_bytes_max, segments });
    }
    let code = match status {
        Health::Healthy | Health::Degraded => StatusCode::OK,
        Health::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(report)).into_response()
}

/// The process runs.
pub(super) async fn live() -> Response {
    Json(serde_json::json!({ "status": "alive" })).into_response()
}

/// Events can be taken.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match refusing(&app) {
        None => Json(serde_json::json!({ "status": "ready" })).into_response(),
        Some(error) => {
            let body = serde_json::json!({ "status": "not ready", "error": error });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
