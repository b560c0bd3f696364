//! Limits on heads, time and memory: a request over a limit is rejected, and no other is affected.

use serde_json::Value;

use crate::errors::problem;
use crate::harness::client::{Connection, JSON};
use crate::harness::eventually::when;
use crate::harness::http2::Http2;
use crate::harness::{Response, Server, Workspace, assert_exactly, event, eventually};

fn hits(server: &Server, limit: &str) -> u64 {
    server.client.metric(&format!("hooks_limit_hits_total{{limit=\"{limit}\"}}"))
}

/// Returns the given number of headers.
fn headers(count: usize) -> Vec<(String, String)> {
    (0..count).map(|number| (format!("x-{number}"), "1".to_owned())).collect()
}

/// Sends an event with additional headers by HTTP/1.1; returns the response as text.
fn http1(server: &Server, headers: &[(String, String)]) -> String {
    let body = event("1").to_string();
    let mut head = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\n\
         connection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let mut connection = server.client.connect();
    connection.write(head + "\r\n" + &body);
    connection.read_to_end()
}

fn http2(server: &Server, headers: &[(String, String)]) -> Response {
    let mut all = vec![("content-type", JSON)];
    all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut connection = Http2::plain(server.client.address);
    connection.send("POST", "/events", &all, event("2").to_string()).expect("a response")
}

#[test]
fn heads_over_a_limit_are_431_in_both_protocols() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("MAX_HEADER_BYTES", "8KiB").ready().start();
    let long = |bytes: usize| vec![("x-long".to_owned(), "x".repeat(bytes))];
    for (headers, named) in [(headers(65), "MAX_HEADERS"), (long(9 << 10), "MAX_HEADER_BYTES")] {
        let response = http1(&server, &headers);
        assert!(response.starts_with("HTTP/1.1 431 ") && response.contains(named), "{response}");
        let problem = problem(&http2(&server, &headers), 431, named);
        assert!(problem["detail"].to_string().contains(named), "{problem}");
        assert_eq!(hits(&server, named), 2);
    }
    // Far above the limits, hyper responds itself, with a status only.
    let response = http1(&server, &headers(500));
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    http2(&server, &long(20 << 10)).expect(431);
    let target = format!("/events?{}", "x".repeat(9 << 10));
    let response = server.client.post(&target, JSON, &[], event("3").to_string());
    problem(&response, 431, "target");
    assert!(http1(&server, &headers(60)).starts_with("HTTP/1.1 202 "));
    http2(&server, &headers(60)).expect(202);
    assert_exactly(&workspace.events(), ["1", "2"]);
}

#[test]
fn max_headers_can_be_raised() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("MAX_HEADERS", "300").ready().start();
    assert!(http1(&server, &headers(290)).starts_with("HTTP/1.1 202 "));
    http2(&server, &headers(290)).expect(202);
    assert!(http1(&server, &headers(310)).contains("(MAX_HEADERS)"));
}

/// Sends an event on a connection and leaves it open.
#[track_caller]
fn send(connection: &mut Connection, id: &str) {
    let body = event(id).to_string();
    let length = body.len();
    connection.write(format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    let response = connection.read_until("\"}");
    assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
}

#[test]
fn stalled_head_is_closed_and_idle_connections_stay_open() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("HEADER_TIMEOUT", "1s").ready().start();
    let mut unused = server.client.connect();
    let mut used = server.client.connect();
    send(&mut used, "1");
    let mut used_http2 = Http2::plain(server.client.address);
    used_http2.event(&event("2")).expect(202);

    let mut first = server.client.connect();
    first.write("POST /events HT");
    let mut second = server.client.connect();
    send(&mut second, "3");
    second.write("POST /events HTTP/1.1\r\nhost: x\r\n");
    let mut preface = server.client.connect();
    preface.write("PRI * HTTP/2.0\r\n");
    assert_eq!(first.read_to_end(), "");
    assert_eq!(second.read_to_end(), "");
    // Hyper responds to a partial preface with 400.
    preface.read_to_end();
    assert_eq!(hits(&server, "HEADER_TIMEOUT"), 3);

    send(&mut unused, "4");
    send(&mut used, "5");
    used_http2.event(&event("6")).expect(202);
    assert_exactly(&workspace.events(), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn idle_connections_are_closed_after_idle_timeout() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("IDLE_TIMEOUT", "1s").ready().start();
    let mut unused = server.client.connect();
    let mut used = server.client.connect();
    send(&mut used, "1");
    let mut http2 = server.client.connect();
    http2.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(unused.read_to_end(), "");
    assert_eq!(used.read_to_end(), "");
    http2.read_to_end();
    assert_eq!(hits(&server, "HEADER_TIMEOUT"), 0);
}

#[test]
fn connection_with_a_long_request_is_not_idle() {
    let workspace = Workspace::postgres_away();
    let server = workspace.server().set("IDLE_TIMEOUT", "1s").ready().start();
    let client = server.client.clone();
    let waiting = std::thread::spawn(move || {
        client.post("/events?ack=stored", JSON, &[], event("1").to_string())
    });
    // Waits for longer than the limit: an idle connection is closed meanwhile.
    assert_eq!(server.client.connect().read_to_end(), "");
    workspace.database().create();
    waiting.join().expect("a response").expect(202);
}

#[test]
fn stalled_body_is_408() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("BODY_TIMEOUT", "1s").ready().start();
    let mut slow = server.client.connect();
    slow.write(format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: 100\r\n\r\n{{"
    ));
    let response = slow.read_to_end();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    let (_, body) = response.split_once("\r\n\r\n").expect("a body");
    let problem: Value = serde_json::from_str(body).expect("JSON");
    assert!(problem["detail"].to_string().contains("1 s (BODY_TIMEOUT)"), "{problem}");
    assert_eq!(hits(&server, "BODY_TIMEOUT"), 1);
    server.client.event(&event("1")).expect(202);
}

#[test]
fn http2_connection_ends_after_a_stalled_body() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("BODY_TIMEOUT", "1s").ready().start();
    let mut connection = Http2::plain(server.client.address);
    connection.event(&event("1")).expect(202);
    connection.event_without_body().expect(408);
    eventually(
        "the connection is closed",
        || {
            if connection.is_closed() { Ok(()) } else { Err(()) }
        },
    );
}

#[test]
fn client_that_does_not_read_responses_is_disconnected() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("BODY_TIMEOUT", "1s").ready().start();
    let mut not_reading = server.client.connect();
    not_reading.flood("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    eventually("it is disconnected", || match hits(&server, "BODY_TIMEOUT") {
        0 => Err(0),
        hits => Ok(hits),
    });
    server.client.event(&event("1")).expect(202);
}

#[test]
fn requests_in_flight_are_limited_even_without_bodies() {
    let workspace = Workspace::jsonl();
    let server = workspace
        .server()
        .set("MAX_BODY_BYTES", "1KiB")
        .set("MAX_INFLIGHT_BYTES", "1MiB")
        .ready()
        .start();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: 1024\r\n\
         expect: 100-continue\r\n\r\n"
    );
    let begin = |_| {
        let mut connection = server.client.connect();
        connection.write(&head);
        connection.read_until("100 Continue\r\n\r\n");
        connection
    };
    let waiting: Vec<_> = (0..128).map(begin).collect();
    let response = server.client.event(&event("1"));
    let problem = problem(&response, 503, "in flight");
    assert!(problem["detail"].to_string().contains("MAX_INFLIGHT_BYTES"), "{problem}");
    assert!(!response.header("retry-after").is_empty(), "{response:?}");
    assert_eq!(hits(&server, "MAX_INFLIGHT_BYTES"), 1);
    server.client.get("/health", &[]).expect(200);
    drop(waiting);
    eventually("memory is available again", || {
        when(server.client.event(&event("2")), |response| response.status == 202)
    });
}
