//! Rejected requests: their status and the text of their problem document.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Response, Server, Workspace, assert_exactly, event};

/// Asserts that the response is a problem document with this status, and returns it.
#[track_caller]
pub(crate) fn problem(response: &Response, status: u16, case: &str) -> Value {
    assert_eq!(response.status, status, "{case}: {response:?}");
    assert_eq!(response.header("content-type"), "application/problem+json", "{case}");
    let problem = response.json();
    assert_eq!(problem["status"], status, "{case}: {problem}");
    for member in ["type", "title", "detail"] {
        let text = problem[member].as_str();
        assert!(text.is_some_and(|text| !text.is_empty()), "{case}: {member} in {problem}");
    }
    problem
}

/// Asserts that the server accepts events after rejected requests.
#[track_caller]
fn still_works(workspace: &Workspace, server: &Server) {
    server.client.event(&event("good")).expect(202);
    assert_exactly(&workspace.events(), ["good"]);
}

#[test]
fn malformed_bodies_are_400() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let (one, many) = ("/events", "/events/batch");
    let good = event("1").to_string();
    let cases: [(&str, &str, Vec<u8>, &str); 15] = [
        (one, JSON, b"".to_vec(), "EOF"),
        (one, JSON, b"{".to_vec(), "line 1"),
        (one, JSON, b"null".to_vec(), "line 1"),
        (one, JSON, b"\"text\"".to_vec(), "line 1"),
        (one, JSON, format!("{good} {good}").into_bytes(), "trailing"),
        (one, JSON, good.replace('"', "'").into_bytes(), "line 1"),
        (one, JSON, format!("[{good}]").into_bytes(), "/events/batch"),
        (one, JSON, b"{\"event_type\":\"\xff\"}".to_vec(), "UTF-8"),
        (many, JSON, b"".to_vec(), "EOF"),
        (many, JSON, b"[{]".to_vec(), "line 1"),
        (many, JSON, format!("[{good},]").into_bytes(), "line 1"),
        (many, JSON, good.clone().into_bytes(), "array"),
        (many, JSON, b"[\"\xff\"]".to_vec(), "UTF-8"),
        (many, NDJSON, b"no json".to_vec(), "line 1"),
        (many, NDJSON, b"\xff\n".to_vec(), "UTF-8"),
    ];
    for (path, content_type, body, detail) in cases {
        let case = format!("{path} {:?}", String::from_utf8_lossy(&body));
        let response = server.client.post(path, content_type, &[], body);
        let problem = problem(&response, 400, &case);
        assert!(problem["detail"].to_string().contains(detail), "{case}: {problem}");
    }
    still_works(&workspace, &server);
}

#[test]
fn an_unknown_ack_is_400_and_lists_allowed_values() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let response = server.client.post("/events?ack=maybe", JSON, &[], event("1").to_string());
    let detail = problem(&response, 400, "ack")["detail"].to_string();
    assert!(detail.contains("journal") && detail.contains("stored"), "{detail}");
    still_works(&workspace, &server);
}

#[test]
fn unsupported_content_types_and_encodings_are_415() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let body = event("1").to_string();
    let with_headers = |path: &str, headers: &[(&str, &str)]| {
        server.client.send("POST", path, headers, body.as_bytes()).expect("an response")
    };
    problem(&with_headers("/events", &[]), 415, "no content type");
    problem(&with_headers("/events/batch", &[]), 415, "no content type");
    let wrong = [
        ("/events", "text/plain"),
        ("/events", "application/x-www-form-urlencoded"),
        ("/events", "multipart/form-data; boundary=x"),
        ("/events", "application/jsonx"),
        ("/events", NDJSON),
        ("/events", "application/cloudevents-batch+json"),
        ("/events/batch", "text/plain;charset=UTF-8"),
        ("/events/batch", "application/cloudevents+json"),
    ];
    for (path, content_type) in wrong {
        let response = with_headers(path, &[("content-type", content_type)]);
        let problem = problem(&response, 415, content_type);
        assert!(problem["detail"].to_string().contains(JSON), "{content_type}: {problem}");
    }
    for encoding in ["br", "compress", "gzip, gzip", "identity, zstd"] {
        let headers = [("content-type", JSON), ("content-encoding", encoding)];
        let problem = problem(&with_headers("/events", &headers), 415, encoding);
        assert!(problem["detail"].to_string().contains("gzip"), "{encoding}: {problem}");
    }
    still_works(&workspace, &server);
}

#[test]
fn bodies_over_the_limit_are_413_also_after_decompression() {
    let workspace = Workspace::jsonl();
    // Announced bodies that do not arrive are not waited for.
    let server =
        workspace.server().set("MAX_BODY_BYTES", "10KiB").set("BODY_TIMEOUT", "24h").start();
    let mut large = event("1");
    large["data"] = json!({ "text": "x".repeat(11 << 10) });
    let large = large.to_string();
    let gzip = |body: &[u8]| {
        let mut out = Vec::new();
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::best());
        encoder.write_all(body).expect("in memory");
        encoder.finish().expect("in memory");
        out
    };
    let bomb = gzip(&vec![b' '; 4 << 20]);
    assert!(gzip(large.as_bytes()).len() < 10 << 10);
    let encoded = |encoding| [("content-encoding", encoding)];
    let bodies = [
        ("gzip", server.client.post("/events", JSON, &encoded("gzip"), gzip(large.as_bytes()))),
        ("zstd", {
            let body = zstd::encode_all(large.as_bytes(), 3).expect("in memory");
            server.client.post("/events", JSON, &encoded("zstd"), body)
        }),
        ("bomb", server.client.post("/events", JSON, &encoded("gzip"), &bomb)),
    ];
    for (case, response) in &bodies {
        let problem = problem(response, 413, case);
        assert!(problem["detail"].to_string().contains("MAX_BODY_BYTES"), "{case}: {problem}");
    }
    let head = "host: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    let requests = [
        ("announced", format!("POST /events HTTP/1.1\r\n{head}content-length: 10241\r\n\r\n")),
        ("batch", format!("POST /events/batch HTTP/1.1\r\n{head}content-length: 10241\r\n\r\n")),
        ("hook", format!("POST /hooks/codex HTTP/1.1\r\n{head}content-length: 10241\r\n\r\n{{")),
        (
            "expected",
            format!(
                "POST /events HTTP/1.1\r\n{head}expect: 100-continue\r\ncontent-length: 10241\r\n\r\n"
            ),
        ),
        (
            "chunked",
            format!("POST /events HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n{chunk}"),
        ),
    ];
    let sent = requests.map(|(case, request)| {
        let mut connection = server.client.connect();
        connection.write(request);
        (case, connection)
    });
    for (case, mut connection) in sent {
        let status = connection.read_until("\r\n");
        assert_eq!(status, "HTTP/1.1 413 Payload Too Large\r\n", "{case}");
        let head = connection.read_until("\r\n\r\n");
        assert!(head.contains("application/problem+json"), "{case}: {head}");
        connection.read_until("(MAX_BODY_BYTES)\"}");
    }
    still_works(&workspace, &server);
}

#[test]
fn batches_over_the_event_limit_are_413() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("MAX_BATCH_EVENTS", "3").start();
    let four = [event("1"), event("2"), event("3"), event("4")];
    let lines = four.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let mut with_invalid = four.to_vec();
    with_invalid[0] = json!({});
    for (case, response) in [
        ("array", server.client.batch(&four)),
        ("array with an invalid event", server.client.batch(&with_invalid)),
        ("lines", server.client.post("/events/batch", NDJSON, &[], lines)),
    ] {
        let problem = problem(&response, 413, case);
        assert!(problem["detail"].to_string().contains("MAX_BATCH_EVENTS"), "{case}: {problem}");
    }
    assert_exactly(&workspace.events(), [""; 0]);
    server.client.batch(&four[..3]).expect(202);
}

#[test]
fn unknown_routes_are_404_and_other_methods_405_with_allow() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let send =
        |method: &str, path: &str| server.client.send(method, path, &[], b"").expect("an response");
    for path in ["/event", "/events/", "/events/batch/1", "/healthz", "/metrics/x"] {
        problem(&send("GET", path), 404, path);
        problem(&server.client.post(path, JSON, &[], "{}"), 404, path);
    }
    for (method, path, allowed) in [
        ("PUT", "/events", "POST"),
        ("DELETE", "/events", "POST"),
        ("GET", "/events/batch", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/health/live", "GET"),
        ("DELETE", "/metrics", "GET"),
    ] {
        let response = send(method, path);
        problem(&response, 405, path);
        assert!(response.header("allow").contains(allowed), "{method} {path}: {response:?}");
    }
    still_works(&workspace, &server);
}
