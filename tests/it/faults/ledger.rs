//! The ledger: what was sent, what each event was answered, and how that compares with what is
//! stored.

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
    wrong_answers: Mutex<Vec<String>>,
}

struct Entry {
    event: Value,
    first_sent: Instant,
    accepted: Option<Instant>,
    /// Its loss is someone else's doing.
    excused: bool,
}

/// What does not fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) stored: usize,
    /// Answered 202, and not stored.
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Stored, but not as it was sent.
    pub(crate) altered: Vec<String>,
    /// Stored, and never sent.
    pub(crate) unknown: Vec<String>,
    /// Anything else that must not happen.
    pub(crate) other: Vec<String>,
    /// Lost by someone else's hand.
    pub(crate) excused: usize,
}

impl Findings {
    pub(crate) fn is_clean(&self) -> bool {
        self.describe().is_empty()
    }

    pub(crate) fn describe(&self) -> String {
        let kinds = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("altered", &self.altered),
            ("never sent", &self.unknown),
            ("wrong", &self.other),
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

    /// Writes down events before they are sent for the first time.
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

    /// Writes down that events were answered 202.
    pub(crate) fn accepted(&self, events: &[Value]) {
        let mut entries = self.entries();
        for event in events {
            entries.get_mut(&id(event)).expect("it was sent").accepted = Some(Instant::now());
        }
        self.accepted.fetch_add(events.len(), Ordering::SeqCst);
    }

    /// Writes down an answer that no fault explains.
    pub(crate) fn wrong(&self, answer: String) {
        self.wrong_answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    pub(crate) fn accepted_count(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn sent_count(&self) -> usize {
        self.entries().len()
    }

    /// From now on these may be missing: someone else deleted or damaged them.
    pub(crate) fn excuse(&self, ids: impl IntoIterator<Item = String>) {
        let mut entries = self.entries();
        for id in ids {
            if let Some(entry) = entries.get_mut(&id) {
                entry.excused = true;
            }
        }
    }

    /// From now on everything first sent before that moment may be missing.
    pub(crate) fn excuse_sent_before(&self, moment: Instant) {
        for entry in self.entries().values_mut() {
            entry.excused |= entry.first_sent <= moment;
        }
    }

    /// From now on those events may be missing.
    pub(crate) fn excuse_where(&self, which: impl Fn(&Value) -> bool) {
        for entry in self.entries().values_mut() {
            entry.excused |= which(&entry.event);
        }
    }

    /// Which of these were answered 202 in that time.
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

    /// Compares with everything that is stored.
    pub(crate) fn check(&self, stored: &[Value]) -> Findings {
        let other = self.wrong_answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
                findings.doubled.push(id.to_owned());
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

    /// All of it as JSON Lines, for whoever has to find out what went wrong.
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
