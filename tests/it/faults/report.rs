//! The results of a campaign as a Markdown table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ledger::Findings;

/// The outcome of one round.
pub(crate) struct Outcome {
    /// The name of the fault, or both names of a pair.
    pub(crate) fault: String,
    pub(crate) skipped: Option<String>,
    pub(crate) kills: usize,
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    pub(crate) findings: Findings,
    pub(crate) recoveries: Vec<Duration>,
}

#[derive(Default)]
pub(crate) struct Report {
    rows: BTreeMap<String, Row>,
    /// The faults in display order.
    order: Vec<String>,
    pub(crate) failures: Vec<String>,
}

#[derive(Default)]
struct Row {
    runs: usize,
    kills: usize,
    sent: usize,
    accepted: usize,
    stored: usize,
    lost: usize,
    duplicated: usize,
    other: usize,
    excused: usize,
    recoveries: Vec<Duration>,
    skipped: Option<String>,
}

impl Report {
    pub(crate) fn new(faults: impl Iterator<Item = String>) -> Self {
        Self { order: faults.collect(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        let name = if outcome.fault.contains('+') { "pairs of faults" } else { &outcome.fault };
        let row = self.rows.entry(name.to_owned()).or_default();
        if outcome.skipped.is_some() {
            row.skipped = outcome.skipped;
            return;
        }
        row.add(&outcome);
    }

    pub(crate) fn kills(&self) -> usize {
        self.rows.values().map(|row| row.kills).sum()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| fault | runs | kills | sent | accepted | stored | lost | duplicated | other | excused | \
             recovery median | max |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        let mut total = Row::default();
        let pairs = "pairs of faults".to_owned();
        for name in self.order.iter().chain([&pairs]) {
            let Some(row) = self.rows.get(name) else { continue };
            match &row.skipped {
                Some(why) if row.runs == 0 => {
                    let cells = " |".repeat(10);
                    text = format!("{text}| {name} | skipped: {why} |{cells}\n");
                }
                _ => text.push_str(&row.line(name)),
            }
            total.merge(row);
        }
        text.push_str(&total.line("all"));
        text
    }
}

impl Row {
    fn add(&mut self, outcome: &Outcome) {
        let findings = &outcome.findings;
        self.runs += 1;
        self.kills += outcome.kills;
        self.sent += outcome.sent;
        self.accepted += outcome.accepted;
        self.stored += findings.stored;
        self.lost += findings.lost.len();
        self.duplicated += findings.duplicated.len();
        self.other += findings.altered.len() + findings.unknown.len() + findings.other.len();
        self.excused += findings.excused;
        self.recoveries.extend(&outcome.recoveries);
    }

    fn merge(&mut self, row: &Self) {
        self.runs += row.runs;
        self.kills += row.kills;
        self.sent += row.sent;
        self.accepted += row.accepted;
        self.stored += row.stored;
        self.lost += row.lost;
        self.duplicated += row.duplicated;
        self.other += row.other;
        self.excused += row.excused;
        self.recoveries.extend(&row.recoveries);
    }

    fn line(&self, name: &str) -> String {
        let mut recoveries = self.recoveries.clone();
        recoveries.sort_unstable();
        let seconds = |at: usize| {
            recoveries.get(at).map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
        };
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            self.runs,
            self.kills,
            self.sent,
            self.accepted,
            self.stored,
            self.lost,
            self.duplicated,
            self.other,
            self.excused,
            seconds(recoveries.len() / 2),
            seconds(recoveries.len().saturating_sub(1)),
        )
    }
}
