//! What operators and their machines are told.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::client::JSON;
use crate::harness::{Storage, Workspace, event};

both!(
    a_server_without_troubles_is_healthy,
    metrics_are_prometheus_text_with_the_documented_names,
    metrics_are_json_where_that_is_asked_for,
);

fn a_server_without_troubles_is_healthy(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    workspace.settled(&server);
    let answer = server.client.get("/health", &[]).expect(200);
    assert_eq!(answer.header("content-type"), JSON);
    let health = answer.json();
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

/// The names of a Prometheus text; panics if it is none.
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

fn metrics_are_prometheus_text_with_the_documented_names(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut odd = event("label-event-id");
    odd["session_id"] = json!("label-session-id");
    odd["event_type"] = json!("label-event-type");
    server.client.batch(&[odd, json!({})]).expect(202);
    server.client.event(&json!({})).expect(422);
    server.client.get("/label-path", &[]).expect(404);
    workspace.settled(&server);

    let answer = server.client.get("/metrics", &[]).expect(200);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let found = names(&answer.text);
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
        "hooks_journal_bytes",
        "hooks_journal_segments",
        "hooks_journal_sync_seconds_bucket",
        "hooks_forwarder_lag_events",
        "hooks_forwarder_lag_seconds",
        "hooks_database_up",
        "hooks_build_info",
    ] {
        assert!(found.contains(name), "{name} is missing in {}", answer.text);
    }
    assert!(!answer.text.contains("label-"), "a client's string: {}", answer.text);
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

fn metrics_are_json_where_that_is_asked_for(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.batch(&[event("1"), event("2"), event("1")]).expect(202);
    workspace.settled(&server);
    let answer = server.client.get("/metrics", &[("accept", JSON)]).expect(200);
    assert_eq!(answer.header("content-type"), JSON);
    let metrics = answer.json();
    assert_eq!(metrics["events_received_total"], 3);
    assert_eq!(metrics["events_stored_total"], 2);
    assert_eq!(metrics["storage_errors_total"], 0);
    assert!(metrics["uptime_seconds"].is_number());
}
