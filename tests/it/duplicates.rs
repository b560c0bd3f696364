//! Repeated events are accepted each time and stored once.

use serde_json::Value;

use crate::cloudevents::STRUCTURED;
use crate::harness::client::JSON;
use crate::harness::eventually::when;
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually, only};

const DUPLICATES_IN_STORE: &str = "hooks_events_duplicate_total{reason=\"store\"}";

both!(
    repeated_batch_is_accepted_and_stored_once,
    repeat_within_one_batch_is_stored_once,
    same_event_id_in_two_sessions_is_two_events,
    repeat_is_detected_after_a_restart,
    concurrent_identical_requests_are_stored_once,
);

fn repeated_batch_is_accepted_and_stored_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let batch = [event("1"), event("2"), event("3")];
    for _ in 0..2 {
        assert_eq!(server.client.batch(&batch).expect(202).json()["accepted"], 3);
    }
    server.client.event(&batch[0]).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
    let window = "hooks_events_duplicate_total{reason=\"window\"}";
    assert_eq!(server.client.metric(window), 4);
}

fn repeat_within_one_batch_is_stored_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut other = event("1");
    other["data"] = serde_json::json!({ "second": true });
    let batch = [event("1"), event("2"), other, event("1")];
    assert_eq!(server.client.batch(&batch).expect(202).json()["accepted"], 4);
    let events = workspace.settled(&server);
    assert_exactly(&events, ["1", "2"]);
    assert_eq!(only(&events, "1")["data"], serde_json::json!({}), "the first of the two is stored");
}

fn same_event_id_in_two_sessions_is_two_events(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut other = event("1");
    other["session_id"] = "session-2".into();
    server.client.batch(&[event("1"), other]).expect(202);
    assert_eq!(workspace.settled(&server).len(), 2);
}

fn repeat_is_detected_after_a_restart(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    let batch = [event("1"), event("2")];
    server.client.batch(&batch).expect(202);
    server.stop();
    server.restart();
    server.client.batch(&batch).expect(202);
    server.kill9();
    server.restart();
    server.client.batch(&batch).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

fn concurrent_identical_requests_are_stored_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let batch: Vec<Value> = (0..20).map(|id| event(&id.to_string())).collect();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(server.client.batch(&batch).expect(202).json()["accepted"], 20);
                }
            });
        }
    });
    assert_exactly(&workspace.settled(&server), (0..20).map(|id| id.to_string()));
}

#[test]
fn repeat_is_detected_after_its_segment_was_deleted() {
    let workspace = Workspace::postgres();
    // With 1 MiB, segments have 128 KiB.
    let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").set("JOURNAL_RETENTION", "0");
    let mut server = server.start();
    server.client.event(&event("first")).expect(202);
    workspace.settled(&server);
    let first = workspace.journal_files("seg")[0].clone();

    let mut filler = 0;
    eventually("the first segment is deleted", || {
        let mut event = event(&format!("filler-{filler}"));
        event["data"] = serde_json::json!({ "text": "x".repeat(60_000) });
        server.client.event(&event).expect(202);
        filler += 1;
        workspace.settled(&server);
        if first.exists() { Err(filler) } else { Ok(()) }
    });
    server.stop();
    server.restart();
    server.client.event(&event("first")).expect(202);
    let fillers = (0..filler).map(|number| format!("filler-{number}"));
    assert_exactly(&workspace.settled(&server), fillers.chain(["first".to_owned()]));
}

/// Two servers of one database; the second has its journal in another directory.
fn two_servers(workspace: &Workspace, other_directory: &Workspace) -> [Server; 2] {
    let second = workspace.server().directory(other_directory.directory());
    [workspace.server().start(), second.start()]
}

#[test]
fn repeat_with_timestamp_is_detected_across_servers_of_one_database() {
    let (workspace, other_directory) = (Workspace::postgres(), Workspace::jsonl());
    let [first, second] = two_servers(&workspace, &other_directory);
    let mut dated = event("1");
    dated["timestamp"] = "2026-11-23T09:00:00+00:00".into();
    first.client.event(&dated).expect(202);
    second.client.event(&dated).expect(202);
    workspace.settled(&first);
    assert_exactly(&workspace.settled(&second), ["1"]);
    assert_eq!(
        first.client.metric(DUPLICATES_IN_STORE) + second.client.metric(DUPLICATES_IN_STORE),
        1
    );
}

#[test]
fn repeat_with_the_time_of_receipt_is_detected_across_servers_of_one_database() {
    let (workspace, other_directory) = (Workspace::postgres(), Workspace::jsonl());
    let [first, second] = two_servers(&workspace, &other_directory);
    let batch = [event("1"), event("2"), event("3")];
    first.client.batch(&batch).expect(202);
    let stored = workspace.settled(&first);
    second.client.batch(&[&batch[..], &[event("4")]].concat()).expect(202);
    let events = workspace.settled(&second);
    assert_eq!(second.client.metric(DUPLICATES_IN_STORE), 3);
    assert_eq!(events.len(), 4);
    for id in ["1", "2", "3"] {
        assert_eq!(only(&events, id), only(&stored, id), "the first to be stored stays");
    }
}

#[test]
fn hooks_and_cloudevents_are_stored_once_across_servers_of_one_database() {
    let (workspace, other_directory) = (Workspace::postgres(), Workspace::jsonl());
    let [first, second] = two_servers(&workspace, &other_directory);
    let hook = serde_json::json!({
        "session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash",
        "tool_input": { "command": "ls" }, "tool_use_id": "toolu_1",
    });
    let cloudevent = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "s", "type": "session_started", "sessionid": "s",
    });
    for server in [&first, &second] {
        server.client.post("/hooks/claude-code", JSON, &[], hook.to_string()).expect(200);
        server.client.post("/events", STRUCTURED, &[], cloudevent.to_string()).expect(202);
        assert_eq!(workspace.settled(server).len(), 2);
    }
}

#[test]
fn ids_that_are_stored_as_the_same_text_are_distinct_events() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.batch(&[event("\0"), event("2")]).expect(202);
    workspace.settled(&server);
    server.client.event(&event("\u{fffd}")).expect(202);
    assert_eq!(workspace.settled(&server).len(), 3);
}

#[test]
fn redelivered_events_with_the_time_of_receipt_are_stored_once() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    let batch = [event("1"), event("2")];
    server.client.batch(&batch).expect(202);
    workspace.settled(&server);
    server.stop();
    workspace.database().execute("UPDATE hook_positions SET position = 0, fingerprint = NULL");
    server.restart();
    server.client.event(&event("3")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
}

#[test]
fn a_repeat_that_was_stored_before_is_deleted_when_it_is_delivered_again() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    workspace.settled(&server);
    server.stop();
    // As if the ID had expired, and another server had received the event after that.
    let second_later = "SET \"timestamp\" = \"timestamp\" + interval '1 second'";
    workspace.database().execute(&format!(
        "CREATE TABLE repeat AS SELECT * FROM hook_events; UPDATE repeat {second_later};
         INSERT INTO hook_events SELECT * FROM repeat; UPDATE hook_receipt_ids {second_later};
         UPDATE hook_positions SET position = 0, fingerprint = NULL"
    ));
    server.restart();
    eventually("it is delivered again", || {
        when(server.client.metric(DUPLICATES_IN_STORE), |count| *count == 1)
    });
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

#[test]
fn ids_of_the_last_day_are_kept() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    let mut without_id = event("2");
    without_id.as_object_mut().expect("an object").remove("event_id");
    server.client.batch(&[event("1"), without_id]).expect(202);
    workspace.settled(&server);
    let ids = "SELECT event_id FROM hook_receipt_ids ORDER BY event_id";
    assert_eq!(workspace.database().query(ids), ["1"], "no other server has generated IDs");
    server.stop();
    workspace.database().execute(
        "INSERT INTO hook_receipt_ids VALUES ('session-1', 'old', now() - interval '25 hours')",
    );
    server.restart();
    server.client.event(&event("3")).expect(202);
    workspace.settled(&server);
    assert_eq!(workspace.database().query(ids), ["1", "3"]);
}
