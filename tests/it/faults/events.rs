//! Generated events, and the expected content of each once stored.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::rng::Rng;

/// Parameters of the generated events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Percentage of events without `timestamp`.
    pub(crate) untimed: u64,
    pub(crate) dates: Dates,
    /// Maximum padding of an event, in bytes.
    pub(crate) padding: u64,
    /// Maximum number of events in a batch.
    pub(crate) batch: u64,
    /// Maximum pause between two requests, in milliseconds.
    pub(crate) pause: u64,
    /// Ids without characters that JSON escapes, so that they can be found in the journal.
    pub(crate) plain_ids: bool,
}

/// The default parameters.
pub(crate) const USUAL: Habits =
    Habits { untimed: 20, dates: Dates::Now, padding: 600, batch: 40, pause: 15, plain_ids: false };

/// Range of the timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dates {
    Now,
    /// From that many days ago to two days ahead, so that partitions are created all the time.
    Days(u64),
    /// Now, at the limits of the format, and around midnights and month ends.
    Absurd,
}

const FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%6fZ";

const ABSURD: [&str; 8] = [
    "1970-01-01T00:00:00.000000Z",
    "1969-12-31T23:59:59.999999Z",
    "2099-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00.000000Z",
    "0001-12-31T23:59:59.000001Z",
    "2024-02-29T23:59:59.999999Z",
    "2000-02-29T00:00:00.000000Z",
];

impl Dates {
    fn one(self, rng: &mut Rng) -> String {
        let now = Timestamp::now();
        let at = |seconds: i64| {
            let time = now + SignedDuration::new(seconds, 0);
            time.strftime(FORMAT).to_string()
        };
        match self {
            Self::Now => at(0),
            Self::Days(days) => at((rng.within(0..days + 2) as i64 - days as i64) * 86_400),
            Self::Absurd if rng.percent(40) => (*rng.pick(&ABSURD)).to_owned(),
            Self::Absurd => {
                // Within a microsecond of a midnight, often the last of a month.
                let day = now.as_second().div_euclid(86_400) - rng.within(0..70) as i64;
                let midnight = Timestamp::from_second(day * 86_400).expect("a time of this era");
                let aside = SignedDuration::from_micros(rng.within(0..3) as i64 - 1);
                (midnight + aside).strftime(FORMAT).to_string()
            }
        }
    }
}

/// A new event of the sender.
pub(crate) fn make(habits: &Habits, rng: &mut Rng, sender: &str, number: usize) -> Value {
    let mut id = format!("{sender}-{number}");
    if !habits.plain_ids && number.is_multiple_of(13) {
        id.push_str(" \"é\"\n\u{1f600}\\");
    }
    let mut event = json!({
        "event_id": id,
        "event_type": rng.pick(&["tool_execution_started", "tool_execution_completed", "prompt"]),
        "session_id": format!("session-{sender}-{}", number % 5),
        "data": {
            "text": "x".repeat(rng.within(0..habits.padding + 1) as usize),
            "nested": [{ "number": number, "half": 0.5, "none": null }, "\t\u{7f}ü", true],
        },
    });
    if rng.percent(50) {
        event["workflow_id"] = format!("workflow-{}", rng.within(0..9)).into();
        event["data"]["tool_name"] = "Bash".into();
        event["data"]["tool_use_id"] = format!("use-{number}").into();
        event["data"]["duration_ms"] = rng.within(0..100_000).into();
        event["data"]["agent"] = "ägent".into();
    }
    if rng.percent(30) {
        event["cwd"] = "/home/\"someone\"".into();
        event["attempt"] = json!({ "of": [1, 2] });
    }
    if !rng.percent(habits.untimed) {
        event["timestamp"] = habits.dates.one(rng).into();
    }
    event
}

const NAMED: [&str; 8] = [
    "event_id",
    "event_type",
    "session_id",
    "workflow_id",
    "phase_id",
    "milestone_id",
    "data",
    "timestamp",
];

/// The first difference between the sent event and the stored one, which has all fields.
pub(crate) fn difference(sent: &Value, stored: &Value) -> Option<String> {
    let mut expected = json!({ "extra": null });
    for field in NAMED {
        expected[field] = sent[field].clone();
    }
    for column in ["agent", "tool_name", "tool_use_id", "duration_ms"] {
        expected[column] = sent["data"][column].clone();
    }
    for (name, value) in sent.as_object().expect("an event is an object") {
        if !NAMED.contains(&name.as_str()) {
            expected["extra"][name] = value.clone();
        }
    }
    if sent["timestamp"].is_null() {
        expected["timestamp"] = stored["received_at"].clone();
    }
    if stored["received_at"].as_str().is_none_or(str::is_empty) {
        return Some("received_at is missing".to_owned());
    }
    let fields = expected.as_object().expect("an object");
    fields.iter().find_map(|(name, expected)| {
        let found = &stored[name];
        let same = found == expected
            || found.as_f64().is_some_and(|found| Some(found) == expected.as_f64());
        (!same).then(|| format!("{name} is {found}, was {expected}"))
    })
}
