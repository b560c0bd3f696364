//! `GET /health`, `GET /health/live` and `GET /health/ready`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, Forwarding};
use crate::index::Index;
use crate::store::Store;

/// Lag from which the server counts as degraded although the database is connected.
const LAG_DEGRADED_SECONDS: f64 = 60.0;

/// The error for clients that may not read.
const NO_DETAILS: &str =
    "the log has the reason, and so has this response to a client that may read";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
enum Health {
    Healthy,
    /// Events are accepted and do not reach the database or the index.
    Degraded,
    /// Events cannot be accepted.
    Unhealthy,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthReport {
    status: Health,
    storage: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<String>,
    /// What an administrator should correct; only in responses to requests that may read events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
    #[serde(flatten)]
    delivery: DeliveryReport,
}

/// State of what lies behind the journal.
#[derive(Default, Serialize, ToSchema)]
struct DeliveryReport {
    #[serde(skip)]
    is_degraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DatabaseReport, required = false)]
    database: Option<DatabaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ForwarderReport, required = false)]
    forwarder: Option<ForwarderReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = JournalReport, required = false)]
    journal: Option<JournalReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = IndexReport, required = false)]
    index: Option<IndexReport>,
}

#[derive(Serialize, ToSchema)]
struct DatabaseReport {
    reachable: bool,
    /// What went wrong; its words only in responses to requests that may read events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ForwarderReport {
    lag_events: u64,
    lag_seconds: f64,
}

#[derive(Serialize, ToSchema)]
struct JournalReport {
    bytes: u64,
    bytes_max: u64,
    segments: usize,
}

#[derive(Serialize, ToSchema)]
struct IndexReport {
    /// True when all events are indexed, but for the newest.
    ready: bool,
    bytes: u64,
    lag_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
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

    /// Removes the words of the database and of the index, which can have names and values.
    fn without_details(mut self) -> Self {
        let errors = [
            self.database.as_mut().and_then(|database| database.error.as_mut()),
            self.index.as_mut().and_then(|index| index.error.as_mut()),
        ];
        for error in errors.into_iter().flatten() {
            NO_DETAILS.clone_into(error);
        }
        self
    }

    fn of_index(index: &Index) -> Self {
        let status = index.current_status();
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
    if app.drain.is_leaving() {
        return Some("shutting down".to_owned());
    }
    if !app.journal.is_ready() {
        return Some("starting: reading the journal".to_owned());
    }
    app.journal.blocked().map(|error| error.to_string())
}

/// Returns the state of the server, for people and monitors.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "Server",
    responses(
        (status = 200, description = "Healthy or degraded: the server accepts events.", body = HealthReport),
        (status = 503, description = "Unhealthy: the server cannot accept events.", body = HealthReport)
    )
)]
pub(super) async fn health(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let error = not_ready_reason(&app);
    let delivery = DeliveryReport::of(&app);
    let (code, status) = match (&error, delivery.is_degraded) {
        (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, Health::Unhealthy),
        (None, true) => (StatusCode::OK, Health::Degraded),
        (None, false) => (StatusCode::OK, Health::Healthy),
    };
    let may_read = app.access.may_read(&headers);
    let report = HealthReport {
        status,
        storage: app.storage,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.metrics.uptime_seconds() as u64,
        error,
        warnings: if may_read { warnings(&app).await } else { Vec::new() },
        delivery: if may_read { delivery } else { delivery.without_details() },
    };
    (code, Json(report)).into_response()
}

/// The name of the server and its readiness.
#[derive(Serialize, ToSchema)]
struct Root {
    name: &'static str,
    version: &'static str,
    status: &'static str,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<String>,
    /// Path of the API description.
    api: &'static str,
    /// Path of the state of the server.
    health: &'static str,
}

/// Returns the readiness of the server, for load balancers, which check this path by default.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "getRoot",
    tag = "Server",
    responses(
        (status = 200, description = "The server accepts events.", body = Root),
        (status = 503, description = "The server cannot accept events; see `error`.", body = Root)
    )
)]
pub(super) async fn root(State(app): State<Arc<App>>) -> Response {
    let error = not_ready_reason(&app);
    let (code, status) = match error {
        None => (StatusCode::OK, "ready"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let root = Root {
        name: "hooks-backend",
        version: env!("CARGO_PKG_VERSION"),
        status,
        error,
        api: "/openapi.json",
        health: "/health",
    };
    (code, Json(root)).into_response()
}

/// Returns the response to `OPTIONS` for a path. HAProxy checks servers with `OPTIONS /` by default, so `/`
/// and `*` have the status of the readiness.
pub(super) fn options(app: &App, path: &str) -> Response {
    if matches!(path, "/" | "*") && not_ready_reason(app).is_some() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Returns what an administrator should correct.
async fn warnings(app: &App) -> Vec<String> {
    let (files, mode) = (app.files.clone(), app.config.storage.file_mode);
    let exposed = tokio::task::spawn_blocking(move || files.exposed(mode)).await;
    let exposed = exposed.ok().and_then(Result::ok).flatten();
    exposed.iter().map(ToString::to_string).collect()
}

/// The state of the process or of its readiness.
#[derive(Serialize, ToSchema)]
struct Probe {
    status: &'static str,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<String>,
}

/// Responds while the process runs.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "getLiveness",
    tag = "Server",
    responses((status = 200, description = "The process runs.", body = Probe))
)]
pub(super) async fn live() -> Response {
    Json(Probe { status: "alive", error: None }).into_response()
}

/// Returns the readiness of the server to accept events.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "getReadiness",
    tag = "Server",
    responses(
        (status = 200, description = "The server accepts events.", body = Probe),
        (status = 503, description = "The server cannot accept events; see `error`.", body = Probe)
    )
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match not_ready_reason(&app) {
        None => Json(Probe { status: "ready", error: None }).into_response(),
        error @ Some(_) => {
            let body = Json(Probe { status: "not ready", error });
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}
