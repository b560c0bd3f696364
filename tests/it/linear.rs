//! Time in proportion to the size of the input, whatever the input is: four times as much takes about four times
//! the CPU time, not sixteen.

use crate::harness::workspace::forwarded;
use crate::harness::{Server, Storage, Workspace, eventually};

const JSON: &str = "application/json";

/// Size of the smaller input in bytes. `HOOKS_LINEAR_BYTES` sets another one.
fn bytes() -> usize {
    let text = std::env::var("HOOKS_LINEAR_BYTES");
    text.map_or(32 << 10, |text| text.parse().expect("a number of bytes"))
}

/// Four times the input may take this many times the CPU time. Linear work takes 4, quadratic work 16.
const FACTOR_MAX: f64 = 9.0;

/// Work that does not depend on the input, and the error of the measurement.
const FIXED_MS: f64 = 60.0;

/// Parts of JSON strings that were slow, or look as if they could be.
const STRINGS: [&str; 16] = [
    "plain text ",
    "x://u:p@h/ ",
    "://",
    "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ",
    "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B\\n",
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY-----\\n",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.",
    "Bearer ",
    "Basic dTpw ",
    "[redacted:a",
    "\\u0041\\u0070",
    "\\/",
    "\\\\\\\"",
    "\\ud800",
    "\\ud83d\\ude00é",
    "=1+1,\\r\\n\\u001b[31m\\u202e",
];

/// Values of `data` that are long in another way.
const VALUES: [&str; 5] =
    ["1", "{\"a\":1}", "\"\\u0041ghp_\"", "\"x://u:p@h\"", "-0.0000000000000001e-5"];

/// A JSON value with `part` repeated: in one string, as elements or as members.
fn inputs(bytes: usize) -> Vec<(String, String)> {
    let mut inputs: Vec<_> = STRINGS
        .iter()
        .map(|part| ((*part).to_owned(), format!("\"{}\"", part.repeat(bytes / part.len()))))
        .collect();
    for part in VALUES {
        let count = bytes / (part.len() + 8);
        inputs.push((format!("elements {part}"), format!("[{}]", vec![part; count].join(","))));
        let members: Vec<_> = (0..count).map(|number| format!("\"{number:04x}\":{part}")).collect();
        inputs.push((format!("members {part}"), format!("{{{}}}", members.join(","))));
    }
    inputs.push((
        "equal members".to_owned(),
        format!("{{{}}}", vec!["\"a\":1"; bytes / 6].join(",")),
    ));
    inputs.push(("digits".to_owned(), "7".repeat(bytes)));
    inputs.push(("spaces".to_owned(), format!("{}1", " ".repeat(bytes))));
    inputs
}

/// The ways in that take a JSON value: name, path, media type, and text before and after the value.
const WAYS_IN: [(&str, &str, &str, &str, &str); 9] = [
    ("event", "/events", JSON, r#"{"event_type":"t","session_id":"s","data":{"x":"#, "}}"),
    ("extra member", "/events", JSON, r#"{"event_type":"t","session_id":"s","more":"#, "}"),
    ("event_id", "/events", JSON, r#"{"event_type":"t","session_id":"s","event_id":"#, "}"),
    ("batch", "/events/batch", JSON, r#"[{"event_type":"t","session_id":"s","data":{"x":"#, "}}]"),
    (
        "lines",
        "/events/batch",
        "application/x-ndjson",
        r#"{"event_type":"t","session_id":"s","data":{"x":"#,
        "}}\n",
    ),
    (
        "CloudEvent",
        "/events",
        "application/cloudevents+json",
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"s","data":{"x":"#,
        "}}",
    ),
    (
        "hook",
        "/hooks/claude-code",
        JSON,
        r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_name":"Bash","tool_input":{"command":"#,
        "}}",
    ),
    (
        "log record",
        "/v1/logs",
        JSON,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"event.name","value":{"stringValue":"a"}},{"key":"k","value":{"stringValue":"#,
        "}}]}]}]}]}",
    ),
    (
        "span",
        "/v1/traces",
        JSON,
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a","attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"#,
        "}}]}]}]}]}",
    ),
];

fn server(workspace: &Workspace) -> Server {
    let server = workspace.server().set("REDACT", "standard").set("MAX_BODY_BYTES", "256MiB");
    server.set("MAX_INFLIGHT_BYTES", "2GiB").ready().start()
}

/// Runs `work` on inputs of one and of four times the size, and adds the case to `slow` if it took more than
/// proportionally longer.
fn compare(case: &str, slow: &mut Vec<String>, server: &Server, mut work: impl FnMut(usize)) {
    let mut spent = [0.0; 2];
    for (spent, times) in spent.iter_mut().zip([1, 4]) {
        let before = server.cpu_ms();
        work(times);
        *spent = server.cpu_ms() - before;
    }
    let [one, four] = spent;
    if four > FACTOR_MAX * one + FIXED_MS {
        slow.push(format!("{case}: {one:.0} ms, {four:.0} ms"));
    }
}

#[test]
fn every_way_in_takes_linear_time() {
    let workspace = Workspace::jsonl();
    let server = server(&workspace);
    let mut slow = Vec::new();
    let sizes = [inputs(bytes()), inputs(4 * bytes())];
    for (way, path, kind, before, after) in WAYS_IN {
        for (at, (input, _)) in sizes[0].iter().enumerate() {
            compare(&format!("{way}, {input:?}"), &mut slow, &server, |times| {
                let value = &sizes[usize::from(times > 1)][at].1;
                let response =
                    server.client.post(path, kind, &[], format!("{before}{value}{after}"));
                assert!([200, 202, 400, 422].contains(&response.status), "{way}, {input}");
            });
        }
    }
    assert_eq!(slow, Vec::<String>::new());
}

/// Many small events of one request.
#[test]
fn every_way_in_takes_linear_time_for_many_events() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("REDACT", "standard").set("MAX_BATCH_EVENTS", "1000000");
    let server = server.set("MAX_BODY_BYTES", "64MiB").ready().start();
    let mut slow = Vec::new();
    let event = r#"{"event_type":"t","session_id":"s","data":{"x":"x://u:p@h"}}"#;
    let invalid = r#"{"event_type":"t","data":"x://u:p@h"}"#;
    for (way, path, kind, before, part, after) in [
        ("array", "/events/batch", JSON, "[", event, "]"),
        ("invalid events", "/events/batch", JSON, "[", invalid, "]"),
        (
            "log records",
            "/v1/logs",
            JSON,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":["#,
            r#"{"attributes":[{"key":"event.name","value":{"stringValue":"a"}}]}"#,
            "]}]}]}",
        ),
        (
            "attributes",
            "/v1/logs",
            JSON,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":["#,
            r#"{"key":"event.name","value":{"stringValue":"a"}}"#,
            "]}]}]}]}",
        ),
        (
            "scopes",
            "/v1/logs",
            JSON,
            r#"{"resourceLogs":[{"scopeLogs":["#,
            r#"{"scope":{"name":"n"},"logRecords":[{"attributes":[]}]}"#,
            "]}]}",
        ),
    ] {
        compare(way, &mut slow, &server, |times| {
            let parts = vec![part; times * bytes() / (part.len() + 1)].join(",");
            let response = server.client.post(path, kind, &[], format!("{before}{parts}{after}"));
            assert!([200, 202, 422].contains(&response.status), "{way}: {}", response.status);
        });
    }
    let line = format!("{event}\n");
    compare("lines", &mut slow, &server, |times| {
        let lines = line.repeat(times * bytes() / line.len());
        server.client.post("/events/batch", "application/x-ndjson", &[], lines).expect(202);
    });
    assert_eq!(slow, Vec::<String>::new());
}

fn every_way_out_takes_linear_time(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = server(&workspace);
    let token = server.client.read_header();
    let mut slow = Vec::new();
    let sizes = [inputs(bytes()), inputs(4 * bytes())];
    let session = |at: usize, times: usize| format!("s{at}-{times}");
    for (size, times) in sizes.iter().zip([1, 4]) {
        for (at, (_, value)) in size.iter().enumerate() {
            let id = session(at, times);
            let hook = "\"hook_event_name\":\"UserPromptSubmit\"";
            let event = format!(
                "{{\"event_type\":\"t\",\"session_id\":\"{id}\",\"event_id\":\"{id}\",\
                 \"data\":{{{hook},\"prompt\":{value}}}}}"
            );
            server.client.post("/events", JSON, &[], event);
        }
    }
    if storage == Storage::Postgres {
        forwarded(&server);
    }
    let last = session(sizes[0].len() - 1, 4);
    eventually("the events can be read", || {
        let found = server.client.get(&format!("/events?session_id={last}&fields=event_id"), &[]);
        if found.text.contains(&last) { Ok(()) } else { Err(found.text) }
    });
    for (way, path) in [
        ("events", "/events?session_id=ID"),
        ("text", "/events?session_id=ID&q=does-not-occur%20%C3%A9"),
        ("session", "/sessions/ID"),
        ("lines", "/events/export?session_id=ID"),
        ("CSV", "/events/export?session_id=ID&format=csv"),
        ("Parquet", "/events/export?session_id=ID&format=parquet"),
    ] {
        for (at, (input, _)) in sizes[0].iter().enumerate() {
            compare(&format!("{way}, {input:?}"), &mut slow, &server, |times| {
                let path = path.replace("ID", &session(at, times));
                let mut connection = server.client.connect();
                connection.write(format!("GET {path} HTTP/1.0\r\n{token}\r\n"));
                let status = connection.read_until("\r\n");
                // PostgreSQL stores no numbers of more than 131,072 digits.
                assert!(status.contains(" 200 ") || status.contains(" 404 "), "{path}: {status}");
                std::io::copy(&mut connection.into_inner(), &mut std::io::sink()).expect("a body");
            });
        }
    }
    assert_eq!(slow, Vec::<String>::new());
}

both!(every_way_out_takes_linear_time);
