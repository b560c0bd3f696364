//! Events that violate the wire contract: rejected by field, without the rest of their batch.

use serde_json::{Value, json};

use crate::errors::problem;
use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Storage, Workspace, assert_exactly, event, only};

/// Returns an object with the given levels of nesting.
fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

/// Returns invalid events, each with its only invalid field.
fn invalid() -> Vec<(String, String)> {
    let with = |field: &str, value: Value| {
        let mut event = event("invalid");
        event[field] = value;
        (field.to_owned(), event.to_string())
    };
    let without = |field: &str| {
        let mut event = event("invalid");
        event.as_object_mut().expect("an object").remove(field);
        (field.to_owned(), event.to_string())
    };
    let mut cases = vec![without("event_type"), without("session_id")];
    for field in ["event_type", "session_id"] {
        cases.push(with(field, Value::Null));
        cases.push(with(field, json!("")));
    }
    cases.push(with("event_id", json!("")));
    let texts = ["event_type", "session_id", "event_id", "workflow_id", "phase_id", "milestone_id"];
    for field in texts {
        for wrong in [json!(1), json!(true), json!(["a"]), json!({ "a": 1 })] {
            cases.push(with(field, wrong));
        }
        cases.push(with(field, json!("x".repeat(256))));
        cases.push(with(field, json!("ä".repeat(128))));
    }
    for wrong in [json!("text"), json!([1]), json!(1), json!(false)] {
        cases.push(with("data", wrong));
    }
    for wrong in [
        json!("yesterday"),
        json!(""),
        json!("2026-13-01T00:00:00Z"),
        json!("2026-02-30"),
        json!("10000-01-01T00:00:00Z"),
        json!("0001-01-01T00:00:00+01:00"),
        json!("1795424400"),
        json!(true),
        json!({}),
        json!(1e30),
        json!(i64::MAX),
    ] {
        cases.push(with("timestamp", wrong));
    }
    for field in ["data", "anything"] {
        let (_, event) = with(field, json!("here"));
        cases.push((field.to_owned(), event.replace("\"here\"", &nested(121))));
    }
    cases
}

#[test]
fn invalid_event_is_422_and_names_the_field() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    for (field, event) in invalid() {
        let response = server.client.post("/events", JSON, &[], &event);
        let problem = problem(&response, 422, &event);
        let rejected = problem["rejected"].as_array().expect("a list");
        assert_eq!(rejected.len(), 1, "{event}: {problem}");
        assert_eq!(rejected[0]["index"], 0, "{event}: {problem}");
        assert_eq!(rejected[0]["field"], field, "{event}: {problem}");
        assert_ne!(rejected[0]["error"], "", "{event}: {problem}");
        assert!(problem["detail"].to_string().contains(&field), "{event}: {problem}");
    }
    server.client.event(&event("good")).expect(202);
    assert_exactly(&workspace.events(), ["good"]);
}

both!(
    largest_allowed_values_are_accepted,
    nesting_up_to_max_depth_is_accepted,
    full_rejected_file_keeps_only_events_answered_with_202,
);

fn largest_allowed_values_are_accepted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut large = event(&"i".repeat(255));
    large["event_type"] = json!("ä".repeat(127));
    large["session_id"] = json!("s".repeat(255));
    large["workflow_id"] = json!("w".repeat(255));
    large["phase_id"] = json!("");
    large["data"] = json!("here");
    large["more"] = json!("here");
    let body = large.to_string().replace("\"here\"", &nested(120));
    server.client.post("/events", JSON, &[], body).expect(202);
    let events = workspace.settled(&server);
    let stored = only(&events, &"i".repeat(255));
    let nested: Value = serde_json::from_str(&nested(120)).expect("JSON");
    assert_eq!(stored["data"], nested);
    assert_eq!(stored["extra"]["more"], nested);
    for field in ["event_type", "session_id", "workflow_id", "phase_id"] {
        assert_eq!(stored[field], large[field], "{field}");
    }
}

#[test]
fn batch_of_only_invalid_events_is_422_and_lists_all() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let invalid = invalid();
    let events: Vec<&str> = invalid.iter().map(|(_, event)| event.as_str()).collect();
    let array = format!("[{}]", events.join(","));
    let lines = events.join("\n");
    for (content_type, body) in [(JSON, array), (NDJSON, lines)] {
        let response = server.client.post("/events/batch", content_type, &[], body);
        let problem = problem(&response, 422, content_type);
        let rejected = problem["rejected"].as_array().expect("a list");
        assert_eq!(rejected.len(), invalid.len());
        for (index, (field, event)) in invalid.iter().enumerate() {
            assert_eq!(rejected[index]["index"], index, "{event}");
            assert_eq!(rejected[index]["field"], *field, "{event}");
        }
    }
    assert_exactly(&workspace.events(), [""; 0]);
    let counted = "hooks_events_rejected_total{reason=\"invalid\"}";
    assert_eq!(server.client.metric(counted), 2 * invalid.len() as u64);
}

#[test]
fn valid_events_of_a_batch_are_accepted_and_invalid_ones_kept() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let wrong = json!({ "event_type": "t", "session_id": 5, "data": { "kept": "as sent" } });
    let batch = [event("1"), wrong.clone(), event("2"), json!(7), json!({}), event("3")];
    let response = server.client.batch(&batch).expect(202).json();
    assert_eq!(response["accepted"], 3);
    assert!(response["message"].is_string());
    let rejected = response["rejected"].as_array().expect("a list");
    let positions: Vec<(u64, &Value)> = rejected
        .iter()
        .map(|one| (one["index"].as_u64().expect("a number"), &one["field"]))
        .collect();
    assert_eq!(
        positions,
        [(1, &json!("session_id")), (3, &Value::Null), (4, &json!("event_type"))]
    );
    assert!(rejected.iter().all(|one| one["error"].is_string()), "{rejected:?}");
    assert_exactly(&workspace.events(), ["1", "2", "3"]);

    let kept = workspace.rejected();
    let originals: Vec<&Value> = kept.iter().map(|one| &one["event"]).collect();
    assert_eq!(originals, [&wrong, &json!(7), &json!({})]);
    for (kept, reported) in kept.iter().zip(rejected) {
        assert_eq!(kept["error"], reported["error"]);
        assert_eq!(kept["field"], reported["field"]);
        assert!(kept["rejected_at"].is_string(), "{kept}");
    }
}

#[test]
fn malformed_line_does_not_affect_other_lines() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let lines = format!("{}\n{{\"event_id\": \n\n[]\n{}\n", event("1"), event("2"));
    let response = server.client.post("/events/batch", NDJSON, &[], lines).expect(202).json();
    assert_eq!(response["accepted"], 2);
    assert_eq!(response["rejected"][0]["index"], 1);
    assert!(response["rejected"][0]["error"].to_string().contains("line 2"), "{response}");
    assert_eq!(response["rejected"][1]["index"], 2);
    assert_exactly(&workspace.events(), ["1", "2"]);
    assert_eq!(workspace.rejected()[0]["text"], "{\"event_id\": ");
}

fn nesting_up_to_max_depth_is_accepted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("MAX_DEPTH", "1000").start();
    let deep = |id: &str, levels: usize| {
        let text = event(id).to_string();
        let value = nested(levels);
        text.replacen('{', &format!("{{\"data\":{value},\"more\":{value},"), 1)
    };
    let lines = [deep("deep", 1000), deep("deeper", 1001)].join("\n");
    let response = server.client.post("/events/batch", NDJSON, &[], lines).expect(202);
    let error = &response.json()["rejected"][0]["error"];
    assert_eq!(error, "is nested deeper than 1000 levels (MAX_DEPTH)");
    match storage {
        // Compared as text: not every JSON parser reads 1000 levels.
        Storage::Jsonl => {
            let text = std::fs::read_to_string(workspace.file()).expect("the file");
            assert_eq!(text.matches(&nested(1000)).count(), 2);
        }
        Storage::Postgres => {
            crate::harness::workspace::forwarded(&server);
            let read = "SELECT replace(data::text, ' ', '') || replace(extra::text, ' ', '') FROM hook_events";
            let rows = workspace.database().query(read);
            assert_eq!(rows, [format!("{}{{\"more\":{}}}", nested(1000), nested(1000))]);
        }
    }
}

fn full_rejected_file_keeps_only_events_answered_with_202(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("REJECTED_MAX_BYTES", "1KiB").start();
    let batch = |id: &str| {
        let refused_by_database =
            event(id).to_string().replacen('{', "{\"data\":{\"n\":1e200000},", 1);
        let body = format!("[{},{refused_by_database},{{}}]", event(&format!("good-{id}")));
        server.client.post("/events/batch", JSON, &[], body).expect(202);
    };
    for id in 0..20 {
        batch(&id.to_string());
    }
    if storage == Storage::Postgres {
        crate::harness::workspace::forwarded(&server);
    }
    let text = std::fs::read_to_string(workspace.rejected_file()).expect("the file");
    let invalid = text.lines().filter(|line| line.contains("\"event\":{}")).count() as u64;
    assert!((1..20).contains(&invalid), "{invalid}");
    assert_eq!(server.client.metric("hooks_rejected_dropped_total"), 20 - invalid);
    assert_eq!(server.log().matches("REJECTED_MAX_BYTES").count(), 1, "{}", server.log());
    if storage == Storage::Postgres {
        assert_eq!(text.matches("1e200000").count(), 20);
    }
    // Copies are written again once the file has been moved away.
    std::fs::remove_file(workspace.rejected_file()).expect("the file is there");
    batch("20");
    let text = std::fs::read_to_string(workspace.rejected_file()).expect("a new file");
    assert!(text.contains("\"event\":{}"), "{text}");
}
