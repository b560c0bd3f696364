//! Samples and the table of results.

use std::fmt::Write as _;

/// The values of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// NaN without samples.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// The smallest sample that is at least as large as this fraction of all samples; NaN without
    /// samples.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let sorted = self.sorted();
        let at = (sorted.len() as f64 * quantile).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The ratio of the samples of each round. A slow period of the machine affects both.
    pub(crate) fn over(&self, baseline: &Self) -> Self {
        Self(self.0.iter().zip(&baseline.0).map(|(ours, baseline)| ours / baseline).collect())
    }

    /// The smaller sample of each round.
    pub(crate) fn min_with(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a.min(*b)).collect())
    }

    /// Median and range.
    pub(crate) fn show(&self, format: impl Fn(f64) -> String) -> String {
        let sorted = self.sorted();
        match sorted.as_slice() {
            [] => "-".to_owned(),
            [one] => format(*one),
            [least, .., most] => {
                format!("{} ({} - {})", format(self.median()), format(*least), format(*most))
            }
        }
    }
}

/// Target of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// No target: for information.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) target: Target,
    /// The measured ratio or size, in `unit`.
    pub(crate) value: Samples,
    pub(crate) unit: &'static str,
    /// The measurements behind `value`.
    pub(crate) details: String,
}

/// The rows as a Markdown table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| measurement | target | measured | | details |\n|---|---|---|---|---|\n");
    for row in rows {
        let unit = if row.unit.is_empty() { String::new() } else { format!(" {}", row.unit) };
        let median = row.value.median();
        let (target, met) = match row.target {
            Target::AtLeast(least) => (format!(">= {least}{unit}"), verdict(median >= least)),
            Target::AtMost(most) => (format!("<= {most}{unit}"), verdict(median <= most)),
            Target::None => (String::new(), ""),
        };
        let value = row.value.show(|value| format!("{value:.2}")) + &unit;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {target} | {value} | {met} | {} |", row.what, row.details);
    }
    text
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// Formats a number in thousands.
pub(crate) fn thousands(value: f64) -> String {
    format!("{:.1}k", value / 1e3)
}

/// Formats bytes as megabytes.
pub(crate) fn megabytes(value: f64) -> String {
    format!("{:.0} MB", value / 1e6)
}
