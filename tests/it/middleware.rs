//! Middleware: behavior that all endpoints have in common.

use std::sync::atomic::{AtomicBool, Ordering};

use agentic_hooks_backend::event::line;
use agentic_hooks_backend::journal::{self, AppendError, Batch, Rotate, Rotation, SyncObserver};
use prometheus::IntCounter;

use crate::harness::client::JSON;
use crate::harness::http2::Http2;
use crate::harness::{Workspace, event as an_event};

#[test]
fn sender_of_a_large_unread_body_gets_its_response() {
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
        let response = connection.read_to_end();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {response}");

        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut http2 = Http2::plain(server.client.address);
        let headers = [("content-type", JSON)];
        let response = http2.send(method, path, &headers, vec![b' '; bytes]).expect("a response");
        assert_eq!(response.status, status, "{response:?}");
        http2.event(&an_event(line)).expect(202);
    }
}

#[test]
fn connection_stays_usable_after_an_unread_body() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let mut connection = server.client.connect();
    for _ in 0..3 {
        connection.write("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
        connection.write(vec![b' '; 100_000]);
        let response = connection.read_until("\"}");
        assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    }
}

#[test]
fn responses_have_nosniff_and_reads_have_no_store() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/nowhere", "/events"] {
        let response = server.client.get(path, &[]);
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(response.header("cache-control"), "no-store", "{path}");
    }
    for response in [
        server.client.event(&an_event("1")).expect(202),
        server.client.post("/events", JSON, &[], "{").expect(400),
    ] {
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{response:?}");
    }
}

#[test]
fn cross_origin_requests_get_no_cors_permission() {
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
            let response = server.client.send("OPTIONS", path, &headers, b"").expect("a response");
            assert!(matches!(response.status, 204 | 404), "{path}: {response:?}");
            no_permission(&response);
        }
    }
    no_permission(&server.client.get("/health", &[origin]));
    let post = server.client.post("/events", JSON, &[origin], an_event("1").to_string());
    no_permission(&post.expect(403));
    // A simple request, which browsers send without a preflight, is rejected even without its origin.
    for (headers, status) in [(&[origin][..], 403), (&[], 415)] {
        let event = an_event("2").to_string();
        let form = server.client.post("/events", "text/plain", headers, event);
        no_permission(&form.expect(status));
    }
    assert!(workspace.events().is_empty());
}

#[track_caller]
fn no_permission(response: &crate::harness::Response) {
    let allows = |name: &str| name.starts_with("access-control-");
    assert!(!response.headers.keys().any(|name| allows(name.as_str())), "{response:?}");
}

/// The reaction of the server to the end of its writer is in `serve::Running::failed`.
#[tokio::test]
async fn panic_in_the_writer_fails_all_pending_appends() {
    static FAILING: AtomicBool = AtomicBool::new(false);
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("events.jsonl");
    let observe = SyncObserver(Box::new(|_, _| {
        assert!(!FAILING.load(Ordering::SeqCst), "a bug");
    }));
    let deleted = IntCounter::new("deleted", "Unused.").expect("a counter");
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
    assert!(ended.await.is_err(), "the writer ended without a result");
    assert_eq!(journal.append(batch(4), ()).await.unwrap_err(), AppendError::Failed);
}
