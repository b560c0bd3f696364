//! `GET /health` and `GET /metrics`.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::client::JSON;
use crate::harness::{Storage, Workspace, event};

both!(
    working_server_is_healthy,
    metrics_are_prometheus_text_with_documented_names,
    metrics_are_json_if_accepted_by_the_client,
);

fn working_server_is_healthy(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    workspace.settled(&server);
    let response = server.client.get("/health", &[]).expect(200);
    assert_eq!(response.header("content-type"), JSON);
    let health = response.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    match storage {
        Storage::Jsonl => assert_eq!(health["storage"], "jsonl"),
        Storage::Postgres => {
            assert_eq!(health["storage"], "postgres");
            assert_eq!(health["journal"]["bytes_max"], 10_u64 << 30);
            assert!(health["journal"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
        }
    }
    server.client.get("/health/live", &[]).expect(200);
    server.client.get("/health/ready", &[]).expect(200);
}

/// Returns the names of the samples in a Prometheus text; panics if the text is malformed.
fn names(text: &str) -> BTreeSet<&str> {
    let mut types = BTreeSet::new();
    let mut names = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            match (words.next(), words.next()) {
                (Some("TYPE"), Some(name)) => assert!(types.insert(name), "{line}"),
                (Some("HELP"), Some(_)) => assert!(words.next().is_some(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        assert!(labels.ends_with('}'), "{line}");
        let declared = ["", "_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix).is_some_and(|name| types.contains(name)));
        assert!(declared, "{line}");
        names.insert(name);
    }
    names
}

fn metrics_are_prometheus_text_with_documented_names(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut odd = event("label-event-id");
    odd["session_id"] = json!("label-session-id");
    odd["event_type"] = json!("label-event-type");
    server.client.batch(&[odd, json!({})]).expect(202);
    server.client.event(&json!({})).expect(422);
    server.client.get("/label-path", &[]).expect(404);
    workspace.settled(&server);

    let response = server.client.get("/metrics", &[]).expect(200);
    assert!(
        response.header("content-type").starts_with("text/plain; version=0.0.4"),
        "{response:?}"
    );
    let found = names(&response.text);
    for name in [
        "hooks_events_received_total",
        "hooks_events_stored_total",
        "hooks_storage_errors_total",
        "hooks_uptime_seconds",
        "hooks_events_rejected_total",
        "hooks_ack_seconds_bucket",
        "hooks_http_requests_total",
        "hooks_http_request_seconds_bucket",
        "hooks_batch_events_bucket",
        "hooks_journal_sync_seconds_bucket",
        "hooks_build_info",
    ] {
        assert!(found.contains(name), "{name} is missing in {}", response.text);
    }
    assert!(
        !response.text.contains("label-"),
        "a label has a value from a request: {}",
        response.text
    );
    let metric = |sample: &str| server.client.metric(sample);
    assert_eq!(metric("hooks_events_received_total"), 3);
    assert_eq!(metric("hooks_events_stored_total"), 1);
    assert_eq!(metric("hooks_storage_errors_total"), 0);
    assert_eq!(metric("hooks_events_rejected_total{reason=\"invalid\"}"), 2);
    let requests = "hooks_http_requests_total{route=\"/events/batch\",status=\"202\"}";
    assert_eq!(metric(requests), 1);

    let other = server.client.get("/metrics/prometheus", &[("accept", JSON)]).expect(200);
    assert!(names(&other.text).is_superset(&found));
}

fn metrics_are_json_if_accepted_by_the_client(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.batch(&[event("1"), event("2"), event("1")]).expect(202);
    workspace.settled(&server);
    let response = server.client.get("/metrics", &[("accept", JSON)]).expect(200);
    assert_eq!(response.header("content-type"), JSON);
    let metrics = response.json();
    assert_eq!(metrics["events_received_total"], 3);
    assert_eq!(metrics["events_stored_total"], 2);
    assert_eq!(metrics["storage_errors_total"], 0);
    assert!(metrics["uptime_seconds"].is_number());
}
