//! Declares metrics as a table: one row gives a field of [`super::Metrics`], its registration and its
//! line in `docs/metrics.md`.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

/// One row of the table.
#[derive(Debug)]
pub(super) struct MetricRow {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Upper bounds of a histogram's buckets.
    pub(super) buckets: &'static [f64],
    /// The Prometheus type: `counter`, `gauge` or `histogram`.
    pub(super) kind: &'static str,
    /// The only storage that has the metric; `None` for both.
    pub(super) storage: Option<&'static str>,
}

impl MetricRow {
    /// Creates the row's metric, and adds it to the registry if the storage has it.
    pub(super) fn register<M: Metric>(&self, registry: &Registry, storage: &str) -> Result<M> {
        let metric = M::new(self)?;
        if self.storage.is_none_or(|only| only == storage) {
            registry.register(Box::new(metric.clone()))?;
        }
        Ok(metric)
    }

    fn options(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_options(&self) -> HistogramOpts {
        HistogramOpts::from(self.options()).buckets(self.buckets.to_vec())
    }
}

/// A type of metric that a row can create.
pub(super) trait Metric: Collector + Clone + 'static {
    /// The name of the type in the Prometheus text format.
    const KIND: &'static str;

    fn new(row: &MetricRow) -> Result<Self>;
}

macro_rules! metric_types {
    ($($metric:ty, $kind:literal, $row:ident => $new:expr;)+) => {
        $(impl Metric for $metric {
            const KIND: &'static str = $kind;

            fn new($row: &MetricRow) -> Result<Self> {
                $new
            }
        })+
    };
}

metric_types! {
    IntCounter, "counter", row => Self::with_opts(row.options());
    IntCounterVec, "counter", row => Self::new(row.options(), row.labels);
    IntGauge, "gauge", row => Self::with_opts(row.options());
    IntGaugeVec, "gauge", row => Self::new(row.options(), row.labels);
    Gauge, "gauge", row => Self::with_opts(row.options());
    Histogram, "histogram", row => Self::with_opts(row.histogram_options());
    HistogramVec, "histogram", row => Self::new(row.histogram_options(), row.labels);
}

/// Declares the struct `Metrics`, one field a row, and `TABLE`. A row is
/// `field: Type ["label", ...] {BUCKETS} (STORAGE), "name", "help";` with labels and buckets where the
/// type has them, and the storage if only one has the metric.
macro_rules! metrics {
    ($(
        $field:ident: $metric:ident $([$($label:literal),+])? $({$buckets:ident})?
        $(($storage:ident))?,
        $name:literal, $help:literal;
    )+) => {
        /// All metrics of one server.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            started: Instant,
            $(pub(crate) $field: $metric,)+
        }

        impl Metrics {
            fn register(registry: Registry, storage: &str) -> prometheus::Result<Self> {
                Ok(Self {
                    $($field: rows::$field.register(&registry, storage)?,)+
                    registry,
                    started: Instant::now(),
                })
            }
        }

        #[expect(non_upper_case_globals, reason = "named after the fields of `Metrics`")]
        mod rows {
            use super::*;

            $(pub(super) const $field: MetricRow = MetricRow {
                name: $name,
                help: $help,
                labels: &[$($($label),+)?],
                buckets: metrics!(@buckets $($buckets)?),
                kind: <$metric as Metric>::KIND,
                storage: metrics!(@storage $($storage)?),
            };)+
        }

        /// All rows, in the order of declaration.
        const TABLE: &[MetricRow] = &[$(rows::$field),+];
    };
    (@storage) => { None };
    (@storage $storage:ident) => { Some($storage) };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { &$buckets };
}
pub(super) use metrics;
