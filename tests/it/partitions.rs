//! Partitions: one for each day, and the default one for implausible times.

use serde_json::{Value, json};

use crate::harness::eventually::when;
use crate::harness::{Workspace, assert_exactly, event, eventually};

/// The date of a day relative to today, as `2026-11-23`.
fn day(from_today: i64) -> String {
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * from_today);
    day.to_string()[..10].to_owned()
}

fn partition(day: &str) -> String {
    format!("hook_events_{}", day.replace('-', ""))
}

fn at(day: &str, id: &str) -> Value {
    let mut event = event(id);
    event["timestamp"] = json!(format!("{day}T23:59:59.999999Z"));
    event
}

const PLACES: &str = "SELECT tableoid::regclass || ' ' || event_id FROM hook_events ORDER BY 1";

#[test]
fn events_are_stored_in_the_partitions_of_their_days() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let days = [day(-30), day(-2), day(-1), day(1)];
    let batch: Vec<Value> = days.iter().map(|day| at(day, day)).collect();
    server.client.batch(&batch).expect(202);
    workspace.settled(&server);
    let mut expected: Vec<String> =
        days.iter().map(|day| format!("{} {day}", partition(day))).collect();
    expected.sort();
    assert_eq!(workspace.database().query(PLACES), expected);
}

#[test]
fn implausible_times_are_stored_in_the_default_partition() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let days = ["1970-01-01", "2099-12-31", "0001-01-01", "9999-12-31"];
    let batch: Vec<Value> = days.iter().map(|day| at(day, day)).collect();
    server.client.batch(&batch).expect(202);
    assert_eq!(workspace.settled(&server).len(), 4);
    for stored in workspace.database().query(PLACES) {
        assert!(stored.starts_with("hook_events_default "), "{stored}");
    }
    let partitions = "SELECT count(*)::text FROM pg_inherits
                      WHERE inhparent = 'hook_events'::regclass";
    assert_eq!(workspace.database().query(partitions), ["1"]);
}

#[test]
fn tomorrows_partition_is_created_today_so_that_a_report_at_midnight_does_not_block_delivery() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.event(&at(&day(0), "today")).expect(202);
    let tomorrow = partition(&day(1));
    let exists = format!("SELECT 'yes' WHERE to_regclass('{tomorrow}') IS NOT NULL");
    eventually("tomorrow has a partition", || {
        when(workspace.database().query(&exists), |rows| !rows.is_empty())
    });
    // A long report locks every partition, including the default one.
    let mut report = workspace.database().connect();
    report.batch_execute("BEGIN; SELECT count(*) FROM hook_events").expect("a report");
    server.client.event(&at(&day(1), "tomorrow")).expect(202);
    assert_exactly(&workspace.settled(&server), ["today", "tomorrow"]);
    report.batch_execute("COMMIT").expect("a report");
}

#[test]
fn creating_a_partition_moves_its_events_from_the_default_partition() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.event(&at(&day(-1), "earlier")).expect(202);
    workspace.settled(&server);
    let later = day(-9);
    workspace.database().execute(&format!(
        "INSERT INTO hook_events
             (session_id, event_id, \"timestamp\", event_type, data, received_at)
         VALUES ('session-1', 'by hand', '{later}T00:00:00Z', 'tested', '{{}}', now())"
    ));
    let by_hand = "SELECT tableoid::regclass::text FROM hook_events WHERE event_id = 'by hand'";
    assert_eq!(workspace.database().query(by_hand), ["hook_events_default"]);
    server.client.event(&at(&later, "later")).expect(202);
    assert_eq!(workspace.settled(&server).len(), 3);
    assert_eq!(workspace.database().query(by_hand), [partition(&later)]);
}

#[test]
fn primary_key_is_session_time_and_event() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.event(&at(&day(0), "1")).expect(202);
    workspace.settled(&server);
    let keys = workspace.database().query(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint
         WHERE conrelid = 'hook_events'::regclass AND contype = 'p'",
    );
    assert_eq!(keys, ["PRIMARY KEY (session_id, \"timestamp\", event_id)"]);
}
