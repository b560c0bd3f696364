//! The ledger: every event sent, the response it received, and the comparison with the stored events.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::events::difference;

#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<HashMap<String, Entry>>,
    accepted: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

struct Entry {
    event: Value,
    first_sent: Instant,
    accepted: Option<Instant>,
    /// May be missing: an external fault destroyed it.
    excused: bool,
}

/// Differences between the ledger and the stored events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) stored: usize,
    /// Answered 202 and not stored.
    pub(crate) lost: Vec<String>,
    pub(crate) duplicated: Vec<String>,
    /// Stored with other content than sent.
    pub(crate) altered: Vec<String>,
    /// Stored and never sent.
    pub(crate) unknown: Vec<String>,
    /// Any other violation.
    pub(crate) other: Vec<String>,
    /// Missing because of an external fault, as expected.
    pub(crate) excused: usize,
}

impl Findings {
    pub(crate) fn is_clean(&self) -> bool {
        self.describe().is_empty()
    }

    pub(crate) fn describe(&self) -> String {
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("altered", &self.altered),
            ("never sent", &self.unknown),
            ("other", &self.other),
        ];
        let texts = kinds
            .iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(kind, ids)| format!("{kind} {}: {:?}", ids.len(), &ids[..ids.len().min(5)]));
        texts.collect::<Vec<_>>().join("; ")
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records events before they are sent for the first time.
    pub(crate) fn sending(&self, events: &[Value]) {
        let mut entries = self.entries();
        for event in events {
            let entry = Entry {
                event: event.clone(),
                first_sent: Instant::now(),
                accepted: None,
                excused: false,
            };
            assert!(entries.insert(id(event), entry).is_none(), "an id is used once");
        }
    }

    /// Records that events were answered 202.
    pub(crate) fn accepted(&self, events: &[Value]) {
        let mut entries = self.entries();
        for event in events {
            entries.get_mut(&id(event)).expect("it was sent").accepted = Some(Instant::now());
        }
        self.accepted.fetch_add(events.len(), Ordering::SeqCst);
    }

    /// Records a response that no fault explains.
    pub(crate) fn violation(&self, text: String) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    pub(crate) fn accepted_count(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn sent_count(&self) -> usize {
        self.entries().len()
    }

    /// Marks events that may be missing because they were deleted or damaged on purpose.
    pub(crate) fn excuse(&self, ids: impl IntoIterator<Item = String>) {
        let mut entries = self.entries();
        for id in ids {
            if let Some(entry) = entries.get_mut(&id) {
                entry.excused = true;
            }
        }
    }

    /// Marks all events first sent before `moment` as possibly missing.
    pub(crate) fn excuse_sent_before(&self, moment: Instant) {
        for entry in self.entries().values_mut() {
            entry.excused |= entry.first_sent <= moment;
        }
    }

    /// Marks the selected events as possibly missing.
    pub(crate) fn excuse_where(&self, which: impl Fn(&Value) -> bool) {
        for entry in self.entries().values_mut() {
            entry.excused |= which(&entry.event);
        }
    }

    /// Those of `ids` that were answered 202 within the interval.
    pub(crate) fn accepted_between(
        &self,
        ids: &[String],
        from: Instant,
        to: Instant,
    ) -> Vec<String> {
        let entries = self.entries();
        let accepted = |id: &&String| {
            let at = entries.get(*id).and_then(|entry| entry.accepted);
            at.is_some_and(|at| from <= at && at <= to)
        };
        ids.iter().filter(accepted).cloned().collect()
    }

    /// The ids of all accepted events.
    pub(crate) fn accepted_ids(&self) -> HashSet<String> {
        let entries = self.entries();
        let accepted = entries.iter().filter(|(_, entry)| entry.accepted.is_some());
        accepted.map(|(id, _)| id.clone()).collect()
    }

    /// Compares the ledger with all stored events.
    pub(crate) fn check(&self, stored: &[Value]) -> Findings {
        let other = self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut findings = Findings { stored: stored.len(), other, ..Findings::default() };
        let entries = self.entries();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for event in stored {
            let id = event["event_id"].as_str().unwrap_or_default();
            let Some(entry) = entries.get(id) else {
                findings.unknown.push(event.to_string());
                continue;
            };
            let count = counts.entry(id).or_default();
            *count += 1;
            if *count == 2 {
                findings.duplicated.push(id.to_owned());
            }
            if let Some(difference) = difference(&entry.event, event) {
                findings.altered.push(format!("{id}: {difference}"));
            }
        }
        for (id, entry) in entries.iter().filter(|(id, _)| !counts.contains_key(id.as_str())) {
            match entry.accepted {
                Some(_) if entry.excused => findings.excused += 1,
                Some(_) => findings.lost.push(id.clone()),
                None => {}
            }
        }
        findings
    }

    /// The ledger as JSON Lines, for diagnosing a failed round.
    pub(crate) fn dump(&self, begun: Instant) -> String {
        let since = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
        let entries = self.entries();
        let lines = entries.iter().map(|(id, entry)| {
            serde_json::json!({
                "event_id": id,
                "first_sent": since(entry.first_sent),
                "accepted": entry.accepted.map(since),
                "excused": entry.excused,
            })
            .to_string()
                + "\n"
        });
        lines.collect()
    }
}

fn id(event: &Value) -> String {
    event["event_id"].as_str().unwrap_or_default().to_owned()
}
