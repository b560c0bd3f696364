//! Accepted events are stored as they were sent.

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Storage, Workspace, assert_exactly, event, only};

both!(
    readme_example_is_stored_once,
    json_array_is_a_batch,
    ndjson_is_a_batch,
    empty_batch_is_accepted,
    optional_fields_may_be_null,
    unknown_fields_are_kept_under_extra,
    promoted_columns_are_read_from_data,
    pretty_printed_body_becomes_one_record,
    missing_event_id_becomes_a_uuid_v7,
    missing_timestamp_is_the_time_of_receipt,
    byte_order_marks_and_carriage_returns_are_ignored,
);

fn readme_example_is_stored_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let response = server.client.event(&json!({
        "event_type": "session_started",
        "session_id": "session-123",
        "workflow_id": "workflow-456",
        "data": { "model": "claude-sonnet-4-5-20250929" },
    }));
    let response = response.expect(202);
    assert_eq!(response.text, r#"{"accepted":1,"message":"Events accepted"}"#);
    assert_eq!(response.header("content-type"), JSON);

    let events = workspace.settled(&server);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event_type"], "session_started");
    assert_eq!(events[0]["session_id"], "session-123");
    assert_eq!(events[0]["workflow_id"], "workflow-456");
    assert_eq!(events[0]["data"], json!({ "model": "claude-sonnet-4-5-20250929" }));
}

fn json_array_is_a_batch(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let response = server.client.batch(&[event("1"), event("2"), event("3")]).expect(202);
    assert_eq!(response.json(), json!({ "accepted": 3, "message": "Events accepted" }));
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
}

fn ndjson_is_a_batch(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let lines = format!("{}\n{}", event("1"), event("2"));
    let response = server.client.post("/events/batch", NDJSON, &[], lines).expect(202);
    assert_eq!(response.json()["accepted"], 2);
    let lines = format!("\n{}\n\n{}\n", event("3"), event("4"));
    let jsonl = "application/jsonl; charset=utf-8";
    let response = server.client.post("/events/batch", jsonl, &[], lines).expect(202);
    assert_eq!(response.json()["accepted"], 2);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4"]);
}

fn empty_batch_is_accepted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    for (content_type, body) in [(JSON, "[]"), (JSON, " [ ]\n"), (NDJSON, ""), (NDJSON, "\n\n")] {
        let response = server.client.post("/events/batch", content_type, &[], body).expect(202);
        assert_eq!(response.text, r#"{"accepted":0,"message":"No events to store"}"#);
    }
    assert_exactly(&workspace.settled(&server), [""; 0]);
}

fn optional_fields_may_be_null(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let with_nulls = json!({
        "event_id": "0193-a",
        "event_type": "tool_execution_started",
        "session_id": "session-1",
        "workflow_id": null,
        "phase_id": null,
        "milestone_id": null,
        "data": {},
        "timestamp": "2026-11-23T09:00:00.123456+00:00",
    });
    let full = json!({
        "event_id": "0193-b",
        "event_type": "tool_execution_started",
        "session_id": "session-1",
        "workflow_id": "workflow-1",
        "phase_id": "phase-1",
        "milestone_id": "milestone-1",
        "data": { "a": 1 },
        "timestamp": "2026-11-23T09:00:00.123456+00:00",
    });
    let nothing = json!({
        "event_id": null,
        "event_type": "tool_execution_started",
        "session_id": "session-1",
        "data": null,
        "timestamp": null,
    });
    server.client.batch(&[with_nulls.clone(), full.clone(), nothing]).expect(202);

    let events = workspace.settled(&server);
    assert_eq!(events.len(), 3);
    for sent in [with_nulls, full] {
        let stored = only(&events, sent["event_id"].as_str().expect("a string"));
        for (field, value) in sent.as_object().expect("an object") {
            if field != "timestamp" {
                assert_eq!(&stored[field], value, "{field}");
            }
        }
        assert_eq!(stored["timestamp"], "2026-11-23T09:00:00.123456Z");
        assert_eq!(stored["extra"], Value::Null);
    }
}

fn unknown_fields_are_kept_under_extra(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut sent = event("1");
    sent["cwd"] = json!("/home/dev");
    sent["nested"] = json!({ "deep": [1, null, { "x": true }] });
    sent["received_at"] = json!("not this server's");
    server.client.event(&sent).expect(202);
    let events = workspace.settled(&server);
    assert_eq!(
        events[0]["extra"],
        json!({
            "cwd": "/home/dev",
            "nested": { "deep": [1, null, { "x": true }] },
            "received_at": "not this server's",
        })
    );
    assert_ne!(events[0]["received_at"], "not this server's");
}

fn promoted_columns_are_read_from_data(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let with_data = |id: &str, data: Value| {
        let mut event = event(id);
        event["data"] = data;
        event
    };
    let facts = json!({
        "agent": "claude-code", "tool_name": "Bash", "tool_use_id": "toolu_01", "duration_ms": 12.5,
    });
    let deeper = json!({ "input": { "tool_name": "inner" }, "list": [{ "agent": "no" }] });
    let wrong_types =
        json!({ "agent": true, "tool_name": null, "tool_use_id": {}, "duration_ms": "1" });
    server
        .client
        .batch(&[
            with_data("top", facts.clone()),
            with_data("deeper", deeper.clone()),
            with_data("types", wrong_types.clone()),
        ])
        .expect(202);

    let events = workspace.settled(&server);
    for fact in ["agent", "tool_name", "tool_use_id", "duration_ms"] {
        assert_eq!(only(&events, "top")[fact], facts[fact], "{fact}");
        assert_eq!(only(&events, "deeper")[fact], Value::Null, "{fact}");
        assert_eq!(only(&events, "types")[fact], Value::Null, "{fact}");
    }
    assert_eq!(only(&events, "top")["data"], facts);
    assert_eq!(only(&events, "deeper")["data"], deeper);
    assert_eq!(only(&events, "types")["data"], wrong_types);
}

fn pretty_printed_body_becomes_one_record(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let body = "{\r\n  \"event_id\": \"1\",\n\t\"event_type\": \"tool \\u0066inished\",\n  \
                \"session_id\": \"Sitzung-ä\",\n  \"data\": {\n    \"z\": 1.50e+02,\n    \
                \"a\": { \"ü\": [ 1 , 2.0 , -0 ], \"日本\": \"語 \\n \\\"x\\\" 🦀\" },\n    \
                \"big\": 12345678901234567890123,\n    \"twice\": 1,\n    \"twice\": 2\n  }\n}\n";
    server.client.post("/events", JSON, &[], body).expect(202);

    let events = workspace.settled(&server);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event_type"], "tool finished");
    assert_eq!(events[0]["session_id"], "Sitzung-ä");
    assert_eq!(events[0]["data"]["a"]["日本"], "語 \n \"x\" 🦀");
    assert_eq!(events[0]["data"]["twice"], 2);
    if storage == Storage::Jsonl {
        let text = std::fs::read_to_string(workspace.file()).expect("the file");
        assert_eq!(text.lines().count(), 1);
        let data = "\"data\":{\"z\":1.50e+02,\"a\":{\"ü\":[1,2.0,-0],\"日本\":\"語 \\n \\\"x\\\" \
                    🦀\"},\"big\":12345678901234567890123,\"twice\":1,\"twice\":2},\"timestamp\":";
        assert!(text.contains(data), "{text}");
    }
}

fn missing_event_id_becomes_a_uuid_v7(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let without = json!({ "event_type": "tested", "session_id": "session-1" });
    server.client.batch(&[without.clone(), without.clone()]).expect(202);
    server.client.event(&without).expect(202);
    let events = workspace.settled(&server);
    assert_eq!(events.len(), 3, "without ids, equal events are not the same event");
    for event in events {
        let id = event["event_id"].as_str().expect("an id");
        assert_eq!(uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(), 7);
    }
}

fn missing_timestamp_is_the_time_of_receipt(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let before = std::time::SystemTime::now();
    server.client.event(&event("1")).expect(202);
    let after = std::time::SystemTime::now();
    let events = workspace.settled(&server);
    assert_eq!(events[0]["timestamp"], events[0]["received_at"]);
    let text = events[0]["timestamp"].as_str().expect("text");
    let received: jiff::Timestamp = text.parse().expect("RFC 3339");
    let micros = |time| jiff::Timestamp::try_from(time).expect("now").as_microsecond();
    assert!((micros(before)..=micros(after)).contains(&received.as_microsecond()), "{text}");
}

fn byte_order_marks_and_carriage_returns_are_ignored(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.post("/events", JSON, &[], format!("\u{feff}{}\r\n", event("1"))).expect(202);
    let array = format!("\u{feff}[\r\n{},\r\n{}\r\n]\r\n", event("2"), event("3"));
    server.client.post("/events/batch", JSON, &[], array).expect(202);
    let lines = format!("\u{feff}{}\r\n{}\r\n", event("4"), event("5"));
    server.client.post("/events/batch", NDJSON, &[], lines).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4", "5"]);
}
