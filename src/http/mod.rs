//! The HTTP side: routes, limits, answers.

mod access;
mod admission;
mod connection;
mod guard;
mod health;
mod hooks;
mod ingest;
mod leftover;
mod metrics;
mod otlp;
mod problem;
mod rate;
mod read;
mod server;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};

pub use access::{Access, Scope};
pub use admission::{Drain, InFlight};
pub use rate::Rates;
pub use server::{ConnectionLimits, Server};
pub use tls::Tls;

use crate::config::Ack;
use crate::decode::{Context, Firings, Format};
use crate::event::Timestamp;
use crate::forward::Status;
use crate::journal::{Framing, Journal, Reader};
use crate::metrics::Metrics;
use crate::redact::{Redactions, Redactor};
use crate::rejected::RejectedFile;
use crate::store::Store;
use problem::Problem;

/// The media type of lines as a server has stored them, which `import` sends.
pub const STORED_LINES: &str = "application/vnd.hooks-backend.stored+jsonl";

/// What every handler can reach.
#[derive(Debug)]
pub struct App {
    /// Where events go.
    pub journal: Journal,
    /// How the journal frames its records.
    pub framing: Framing,
    /// `jsonl` or `postgres`.
    pub storage: &'static str,
    /// The database's side, in `postgres` storage.
    pub forwarding: Option<Forwarding>,
    /// Where events are read from.
    pub store: Store,
    /// Where invalid events of a batch are kept.
    pub rejected: Arc<RejectedFile>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may write and read.
    pub access: Arc<Access>,
    /// How much each sender may send.
    pub rates: Rates,
    /// Closes from the first signal on.
    pub drain: Drain,
    /// Bytes of bodies in memory.
    pub in_flight: InFlight,
    /// How many more streams of events may be opened.
    pub streams: Arc<Semaphore>,
    /// How many more exports as Parquet may begin.
    pub parquet_exports: Arc<Semaphore>,
    /// When requests are answered, unless they say.
    pub ack: Ack,
    /// The hooks that fired last, of which some fire twice.
    pub firings: Firings,
    /// Most bytes in a body.
    pub body_bytes_max: usize,
    /// Most events in a batch.
    pub batch_events_max: usize,
    /// Deepest nesting in an event's fields.
    pub depth_max: usize,
    /// Whether events keep the name of the API key with which they were sent.
    pub keeps_key_names: bool,
    /// What takes secrets out of events.
    pub redactor: Option<Redactor>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request with `ack=stored` waits for the store.
    pub stored_timeout: Duration,
    /// Most bytes of a request's target and headers.
    pub header_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
}

impl App {
    /// What the events of a request received at that time, with the key of that name, have in common.
    fn context<'c>(&'c self, received_at: Timestamp, key_name: Option<&'c str>) -> Context<'c> {
        Context {
            received_at,
            framing: self.framing,
            batch_events_max: self.batch_events_max,
            depth_max: self.depth_max,
            key_name: key_name.filter(|_| self.keeps_key_names),
            redactor: self.redactor.as_ref(),
        }
    }

    fn count_redactions(&self, redactions: &Redactions) {
        let counts = self.redactor.iter().flat_map(|redactor| redactor.by_rule(redactions));
        for (rule, count) in counts {
            self.metrics.redacted.with_label_values(&[rule]).inc_by(count);
        }
    }
}

/// As many streams as may be open at once.
pub fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(read::STREAMS_MAX))
}

/// As many exports as Parquet as may be written at once.
pub fn parquet_exports() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(read::PARQUET_MAX))
}

/// What HTTP tells about the forwarder and its journal.
#[derive(Debug)]
pub struct Forwarding {
    /// How the forwarder gets on.
    pub status: watch::Receiver<Status>,
    /// The journal's size.
    pub reader: Reader,
    /// `JOURNAL_MAX_BYTES`.
    pub journal_bytes_max: u64,
}

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
        .route("/hooks", post(hooks::emitted))
        .route("/hooks/{agent}", post(hooks::agent))
        .route("/hooks/{agent}/{event}", post(hooks::event))
        .route("/v1/logs", post(otlp::logs))
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
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

/// What this API is, kept by hand.
async fn openapi() -> Response {
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (json, include_str!("openapi.json")).into_response()
}
