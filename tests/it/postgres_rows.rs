//! Rows in PostgreSQL: each event once, for any content and any number of events.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::workspace::forwarded;
use crate::harness::{Client, Workspace, assert_exactly, event, ids, only};

#[test]
fn one_hundred_thousand_events_are_stored_exactly_once() {
    const CONNECTIONS: usize = 20;
    const BATCHES: usize = 100;
    const BATCH_EVENTS: usize = 50;
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let id = |connection: usize, batch: usize, number: usize| {
        format!("{:05}", (connection * BATCHES + batch) * BATCH_EVENTS + number)
    };
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let client = Client::keep_alive(server.client.address);
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let events = (0..BATCH_EVENTS).map(|n| event(&id(connection, batch, n)));
                    client.batch(&events.collect::<Vec<_>>()).expect(202);
                }
            });
        }
    });
    crate::harness::workspace::forwarded(&server);
    let stored = workspace.database().query("SELECT event_id FROM hook_events");
    assert_eq!(stored.len(), CONNECTIONS * BATCHES * BATCH_EVENTS);
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len());
    assert_eq!(server.client.metric("hooks_events_stored_total"), stored.len() as u64);
}

#[test]
fn ack_stored_responds_once_the_row_is_visible() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let mut database = workspace.database().connect();
    let mut stored = || -> i64 {
        database.query_one("SELECT count(*) FROM hook_events", &[]).expect("a table").get(0)
    };
    for number in 1..=10 {
        let event = event(&number.to_string());
        server.client.post("/events?ack=stored", JSON, &[], event.to_string()).expect(202);
        assert_eq!(stored(), number);
        server.client.post("/events?ack=stored", JSON, &[], event.to_string()).expect(202);
        assert_eq!(stored(), number);
    }
}

#[test]
fn ack_stored_can_be_the_default_of_the_server() {
    let workspace = Workspace::postgres();
    let server = workspace.server().set("ACK", "stored").start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    assert_exactly(&workspace.events(), ["1", "2"]);
}

#[test]
fn nul_and_lone_surrogates_are_stored_as_replacement_characters() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let lines = [
        r#"{"event_id":"nul\u0000id","event_type":"t","session_id":"s","workflow_id":"w\u0000"}"#,
        r#"{"event_id":"lone\ud800id","event_type":"t","session_id":"s\udc00"}"#,
        r#"{"event_id":"data","event_type":"t","session_id":"s","data":{"nul\u0000":"a\u0000b","high":"\ud83d","low":"\udd80","pair":"\ud83e\udd80","text":"\\u0000 \\ud800","tool_name":"x\u0000"},"more":"\u0000"}"#,
        r#"{"event_id":"plain","event_type":"t","session_id":"s"}"#,
    ];
    let answer = server.client.post("/events/batch", NDJSON, &[], lines.join("\n")).expect(202);
    assert_eq!(answer.json()["accepted"], 4);

    let events = workspace.settled(&server);
    assert_exactly(&events, ["nul\u{fffd}id", "lone\u{fffd}id", "data", "plain"]);
    assert_eq!(only(&events, "nul\u{fffd}id")["workflow_id"], "w\u{fffd}");
    assert_eq!(only(&events, "lone\u{fffd}id")["session_id"], "s\u{fffd}");
    let event = only(&events, "data");
    assert_eq!(
        event["data"],
        json!({
            "nul\u{fffd}": "a\u{fffd}b", "high": "\u{fffd}", "low": "\u{fffd}", "pair": "🦀",
            "text": "\\u0000 \\ud800", "tool_name": "x\u{fffd}",
        })
    );
    assert_eq!(event["tool_name"], "x\u{fffd}");
    assert_eq!(event["extra"], json!({ "more": "\u{fffd}" }));
    assert_eq!(workspace.rejected(), [] as [Value; 0]);
}

#[test]
fn event_that_postgresql_rejects_is_recorded_and_its_batch_is_stored() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let refused = r#"{"event_id":"2","event_type":"t","session_id":"s","data":{"n":1e200000}}"#;
    let lines = format!("{}\n{refused}\n{}", event("1"), event("3"));
    let answer = server.client.post("/events/batch", NDJSON, &[], lines).expect(202);
    assert_eq!(answer.json()["accepted"], 3);

    assert_exactly(&workspace.settled(&server), ["1", "3"]);
    let rejected = std::fs::read_to_string(workspace.journal().join("rejected.jsonl"));
    let rejected = rejected.expect("rejected events");
    assert_eq!(rejected.lines().count(), 1);
    assert!(rejected.contains(r#""event_id":"2""#), "{rejected}");
    assert!(rejected.contains("1e200000"), "{rejected}");
    assert!(rejected.contains("numeric"), "the error message of the database: {rejected}");
    let refused = "hooks_events_rejected_total{reason=\"store\"}";
    assert_eq!(server.client.metric(refused), 1);
}

#[test]
fn only_the_bad_rows_of_a_large_batch_are_rejected() {
    const EVENTS: usize = 10_000;
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let is_bad = |number: usize| number * 7919 % EVENTS < 100;
    let lines = (0..EVENTS).map(|number| {
        let value = if is_bad(number) { "1e200000" } else { "1" };
        format!(
            r#"{{"event_id":"{number}","event_type":"t","session_id":"s","data":{{"n":{value}}}}}"#
        )
    });
    let body = lines.collect::<Vec<_>>().join("\n");
    let answer = server.client.post("/events/batch", NDJSON, &[], body).expect(202);
    assert_eq!(answer.json()["accepted"], EVENTS);

    let good = (0..EVENTS).filter(|number| !is_bad(*number)).map(|number| number.to_string());
    assert_exactly(&workspace.settled(&server), good);
    let text = std::fs::read_to_string(workspace.journal().join("rejected.jsonl"));
    let text = text.expect("rejected events");
    let rejected_ids: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once("\"event_id\":\"")?.1.split_once('"'))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(text.lines().count(), 100);
    assert_eq!(rejected_ids.len(), 100);
    assert!(rejected_ids.iter().all(|id| id.parse().is_ok_and(is_bad)));
}

#[test]
fn batch_with_duplicates_and_bad_rows_stores_the_good_rows() {
    let (workspace, other_directory) = (Workspace::postgres(), Workspace::jsonl());
    let first = workspace.server().start();
    let dated = |id: &str, data: Value| {
        let mut event = event(id);
        event["timestamp"] = json!("2026-11-23T09:00:00Z");
        event["data"] = data;
        event
    };
    let batch: Vec<Value> = (0..100).map(|n| dated(&n.to_string(), json!({ "n": n }))).collect();
    first.client.batch(&batch).expect(202);
    workspace.settled(&first);

    let second = workspace.server().directory(other_directory.directory()).start();
    let mut lines: Vec<String> = batch.iter().step_by(3).map(Value::to_string).collect();
    lines.extend((100..120).map(|n| dated(&n.to_string(), json!({})).to_string()));
    for at in [0, 10, 20, 30] {
        let bad = dated(&format!("bad-{at}"), json!({})).to_string();
        lines.insert(at, bad.replace("\"data\":{}", "\"data\":{\"n\":1e200000}"));
    }
    second.client.post("/events/batch", NDJSON, &[], lines.join("\n")).expect(202);
    let events = workspace.settled(&second);
    let expected: Vec<String> = (0..120).map(|n| n.to_string()).collect();
    assert_exactly(&events, &expected);
    assert_eq!(ids(&events).len(), 120);
    let rejected = std::fs::read_to_string(
        other_directory.directory().join(".agentic/journal/rejected.jsonl"),
    );
    assert_eq!(rejected.expect("rejected events").lines().count(), 4);
}

/// `numeric` stores `1e131071` in a few bytes and prints it in 131,072. PostgreSQL stores a row with enough
/// such numbers, but can never return it.
#[test]
fn event_that_could_not_be_read_back_is_rejected() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let numbers = |number: &str, count: usize| vec![number; count].join(",");
    let with = |id: &str, data: &str, more: &str| {
        format!(
            r#"{{"event_id":"{id}","event_type":"t","session_id":"s","data":{{"n":[{data}]}},"m":[{more}]}}"#
        )
    };
    let lines = [
        with("readable", &numbers("1e131071", 250), &numbers("-1E+131071", 250)),
        with("data", &numbers("1e131071", 20_000), "0"),
        with("extra", "0", &numbers("0.1E-16382", 5_000)),
        with("both", &numbers("1e131071", 300), &numbers("1e131071", 300)),
        with("words", &numbers("true,\"1e131071\",\"\\\"e131071\",false", 20_000), "1e10"),
        with("escapes", &format!("\"{}\"", "\\u0001\\\\\\\"".repeat(200_000)), "0"),
        with("key", &format!("{{\"{}\":0}}", "k".repeat(1 << 20)), "0"),
        with("last", "1", "1"),
    ];
    let answer = server.client.post("/events/batch", NDJSON, &[], lines.join("\n")).expect(202);
    assert_eq!(answer.json()["accepted"], lines.len());
    forwarded(&server);

    let mut database = workspace.database().connect();
    let rows = database.query("SELECT event_id, data::text, extra::text FROM hook_events", &[]);
    let mut read: Vec<String> =
        rows.expect("every row can be read").iter().map(|row| row.get(0)).collect();
    read.sort();
    assert_eq!(read, ["escapes", "key", "last", "readable", "words"]);
    let dump = database.copy_out("COPY (SELECT * FROM hook_events) TO STDOUT");
    std::io::copy(&mut dump.expect("a dump"), &mut std::io::sink()).expect("a whole dump");

    // Compared as text, because not every JSON parser accepts such numbers.
    let rejected = std::fs::read_to_string(workspace.journal().join("rejected.jsonl"));
    let rejected = rejected.expect("rejected events");
    assert_eq!(rejected.lines().count(), 3);
    for (entry, id) in rejected.lines().zip(["data", "extra", "both"]) {
        assert!(entry.contains(&format!("\"event\":{{\"event_id\":\"{id}\"")), "{id}");
        assert!(entry.contains("more digits"), "{id}");
    }
    assert_eq!(server.client.metric("hooks_events_rejected_total{reason=\"store\"}"), 3);
}
