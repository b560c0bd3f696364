//! The OpenMetrics text format 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which Prometheus prefers.

use std::fmt::{Display, Write as _};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Units that the names of metrics end with.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Renders families of counters, gauges and histograms.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        encode_family(&mut text, family);
    }
    text + "# EOF\n"
}

fn encode_family(text: &mut String, family: &MetricFamily) {
    let full_name = family.name();
    // The suffixes belong to samples, not to the name of a family.
    let (name, kind, suffix) = match (family.get_field_type(), full_name.strip_suffix("_info")) {
        (MetricType::GAUGE, Some(name)) => (name, "info", "_info"),
        (MetricType::COUNTER, _) => {
            (full_name.strip_suffix("_total").unwrap_or(full_name), "counter", "_total")
        }
        (MetricType::HISTOGRAM, _) => (full_name, "histogram", ""),
        _ => (full_name, "gauge", ""),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    let unit =
        UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_')));
    if let Some(unit) = unit {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
    let _ = writeln!(text, "# HELP {name} {}", escape(family.help()));
    for metric in family.get_metric() {
        let mut sample = |suffix: &str, le: Option<f64>, value: &dyn Display| {
            let labels = labels(metric.get_label(), le);
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        };
        match kind {
            "histogram" => encode_histogram(metric, sample),
            "counter" => sample(suffix, None, &metric.get_counter().get_value()),
            _ => sample(suffix, None, &metric.get_gauge().get_value()),
        }
    }
}

fn encode_histogram(metric: &Metric, mut sample: impl FnMut(&str, Option<f64>, &dyn Display)) {
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket() {
        sample("_bucket", Some(bucket.upper_bound()), &bucket.cumulative_count());
    }
    sample("_bucket", Some(f64::INFINITY), &histogram.get_sample_count());
    sample("_sum", None, &histogram.get_sample_sum());
    sample("_count", None, &histogram.get_sample_count());
}

/// Returns the labels of a sample in braces; `le` is the upper bound of a bucket.
fn labels(pairs: &[LabelPair], le: Option<f64>) -> String {
    let pairs = pairs.iter().map(|pair| format!("{}=\"{}\"", pair.name(), escape(pair.value())));
    let le = le.map(|bound| match bound {
        f64::INFINITY => "le=\"+Inf\"".to_owned(),
        // Bounds have a decimal point.
        bound => format!("le=\"{bound:?}\""),
    });
    let all: Vec<_> = pairs.chain(le).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
