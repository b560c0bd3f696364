//! What `GET /metrics` tells. Label values come from closed sets only.

use std::time::Instant;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds, from what a sync costs on a good disk to what a sender waits at most.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Instant,
    uptime: Gauge,
    /// Events that arrived in bodies that could be decoded, valid or not.
    pub events_received: IntCounter,
    /// Events that are in the store: for `jsonl` in the file, for `postgres` committed.
    pub events_stored: IntCounter,
    /// Failed attempts to write to the journal or the store.
    pub storage_errors: IntCounter,
    /// Events not stored, by reason: `invalid` (by the wire contract), `store` (the store refused
    /// the content), `damaged` (on disk).
    pub events_rejected: IntCounterVec,
    /// Invalid events of which `rejected.jsonl` had no room for a copy.
    pub rejected_dropped: IntCounter,
    /// Secrets replaced by marks, by rule: a standard one, or one that the patterns file names.
    pub redacted: IntCounterVec,
    /// Repeated events, by who noticed: `window` (this server's memory) or `store`.
    pub events_duplicate: IntCounterVec,
    /// From a request's arrival to its answer, for events that were accepted.
    pub ack_seconds: Histogram,
    /// Requests, by route and status.
    pub requests: IntCounterVec,
    /// From a request's arrival to its answer, by route.
    pub request_seconds: HistogramVec,
    /// Events in a request.
    pub batch_events: Histogram,
    /// Write and sync of the journal.
    pub sync_seconds: Histogram,
    /// Records made durable by one sync.
    pub sync_records: Histogram,
    /// Bytes in the journal.
    pub journal_bytes: IntGauge,
    /// Bytes in the journal that are not in the store.
    pub journal_waiting_bytes: IntGauge,
    /// Segments in the journal.
    pub journal_segments: IntGauge,
    /// Bytes missing from the journal when the forwarder came to read them.
    pub journal_missing_bytes: IntCounter,
    /// What was deleted because of its age: `partition` or `file`.
    pub retention_deleted: IntCounterVec,
    /// Events that are in the journal and not in the store.
    pub lag_events: IntGauge,
    /// Age of the oldest of them.
    pub lag_seconds: Gauge,
    /// Bytes of the JSON Lines files that the index has not read.
    pub index_lag_bytes: IntGauge,
    /// 1 while the database is connected.
    pub database_up: IntGauge,
    database_problem: IntGaugeVec,
    limit_hits: IntCounterVec,
    /// Panics in handlers, which are bugs.
    pub panics: IntCounter,
}

/// A limit that a request or connection can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `MAX_BODY_BYTES`.
    BodyBytes,
    /// `MAX_BATCH_EVENTS`.
    BatchEvents,
    /// `MAX_INFLIGHT_BYTES`.
    InflightBytes,
    /// `MAX_CONNECTIONS`.
    Connections,
    /// `MAX_HEADER_BYTES`.
    HeaderBytes,
    /// `MAX_HEADERS`.
    Headers,
    /// `HEADER_TIMEOUT`.
    HeaderTimeout,
    /// `BODY_TIMEOUT`.
    BodyTimeout,
    /// `JOURNAL_MAX_BYTES`.
    JournalBytes,
    /// `RATE_LIMIT_EVENTS`.
    RateEvents,
    /// `RATE_LIMIT_BYTES`.
    RateBytes,
}

impl Limit {
    /// Its setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::BodyBytes => "MAX_BODY_BYTES",
            Self::BatchEvents => "MAX_BATCH_EVENTS",
            Self::InflightBytes => "MAX_INFLIGHT_BYTES",
            Self::Connections => "MAX_CONNECTIONS",
            Self::HeaderBytes => "MAX_HEADER_BYTES",
            Self::Headers => "MAX_HEADERS",
            Self::HeaderTimeout => "HEADER_TIMEOUT",
            Self::BodyTimeout => "BODY_TIMEOUT",
            Self::JournalBytes => "JOURNAL_MAX_BYTES",
            Self::RateEvents => "RATE_LIMIT_EVENTS",
            Self::RateBytes => "RATE_LIMIT_BYTES",
        }
    }
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// If two have the same name.
    #[expect(clippy::too_many_lines, reason = "one entry after the other")]
    pub fn new(storage: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Make(&registry);
        let build = make.counters(
            "hooks_build_info",
            "Always 1; the version and the storage in use.",
            &["version", "storage"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), storage]).inc();
        Ok(Self {
            uptime: make.gauge("hooks_uptime_seconds", "Seconds since the server started.")?,
            events_received: make.counter(
                "hooks_events_received_total",
                "Events that arrived in bodies that could be decoded, valid or not.",
            )?,
            events_stored: make.counter(
                "hooks_events_stored_total",
                "Events in the store: in the file for jsonl, committed for postgres.",
            )?,
            storage_errors: make.counter(
                "hooks_storage_errors_total",
                "Failed attempts to write to the journal or the store.",
            )?,
            events_rejected: make.counters(
                "hooks_events_rejected_total",
                "Events set aside, by reason: invalid, store (refused the content), damaged.",
                &["reason"],
            )?,
            rejected_dropped: make.counter(
                "hooks_rejected_dropped_total",
                "Invalid events, named to their sender, of which rejected.jsonl had no room for a copy.",
            )?,
            redacted: make.counters(
                "hooks_redacted_total",
                "Secrets replaced by marks before anything was stored, by rule.",
                &["rule"],
            )?,
            events_duplicate: make.counters(
                "hooks_events_duplicate_total",
                "Repeated events, stored once; by who noticed: window or store.",
                &["reason"],
            )?,
            ack_seconds: make.histogram(
                "hooks_ack_seconds",
                "From a request's arrival to its answer, for accepted events.",
                LATENCY_BUCKETS.to_vec(),
            )?,
            requests: make.counters(
                "hooks_http_requests_total",
                "Requests, by route and status.",
                &["route", "status"],
            )?,
            request_seconds: {
                let options = HistogramOpts::new(
                    "hooks_http_request_seconds",
                    "From a request's arrival to its answer, by route.",
                );
                make.register(HistogramVec::new(
                    options.buckets(LATENCY_BUCKETS.to_vec()),
                    &["route"],
                )?)?
            },
            batch_events: make.histogram(
                "hooks_batch_events",
                "Events in a request.",
                vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0],
            )?,
            sync_seconds: make.histogram(
                "hooks_journal_sync_seconds",
                "Write and fdatasync of the journal.",
                LATENCY_BUCKETS.to_vec(),
            )?,
            sync_records: make.histogram(
                "hooks_journal_sync_records",
                "Records made durable by one fdatasync.",
                vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0],
            )?,
            journal_bytes: make.int_gauge("hooks_journal_bytes", "Bytes in the journal.")?,
            journal_waiting_bytes: make.int_gauge(
                "hooks_journal_waiting_bytes",
                "Bytes in the journal that are not in the store: what JOURNAL_MAX_BYTES limits.",
            )?,
            journal_segments: make
                .int_gauge("hooks_journal_segments", "Segments in the journal.")?,
            journal_missing_bytes: make.counter(
                "hooks_journal_missing_bytes_total",
                "Bytes missing from the journal when they were to be forwarded.",
            )?,
            retention_deleted: make.counters(
                "hooks_retention_deleted_total",
                "Daily partitions and rotated files deleted after RETENTION_DAYS.",
                &["kind"],
            )?,
            lag_events: make.int_gauge(
                "hooks_forwarder_lag_events",
                "Events in the journal and not in the store; before the first connection, all \
                 that the journal holds.",
            )?,
            lag_seconds: make.gauge(
                "hooks_forwarder_lag_seconds",
                "Age of the oldest event in the journal that is not in the store.",
            )?,
            index_lag_bytes: make.int_gauge(
                "hooks_index_lag_bytes",
                "Bytes of the JSON Lines files that the index has not read; 0 in postgres storage.",
            )?,
            database_up: make
                .int_gauge("hooks_database_up", "1 while the database is connected; 0 in jsonl storage, which has none.")?,
            database_problem: make.int_gauges(
                "hooks_database_problem",
                "1 for what is wrong with the database. unreachable passes by itself; login, rights \
                 and schema need a human, and /health says what to do.",
                &["problem"],
            )?,
            limit_hits: make.counters(
                "hooks_limit_hits_total",
                "Requests refused and connections closed because of a limit, by its setting.",
                &["limit"],
            )?,
            panics: make.counter(
                "hooks_panics_total",
                "Requests answered 500 because of a bug.",
            )?,
            registry,
            started: Instant::now(),
        })
    }

    /// Seconds since the server started.
    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Says what is wrong with the database, if anything is.
    pub fn set_database_problem(&self, current: Option<Problem>) {
        for problem in Problem::ALL {
            let gauge = self.database_problem.with_label_values(&[problem.name()]);
            gauge.set(i64::from(current == Some(problem)));
        }
    }

    /// Counts a request that was refused, or a connection that was closed, because of a limit.
    pub fn count_limit(&self, limit: Limit) {
        self.limit_hits.with_label_values(&[limit.name()]).inc();
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// If a metric is not consistent.
    pub fn text(&self) -> prometheus::Result<String> {
        self.uptime.set(self.uptime_seconds());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct Make<'r>(&'r Registry);

impl Make<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    fn int_gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }
}

/// What is wrong with the database, for monitors: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No connection, no answer, or shutting down: time cures it.
    Unreachable,
    /// User, password or database name: a human must correct them.
    Login,
    /// The role may not do what it must, or the database is read-only: a human must allow it.
    Rights,
    /// The tables are not ours: a human must move them.
    Schema,
    /// Anything else; the log and `/health` have its words.
    Other,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unreachable, Self::Login, Self::Rights, Self::Schema, Self::Other];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Login => "login",
            Self::Rights => "rights",
            Self::Schema => "schema",
            Self::Other => "other",
        }
    }
}
