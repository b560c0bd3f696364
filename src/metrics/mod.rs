//! Prometheus metrics: one table declares every name, its labels and its help text.
//!
//! Label values come from closed sets only, never from a request. `docs/metrics.md` is generated from
//! the table.

mod labels;
mod open_metrics;
mod table;

use std::fmt::Write as _;
use std::time::Instant;

use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

pub use labels::DatabaseProblem;
pub(crate) use labels::Limit;
use table::{Metric, MetricRow, metrics};

/// Seconds, from one fsync on a fast disk to twice the default `STORED_TIMEOUT`.
const LATENCY: [f64; 17] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0,
];

const COUNTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0];

/// The storages, as the label `storage`.
const JSONL: &str = "jsonl";
const POSTGRES: &str = "postgres";

metrics! {
    build_info: IntGaugeVec["version", "storage"],
        "hooks_build_info",
        "Always 1, labelled with the version and the storage in use.";
    uptime: Gauge,
        "hooks_uptime_seconds",
        "Seconds since the server started.";

    requests: IntCounterVec["route", "status"],
        "hooks_http_requests_total",
        "HTTP requests by route and status.";
    request_seconds: HistogramVec["route"] {LATENCY},
        "hooks_http_request_seconds",
        "Seconds from the arrival of a request to its response, by route.";
    ack_seconds: Histogram {LATENCY},
        "hooks_ack_seconds",
        "Seconds from the arrival of a request to its response, for accepted events.";
    limit_hits: IntCounterVec["limit"],
        "hooks_limit_hits_total",
        "Requests rejected and connections closed because of a limit, by the limit's setting.";
    panics: IntCounter,
        "hooks_panics_total",
        "Requests answered with 500 because of a bug in the server.";

    events_received: IntCounter,
        "hooks_events_received_total",
        "Events in request bodies that could be decoded, valid or not.";
    events_stored: IntCounter,
        "hooks_events_stored_total",
        "Events in the store: written to the file (jsonl) or committed (postgres).";
    events_rejected: IntCounterVec["reason"],
        "hooks_events_rejected_total",
        "Events not stored: invalid (by the wire contract), store (refused by the database), damaged \
         (in the journal).";
    events_duplicate: IntCounterVec["reason"],
        "hooks_events_duplicate_total",
        "Repeated events, stored once: found by the dedup window or by the store.";
    events_ignored: IntCounter,
        "hooks_otlp_ignored_total",
        "Metrics, and spans that are not of an agent, in OpenTelemetry exports: accepted, not stored.";
    batch_events: Histogram {COUNTS},
        "hooks_batch_events",
        "Events in one request.";
    redacted: IntCounterVec["rule"],
        "hooks_redacted_total",
        "Secrets replaced before events were stored, by rule.";
    rejected_dropped: IntCounter,
        "hooks_rejected_dropped_total",
        "Invalid events not copied to rejected.jsonl because the file is full; their senders were told.";
    storage_errors: IntCounter,
        "hooks_storage_errors_total",
        "Requests whose events could not be written to the journal (a full one included), and failed \
         sessions of the forwarder with the database.";

    sync_seconds: Histogram {LATENCY},
        "hooks_journal_sync_seconds",
        "Seconds for one write and fsync of the journal.";
    sync_records: Histogram {COUNTS},
        "hooks_journal_sync_records",
        "Records made durable by one fsync (group commit).";
    journal_bytes: IntGauge (POSTGRES),
        "hooks_journal_bytes",
        "Size of the journal in bytes.";
    journal_waiting_bytes: IntGauge (POSTGRES),
        "hooks_journal_waiting_bytes",
        "Bytes in the journal not yet in the store, limited by JOURNAL_MAX_BYTES.";
    journal_max_bytes: IntGauge (POSTGRES),
        "hooks_journal_max_bytes",
        "JOURNAL_MAX_BYTES: maximum of hooks_journal_waiting_bytes, above which events are rejected.";
    journal_segments: IntGauge (POSTGRES),
        "hooks_journal_segments",
        "Segments in the journal.";
    journal_missing_bytes: IntCounter (POSTGRES),
        "hooks_journal_missing_bytes_total",
        "Bytes found missing from the journal when the forwarder read it.";

    lag_events: IntGauge (POSTGRES),
        "hooks_forwarder_lag_events",
        "Events in the journal not yet in the store; until the first connection to the database, all \
         events in the journal.";
    lag_seconds: Gauge (POSTGRES),
        "hooks_forwarder_lag_seconds",
        "Age of the oldest event in the journal not yet in the store.";
    index_lag_bytes: IntGauge (JSONL),
        "hooks_index_lag_bytes",
        "Bytes of the JSON Lines files not yet indexed.";
    index_up: IntGauge (JSONL),
        "hooks_index_up",
        "1 unless the index cannot be read or written: events are then stored, and not found by queries \
         yet. The log and /health have the error.";
    database_up: IntGauge (POSTGRES),
        "hooks_database_up",
        "1 while the database is connected.";
    database_problem: IntGaugeVec["problem"] (POSTGRES),
        "hooks_database_problem",
        "1 for the current kind of database error. unreachable resolves by itself; login, rights and \
         schema need an administrator, and /health says what to do.";
    retention_deleted: IntCounterVec["kind"],
        "hooks_retention_deleted_total",
        "Daily partitions and rotated files deleted after RETENTION_DAYS.";
}

impl Metrics {
    /// Registers all metrics; `storage` is `jsonl` or `postgres`.
    ///
    /// # Errors
    /// If two rows of the table have the same name.
    pub fn new(storage: &str) -> prometheus::Result<Self> {
        let metrics = Self::register(Registry::new(), storage)?;
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), storage]).set(1);
        metrics.show_zeros();
        metrics.set_database_problem(None);
        Ok(metrics)
    }

    /// Creates the counters that alerts watch: Prometheus sees no increase when a counter appears.
    fn show_zeros(&self) {
        for limit in Limit::ALL {
            self.limit_hits.with_label_values(&[limit.name()]);
        }
        for reason in ["invalid", "store", "damaged"] {
            self.events_rejected.with_label_values(&[reason]);
        }
        for reason in ["window", "store"] {
            self.events_duplicate.with_label_values(&[reason]);
        }
        for kind in ["file", "partition"] {
            self.retention_deleted.with_label_values(&[kind]);
        }
    }

    pub(crate) fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Sets `hooks_database_problem` to 1 for the given problem and to 0 for all others.
    pub(crate) fn set_database_problem(&self, current: Option<DatabaseProblem>) {
        for problem in DatabaseProblem::ALL {
            let gauge = self.database_problem.with_label_values(&[problem.name()]);
            gauge.set(i64::from(current == Some(problem)));
        }
    }

    /// Counts a request that was rejected, or a connection that was closed, because of a limit.
    pub(crate) fn count_limit(&self, limit: Limit) {
        self.limit_hits.with_label_values(&[limit.name()]).inc();
    }

    /// Renders the Prometheus text format, version 0.0.4.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.gather())
    }

    /// Renders the OpenMetrics text format, version 1.0.
    pub(crate) fn open_metrics(&self) -> String {
        open_metrics::encode(&self.gather())
    }

    fn gather(&self) -> Vec<MetricFamily> {
        self.uptime.set(self.uptime_seconds());
        self.registry.gather()
    }
}

/// Returns the reference of all metrics in Markdown: the content of `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Served at `GET /metrics` in the text format of Prometheus, or that of OpenMetrics 1.0 if `Accept` \
         prefers it.\nMetrics of the other storage are absent. Generated from \
         `src/metrics/mod.rs`; after a change there, run\n\
         `UPDATE_DOCS=1 cargo test --lib metrics`.\n\n\
         | name | type | labels | storage | |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {labels} | {} | {} |",
            row.name,
            row.kind,
            row.storage.unwrap_or("both"),
            row.help
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn reference_page_matches_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference());
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        Metrics::new(JSONL).unwrap();
        Metrics::new(POSTGRES).unwrap();
        for row in TABLE {
            assert!(row.name.starts_with("hooks_"), "{row:?}");
            let is_total = row.name.ends_with("_total");
            assert_eq!(row.kind == "counter", is_total, "{row:?}");
            assert_eq!(row.kind == "histogram", !row.buckets.is_empty(), "{row:?}");
            assert!(row.help.ends_with('.'), "{row:?}");
        }
    }
}
