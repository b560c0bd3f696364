//! CloudEvents 1.0 in structured, batched and binary mode.

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::{Workspace, assert_exactly, ids, only};

pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

fn cloudevent(id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/agents/claude",
        "type": "com.example.tool.finished",
        "time": "2026-11-23T10:00:00.5+01:00",
        "sessionid": "session-1",
        "datacontenttype": "application/json",
        "data": { "tool_name": "Bash" },
    })
}

#[test]
fn structured_mode_maps_the_attributes() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut sent = cloudevent("1");
    sent["subject"] = json!("subject-1");
    sent["workflowid"] = json!("workflow-1");
    sent["phaseid"] = json!("phase-1");
    sent["milestoneid"] = json!("milestone-1");
    sent["traceparent"] = json!("00-abc");
    let content_type = format!("{STRUCTURED}; charset=UTF-8");
    server.client.post("/events", &content_type, &[], sent.to_string()).expect(202);

    let stored = &workspace.events()[0];
    assert_eq!(stored["event_id"], "1");
    assert_eq!(stored["event_type"], "com.example.tool.finished");
    assert_eq!(stored["session_id"], "session-1");
    assert_eq!(stored["workflow_id"], "workflow-1");
    assert_eq!(stored["phase_id"], "phase-1");
    assert_eq!(stored["milestone_id"], "milestone-1");
    assert_eq!(stored["timestamp"], "2026-11-23T09:00:00.500000Z");
    assert_eq!(stored["data"], json!({ "tool_name": "Bash" }));
    assert_eq!(stored["tool_name"], "Bash");
    assert_eq!(
        stored["extra"],
        json!({
            "specversion": "1.0", "source": "/agents/claude", "subject": "subject-1",
            "datacontenttype": "application/json", "traceparent": "00-abc",
        })
    );
}

#[test]
fn subject_is_the_session_without_sessionid() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut sent = cloudevent("1");
    sent.as_object_mut().expect("an object").remove("sessionid");
    sent["subject"] = json!("session-2");
    server.client.post("/events", STRUCTURED, &[], sent.to_string()).expect(202);
    let stored = &workspace.events()[0];
    assert_eq!(stored["session_id"], "session-2");
    assert_eq!(stored["extra"]["subject"], Value::Null);
}

#[test]
fn batch_is_an_array_of_cloudevents() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let batch = Value::from(vec![cloudevent("1"), cloudevent("2")]).to_string();
    let response = server.client.post("/events/batch", BATCHED, &[], &batch).expect(202);
    assert_eq!(response.json()["accepted"], 2);
    server.client.post("/events/batch", BATCHED, &[], batch).expect(202);
    let empty = server.client.post("/events/batch", BATCHED, &[], "[]").expect(202);
    assert_eq!(empty.json(), json!({ "accepted": 0, "message": "No events to store" }));
    assert_exactly(&workspace.events(), ["1", "2"]);
}

#[test]
fn binary_mode_reads_attributes_from_percent_encoded_headers() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "100%25"),
        ("ce-type", "finished%20%E2%82%AC"),
        ("CE-Source", "/agents"),
        ("ce-time", "2026-11-23T09:00:00Z"),
        ("ce-sessionid", "Sitzung-%C3%A4"),
    ];
    let body = "{ \"n\": 1.0 }";
    server.client.post("/events", JSON, &headers, body).expect(202);
    server.client.post("/events", JSON, &headers, body).expect(202);
    let events = workspace.events();
    let stored = only(&events, "100%");
    assert_eq!(stored["event_type"], "finished €");
    assert_eq!(stored["session_id"], "Sitzung-ä");
    assert_eq!(stored["timestamp"], "2026-11-23T09:00:00.000000Z");
    assert_eq!(stored["data"], json!({ "n": 1.0 }));
    assert_eq!(stored["extra"], json!({ "specversion": "1.0", "source": "/agents" }));
}

#[test]
fn non_object_data_is_kept_under_extra() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut sent = cloudevent("1");
    sent["data"] = json!([1, 2]);
    server.client.post("/events", STRUCTURED, &[], sent.to_string()).expect(202);
    let stored = &workspace.events()[0];
    assert_eq!(stored["data"], json!({}));
    assert_eq!(stored["extra"]["data"], json!([1, 2]));
}

#[test]
fn attributes_required_by_cloudevents_are_required() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    for (attribute, field) in [
        ("specversion", "specversion"),
        ("id", "id"),
        ("type", "event_type"),
        ("sessionid", "session_id"),
    ] {
        let mut sent = cloudevent("1");
        sent.as_object_mut().expect("an object").remove(attribute);
        let response = server.client.post("/events", STRUCTURED, &[], sent.to_string());
        assert_eq!(response.expect(422).json()["rejected"][0]["field"], field);
    }
    let mut old = cloudevent("2");
    old["specversion"] = json!("0.3");
    let batch = Value::from(vec![cloudevent("1"), old.clone()]).to_string();
    let response = server.client.post("/events/batch", BATCHED, &[], batch).expect(202).json();
    assert_eq!(response["accepted"], 1);
    assert_eq!(response["rejected"][0]["index"], 1);
    assert_eq!(response["rejected"][0]["field"], "specversion");
    assert_eq!(ids(&workspace.events()), ["1"]);
    assert_eq!(workspace.rejected()[0]["event"], old);
}
