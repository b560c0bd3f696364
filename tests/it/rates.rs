//! `RATE_LIMIT_EVENTS` and `RATE_LIMIT_BYTES`: an average rate for each sender.

use crate::errors::problem;
use crate::harness::client::{Client, JSON};
use crate::harness::eventually::when;
use crate::harness::{Response, Storage, Workspace, event, eventually};

both!(sender_over_the_event_rate_gets_429_with_retry_after);

/// Sends a batch with an API key.
fn send(client: &Client, key: &str, first: usize, count: usize) -> Response {
    let events: Vec<_> = (first..first + count).map(|id| event(&id.to_string())).collect();
    let body = serde_json::Value::from(events).to_string();
    client.post("/events/batch", JSON, &[("x-api-key", key)], body)
}

fn sender_over_the_event_rate_gets_429_with_retry_after(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace
        .server()
        .set("RATE_LIMIT_EVENTS", "1")
        .set("API_KEYS", "a:key-a:ingest,b:key-b:ingest")
        .ready()
        .start();
    // A batch larger than one second's worth is accepted and leaves a debt.
    send(&server.client, "key-a", 0, 1000).expect(202);
    for _ in 0..2 {
        let response = send(&server.client, "key-a", 1000, 1);
        let problem = problem(&response, 429, "events");
        assert!(problem["detail"].to_string().contains("1 events per second (RATE_LIMIT_EVENTS)"));
        let seconds: u64 = response.header("retry-after").parse().expect("seconds");
        assert!((900..=999).contains(&seconds), "{response:?}");
    }
    let hits = "hooks_limit_hits_total{limit=\"RATE_LIMIT_EVENTS\"}";
    assert_eq!(server.client.metric(hits), 2);
    // Other senders and reads are not limited.
    send(&server.client, "key-b", 2000, 1).expect(202);
    server.client.get("/health", &[]).expect(200);
    assert_eq!(workspace.settled(&server).len(), 1001);
}

#[test]
fn bytes_are_counted_decompressed_and_keyless_senders_by_address() {
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
fn debt_is_repaid_over_time() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("RATE_LIMIT_EVENTS", "10").ready().start();
    send(&server.client, "", 0, 30).expect(202);
    eventually("the debt is repaid", || {
        when(send(&server.client, "", 200, 1), |response| response.status == 202)
    });
    assert_eq!(workspace.events().len(), 31);
}

#[test]
fn undecodable_bodies_count_towards_the_byte_rate() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("RATE_LIMIT_BYTES", "1KiB").ready().start();
    server.client.post("/events", JSON, &[], "x".repeat(1 << 20)).expect(400);
    server.client.event(&event("1")).expect(429);
}
