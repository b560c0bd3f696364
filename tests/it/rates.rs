//! `RATE_LIMIT_EVENTS` and `RATE_LIMIT_BYTES`: an average for each sender, and nobody else's business.

use crate::errors::problem;
use crate::harness::client::{Client, JSON};
use crate::harness::eventually::when;
use crate::harness::{Response, Storage, Workspace, event, eventually};

both!(who_sends_too_many_events_is_told_when_to_come_again);

/// Sends a batch with a key.
fn send(client: &Client, key: &str, first: usize, count: usize) -> Response {
    let events: Vec<_> = (first..first + count).map(|id| event(&id.to_string())).collect();
    let body = serde_json::Value::from(events).to_string();
    client.post("/events/batch", JSON, &[("x-api-key", key)], body)
}

fn who_sends_too_many_events_is_told_when_to_come_again(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace
        .server()
        .set("RATE_LIMIT_EVENTS", "1")
        .set("API_KEYS", "a:key-a:ingest,b:key-b:ingest")
        .ready()
        .start();
    // More than a second's worth gets through, and is paid for after.
    send(&server.client, "key-a", 0, 1000).expect(202);
    for _ in 0..2 {
        let answer = send(&server.client, "key-a", 1000, 1);
        let problem = problem(&answer, 429, "events");
        assert!(problem["detail"].to_string().contains("1 events per second (RATE_LIMIT_EVENTS)"));
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((900..=999).contains(&seconds), "{answer:?}");
    }
    let hits = "hooks_limit_hits_total{limit=\"RATE_LIMIT_EVENTS\"}";
    assert_eq!(server.client.metric(hits), 2);
    // Neither the other sender nor who only looks is touched.
    send(&server.client, "key-b", 2000, 1).expect(202);
    server.client.get("/health", &[]).expect(200);
    assert_eq!(workspace.settled(&server).len(), 1001);
}

#[test]
fn bytes_count_as_decompressed_and_senders_without_keys_by_address() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("RATE_LIMIT_BYTES", "1KiB").ready().start();
    let mut large = event("1");
    large["data"] = serde_json::json!({ "text": "x".repeat(1 << 20) });
    let body = zstd::encode_all(large.to_string().as_bytes(), 3).expect("in memory");
    assert!(body.len() < 1024);
    server.client.post("/events", JSON, &[("content-encoding", "zstd")], body).expect(202);
    let problem = problem(&server.client.event(&event("2")), 429, "bytes");
    assert!(problem["detail"].to_string().contains("RATE_LIMIT_BYTES"), "{problem}");
    let mut other = server.client.connect_from([127, 0, 0, 2]);
    let body = event("3").to_string();
    other.write(format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    other.read_until("HTTP/1.1 202 Accepted");
}

#[test]
fn a_debt_is_paid_with_time() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("RATE_LIMIT_EVENTS", "10").ready().start();
    send(&server.client, "", 0, 30).expect(202);
    eventually("there is something left again", || {
        when(send(&server.client, "", 200, 1), |answer| answer.status == 202)
    });
    assert_eq!(workspace.events().len(), 31);
}

#[test]
fn what_cannot_be_decoded_costs_its_bytes() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("RATE_LIMIT_BYTES", "1KiB").ready().start();
    server.client.post("/events", JSON, &[], "x".repeat(1 << 20)).expect(400);
    server.client.event(&event("1")).expect(429);
}
