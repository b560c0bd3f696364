//! Test harness around the real server: processes, databases, HTTP clients, polling.
//!
//! Processes and files of a test run are cleaned up when it ends, even if it is killed (see
//! [`reaper`]), so any number of test runs can be active at the same time.

pub(crate) mod client;
pub(crate) mod eventually;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod reaper;
pub(crate) mod server;
pub(crate) mod workspace;

pub(crate) use client::{Client, Response};
pub(crate) use eventually::eventually;
pub(crate) use postgres::Cluster;
pub(crate) use server::Server;
pub(crate) use workspace::{Storage, Workspace};

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The smallest valid event with an id.
pub(crate) fn event(event_id: &str) -> Value {
    json!({ "event_id": event_id, "event_type": "tested", "session_id": "session-1" })
}

/// The ids of events, in order.
pub(crate) fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().expect("an event has an id")).collect()
}

/// The only event with that id; panics if there is none or more than one.
#[track_caller]
pub(crate) fn only<'a>(events: &'a [Value], event_id: &str) -> &'a Value {
    let mut found = events.iter().filter(|event| event["event_id"] == event_id);
    let one = found.next().unwrap_or_else(|| panic!("{event_id} is not stored"));
    assert!(found.next().is_none(), "{event_id} is stored more than once");
    one
}

/// Asserts that `stored` has exactly the events with these ids, each once.
#[track_caller]
pub(crate) fn assert_exactly<S: AsRef<str>>(
    stored: &[Value],
    expected: impl IntoIterator<Item = S>,
) {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for id in expected {
        counts.entry(id.as_ref().to_owned()).or_default().0 = 1;
    }
    for id in ids(stored) {
        counts.entry(id.to_owned()).or_default().1 += 1;
    }
    let of = |kind: fn(usize, usize) -> bool| -> Vec<&String> {
        counts.iter().filter(|(_, (sent, found))| kind(*sent, *found)).map(|(id, _)| id).collect()
    };
    let missing = of(|sent, found| sent == 1 && found == 0);
    let repeated = of(|_, found| found > 1);
    let unknown = of(|sent, found| sent == 0 && found > 0);
    assert!(
        missing.is_empty() && repeated.is_empty() && unknown.is_empty(),
        "of {} stored events, missing {}: {:?}, repeated {}: {:?}, never sent {}: {:?}",
        stored.len(),
        missing.len(),
        &missing[..missing.len().min(5)],
        repeated.len(),
        &repeated[..repeated.len().min(5)],
        unknown.len(),
        &unknown[..unknown.len().min(5)],
    );
}
