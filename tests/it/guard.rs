//! What holds for every request, whatever its route.

use std::sync::atomic::{AtomicBool, Ordering};

use agentic_hooks_backend::event::line;
use agentic_hooks_backend::journal::{self, AppendError, Batch, Rotate, Rotation, SyncObserver};
use prometheus::IntCounter;

use crate::harness::client::JSON;
use crate::harness::http2::Http2;
use crate::harness::{Workspace, event as an_event};

#[test]
fn a_large_body_that_nobody_wants_does_not_cost_its_sender_the_answer() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let bytes = 8 << 20;
    for (line, status) in [
        ("POST /nowhere", 404),
        ("PUT /events", 405),
        ("POST /health", 405),
        ("POST /metrics", 405),
        ("POST /events?ack=maybe", 400),
    ] {
        let mut connection = server.client.connect();
        connection.write(format!(
            "{line} HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {bytes}\r\n\
             connection: close\r\n\r\n"
        ));
        connection.write(vec![b' '; bytes]);
        let answer = connection.read_to_end();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");

        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut http2 = Http2::plain(server.client.address);
        let headers = [("content-type", JSON)];
        let answer = http2.send(method, path, &headers, vec![b' '; bytes]).expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        http2.event(&an_event(line)).expect(202);
    }
}

#[test]
fn a_connection_goes_on_after_a_body_that_nobody_wanted() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let mut connection = server.client.connect();
    for _ in 0..3 {
        connection.write("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
        connection.write(vec![b' '; 100_000]);
        let answer = connection.read_until("\"}");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}

#[test]
fn answers_are_not_guessed_at_and_what_is_read_is_not_kept() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/nowhere", "/events"] {
        let answer = server.client.get(path, &[]);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    for answer in [
        server.client.event(&an_event("1")).expect(202),
        server.client.post("/events", JSON, &[], "{").expect(400),
    ] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
    }
}

#[test]
fn a_page_of_another_site_is_allowed_nothing() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let origin = ("origin", "https://example.com");
    for path in ["/events", "/events/batch", "/health", "/metrics", "/nowhere"] {
        for method in ["POST", "GET", "PUT"] {
            let headers = [
                origin,
                ("access-control-request-method", method),
                ("access-control-request-headers", "content-type, authorization"),
            ];
            let answer = server.client.send("OPTIONS", path, &headers, b"").expect("an answer");
            assert!(matches!(answer.status, 404 | 405), "{path}: {answer:?}");
            no_permission(&answer);
        }
    }
    no_permission(&server.client.get("/health", &[origin]));
    no_permission(&server.client.post("/events", JSON, &[origin], an_event("1").to_string()));
    // What a page may send without asking first is not taken.
    let form = server.client.post("/events", "text/plain", &[origin], an_event("2").to_string());
    no_permission(&form.expect(415));
    assert_eq!(workspace.events().len(), 1);
}

#[track_caller]
fn no_permission(answer: &crate::harness::Response) {
    let allows = |name: &str| name.starts_with("access-control-");
    assert!(!answer.headers.keys().any(|name| allows(name.as_str())), "{answer:?}");
}

/// What the server does with the end of its writer is in `serve::Running::failed`.
#[tokio::test]
async fn a_panic_in_the_writer_ends_it_and_leaves_nobody_waiting() {
    static FAILING: AtomicBool = AtomicBool::new(false);
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("events.jsonl");
    let observe = SyncObserver(Box::new(|_, _| {
        assert!(!FAILING.load(Ordering::SeqCst), "a bug");
    }));
    let deleted = IntCounter::new("deleted", "Not looked at.").expect("a counter");
    let rotation = Rotation::new(Rotate::default(), None, deleted);
    let opened = journal::open_lines(&file, rotation).expect("a journal");
    let framing = opened.framing();
    let (journal, ended) = opened.start(line::line_key, observe).expect("a thread");
    let batch = |key: u128| {
        let mut batch = Batch::new(framing, 0);
        let pushed = batch.push(|line| {
            line.extend_from_slice(b"{}");
            Ok::<_, ()>(key)
        });
        pushed.expect("it does not fail");
        batch
    };
    journal.append(batch(1), ()).await.expect("it works");
    FAILING.store(true, Ordering::SeqCst);
    let [first, second] = [2, 3].map(|key| journal.append(batch(key), ()));
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err(), AppendError::Failed);
    assert_eq!(second.unwrap_err(), AppendError::Failed);
    assert!(ended.await.is_err(), "it says nothing any more");
    assert_eq!(journal.append(batch(4), ()).await.unwrap_err(), AppendError::Failed);
}
