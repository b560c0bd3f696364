//! `POST /v1/logs`, `/v1/traces`, `/v1/metrics`: records of OpenTelemetry exporters are stored once, as sent.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::eventually::when;
use crate::harness::{Storage, Workspace, eventually};

both!(
    protobuf_and_json_give_the_same_events,
    tokens_and_cost_are_summed_by_session,
    codex_gemini_and_gen_ai_attributes_are_mapped,
);

const PROTOBUF: &str = "application/x-protobuf";

/// The same three records, exported by the OpenTelemetry SDK for Python as JSON and as protobuf.
const CLAUDE_CODE: &str = include_str!("../payloads/otlp-claude-code.json");
const CLAUDE_CODE_HEX: &str = include_str!("../payloads/otlp-claude-code.hex");
const OTHERS: &str = include_str!("../payloads/otlp-others.json");

fn protobuf() -> Vec<u8> {
    let digits: String = CLAUDE_CODE_HEX.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn protobuf_and_json_give_the_same_events(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let body = protobuf();
    let response = server.client.post("/v1/logs", PROTOBUF, &[], &body).expect(200);
    assert_eq!((response.header("content-type"), &*response.text), (PROTOBUF, ""));
    let first = workspace.settled(&server);
    assert_eq!(first.len(), 3);

    let response = server.client.post("/v1/logs", JSON, &[], CLAUDE_CODE).expect(200);
    assert_eq!((response.header("content-type"), &*response.text), (JSON, "{}"));
    let encoded = [("content-encoding", "gzip")];
    server.client.post("/v1/logs", PROTOBUF, &encoded, gzip(&body)).expect(200);
    let mut chunked = server.client.connect();
    chunked.write(format!(
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {PROTOBUF}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    ));
    for part in body.chunks(100) {
        chunked.write(format!("{:x}\r\n", part.len()));
        chunked.write(part);
        chunked.write("\r\n");
    }
    chunked.write("0\r\n\r\n");
    assert!(chunked.read_to_end().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(workspace.settled(&server), first);

    let tool = first.iter().find(|event| event["tool_name"] == "Bash").expect("stored");
    assert_eq!(tool["event_type"], "claude_code.tool_result");
    assert_eq!(tool["session_id"], "otlp-1");
    assert_eq!(tool["agent"], "claude-code");
    assert_eq!(tool["tool_use_id"], "toolu_9");
    assert_eq!(tool["duration_ms"], 55);
    assert_eq!(tool["timestamp"], "2026-11-23T09:00:00.126456Z");
    assert_eq!(
        tool["data"],
        json!({
            "body": "claude_code.tool_result",
            "attributes": {
                "session.id": "otlp-1", "event.name": "tool_result", "tool_name": "Bash",
                "tool_use_id": "toolu_9", "success": true, "duration_ms": 55, "tags": ["a", "b"],
            },
            "severity_number": 9,
            "resource": { "service.name": "claude-code", "service.version": "2.1.70" },
            "scope": "com.anthropic.claude_code.events",
            "scope_version": "2.1.70",
        })
    );
}

fn tokens_and_cost_are_summed_by_session(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.post("/v1/logs", JSON, &[], CLAUDE_CODE).expect(200);
    let stored = workspace.settled(&server);
    let sum = |fact: &str| stored.iter().filter_map(|event| event[fact].as_f64()).sum::<f64>();
    assert_eq!((sum("input_tokens"), sum("output_tokens"), sum("cost_usd")), (2000.0, 400.0, 0.02));
    let session = eventually("the session is read", || {
        when(server.client.get("/sessions/otlp-1", &[]), |response| response.status == 200)
    });
    let session = session.json();
    let sums = ["input_tokens", "output_tokens", "cost_usd"].map(|sum| session[sum].as_f64());
    assert_eq!(sums, [Some(2000.0), Some(400.0), Some(0.02)]);
    if storage == Storage::Postgres {
        let sums = workspace.database().query(
            "SELECT concat_ws(' ', sum(input_tokens), sum(output_tokens), sum(cost_usd))
             FROM hook_events WHERE session_id = 'otlp-1'",
        );
        assert_eq!(sums, ["2000 400 0.02"]);
    }
}

fn codex_gemini_and_gen_ai_attributes_are_mapped(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.post("/v1/logs", JSON, &[], OTHERS).expect(200);
    let stored = workspace.settled(&server);
    let name = "gen_ai.client.inference.operation.details";
    for expected in [
        json!({ "event_type": "codex.sse_event", "session_id": "codex-1", "agent": "codex", "input_tokens": 900, "output_tokens": 70, "timestamp": "2026-11-23T09:00:00.000000Z" }),
        json!({ "event_type": "codex.tool_result", "tool_name": "shell", "tool_use_id": "call_1", "duration_ms": 31 }),
        json!({ "event_type": "gemini_cli.tool_call", "session_id": "gemini-1", "agent": "gemini", "tool_name": "read_file", "duration_ms": 4.5 }),
        json!({ "event_type": "gemini_cli.api_response", "input_tokens": 11, "output_tokens": 12 }),
        json!({ "event_type": name, "session_id": "conv-1", "agent": "Shop Assistant", "tool_name": "search", "tool_use_id": "call_7", "input_tokens": 5, "output_tokens": 6 }),
    ] {
        let event = stored.iter().find(|event| event["event_type"] == expected["event_type"]);
        let event = event.unwrap_or_else(|| panic!("{expected} is not stored"));
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(event[field], *value, "{field} of {event}");
        }
    }
    let of = |event_type: &str| {
        &stored.iter().find(|event| event["event_type"] == event_type).expect("stored")["data"]
    };
    assert_eq!(of("codex.sse_event")["trace_id"], "5b8efff798038103d269b633813fc60c");
    assert_eq!(of("codex.sse_event")["span_id"], "eee19b7ec3c1b174");
    assert_eq!(
        of("gemini_cli.tool_call")["attributes"]["function_args"],
        json!({ "path": "a.rs" })
    );
    let attributes = &of(name)["attributes"];
    assert_eq!(attributes["odd"], "NaN");
    assert_eq!(attributes["blob"], "aGk=");
    assert_eq!(attributes["none"], Value::Null);
}

#[test]
fn invalid_record_is_counted_and_the_rest_is_stored() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [
        { "timeUnixNano": "1795424400000000000", "body": { "stringValue": "ok" } },
        { "timeUnixNano": "soon" },
        [],
    ] }] }] });
    let response = server.client.post("/v1/logs", JSON, &[], body.to_string()).expect(200).json();
    assert_eq!(response["partialSuccess"]["rejectedLogRecords"], "2");
    let message = response["partialSuccess"]["errorMessage"].to_string();
    assert!(message.contains("at 1") && message.contains("soon"), "{message}");
    let events = workspace.events();
    assert_eq!((events.len(), &events[0]["event_type"]), (1, &json!("log")));
    assert_eq!(workspace.rejected()[0]["event"], json!({ "timeUnixNano": "soon" }));

    // resource_logs { scope_logs { log_records: a byte that is not a valid field tag } }
    let bad = [0x0a, 5, 0x12, 3, 0x12, 1, 0xff];
    let response = server.client.post("/v1/logs", PROTOBUF, &[], bad).expect(200);
    // partial_success { rejected_log_records: 1, error_message ... }
    assert!(response.text.as_bytes()[2..].starts_with(&[0x08, 1, 0x12]), "{response:?}");
    assert_eq!(workspace.events().len(), 1);
}

#[test]
fn errors_are_in_the_encoding_of_the_request() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "otel:key-1:ingest").ready().start();
    let key = [("authorization", "Bearer key-1")];
    let post = |kind: &str, body: &str| server.client.post("/v1/logs", kind, &key, body);
    let response = post(JSON, "{\"resourceLogs\":7}").expect(400);
    assert_eq!(response.header("content-type"), JSON);
    assert!(response.json()["message"].as_str().is_some_and(|text| text.contains("OTLP")));
    // Serde would also read a struct from an array.
    assert!(post(JSON, "[]").expect(400).text.contains("must be an object"));
    let response = post(PROTOBUF, "\u{7f}").expect(400);
    assert_eq!(response.header("content-type"), PROTOBUF);
    assert!(response.text.starts_with('\u{12}') && response.text.contains("OTLP"), "{response:?}");
    let response = post("text/plain", "").expect(415);
    assert!(response.json()["detail"].as_str().is_some_and(|text| text.contains(PROTOBUF)));
    server.client.post("/v1/logs", JSON, &[], "{}").expect(401);
    assert_eq!(post(JSON, "{}").expect(200).text, "{}");
}

fn logs(records: &Value) -> String {
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string()
}

#[test]
fn odd_values_do_not_cost_a_record() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let record = r#""timeUnixNano":"1795424400000000000""#;
    let of = |record: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{record}}}]}}]}}]}}"#)
    };
    let bodies = [
        of(&format!(r#"{record},"body":{{"stringValue":"cut \ud83d"}}"#)),
        of(&format!(
            r#"{record},"attributes":[{{"key":"\udc00","value":{{"stringValue":"\uD83D"}}}}]"#
        )),
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"cwd","value":{{"stringValue":"/\ud83d"}}}}]}},"scopeLogs":[{{"logRecords":[{{{record}}}]}}]}}]}}"#
        ),
        of(&format!(
            r#"{record},"attributes":null,"severityText":null,"severityNumber":null,"eventName":null,"traceId":null,"body":null"#
        )),
        of(&format!(
            r#"{record},"attributes":[null,{{"key":"k","value":{{"arrayValue":{{"values":[null,{{"intValue":9.0}}]}}}}}},{{"key":"n","value":null}}]"#
        )),
        of(&format!(
            r#"{record},"attributes":[{{"key":"k","value":{{"arrayValue":{{"values":null}}}}}}]"#
        )),
        format!(
            r#"{{"resourceLogs":[null,{{"resource":null,"schemaUrl":null,"scopeLogs":[{{"scope":null,"logRecords":[{{{record},"body":{{"stringValue":"x"}}}}]}}]}},{{"scopeLogs":null}}]}}"#
        ),
        of(&format!(r#"{record},"severityNumber":"SEVERITY_NUMBER_INFO2""#)),
        of(&format!(r#"{record},"severityNumber":"9""#)),
        of(&format!(r#"{record},"severityNumber":11.0"#)),
        r#"{"resource_logs":[{"scope_logs":[{"log_records":[{"time_unix_nano":"1795424400000000000","event_name":"snake.case"}]}]}]}"#.to_owned(),
        format!("\u{feff}\u{feff}{}", of(&format!(r#"{record},"eventName":"bom.twice""#))),
    ];
    for (at, body) in bodies.iter().enumerate() {
        let response = server.client.post("/v1/logs", JSON, &[], body).expect(200);
        assert_eq!(response.text, "{}", "{body}");
        assert_eq!(workspace.events().len(), at + 1, "{body}");
    }
    let events = workspace.events();
    assert_eq!(events[0]["data"]["body"], "cut \u{fffd}");
    assert_eq!(events[2]["data"]["resource"]["cwd"], "/\u{fffd}");
    assert_eq!(events[4]["data"]["attributes"], json!({ "k": [null, 9], "n": null }));
    let severities: Vec<_> =
        events[7..10].iter().map(|event| event["data"]["severity_number"].clone()).collect();
    assert_eq!(severities, [10, 9, 11]);
    assert_eq!(events[10]["event_type"], "snake.case");
    // A resource with an attribute that is not UTF-8, and one record with a time.
    let resource = [0x0a, 10, 0x0a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, 0xff];
    let scopes = [0x12, 11, 0x12, 9, 0x09, 1, 0, 0, 0, 0, 0, 0, 1];
    let body = [&[0x0a, 25][..], &resource, &scopes].concat();
    server.client.post("/v1/logs", PROTOBUF, &[], &body).expect(200);
    assert_eq!(workspace.events().len(), bodies.len() + 1);
}

#[test]
fn equal_records_of_an_export_are_all_stored_and_a_repeated_export_once() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let record =
        json!({ "timeUnixNano": "1795424400000000000", "body": { "stringValue": "retry" } });
    let body = logs(&json!([record, record, record]));
    for _ in 0..2 {
        server.client.post("/v1/logs", JSON, &[], &body).expect(200);
        assert_eq!(workspace.events().len(), 3);
    }
}

#[test]
fn originals_are_kept_if_all_records_or_the_export_are_invalid() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let post = |path: &str, kind: &str, body: &str| server.client.post(path, kind, &[], body);
    let body = logs(&json!([{ "timeUnixNano": "soon" }, { "timeUnixNano": "later" }]));
    post("/v1/logs", JSON, &body).expect(200);
    assert_eq!(workspace.rejected().len(), 2);
    assert_eq!(workspace.rejected()[1]["event"], json!({ "timeUnixNano": "later" }));
    let event = r#"{"event_type":"a","session_id":"s"}"#;
    let response = post("/v1/logs", JSON, event).expect(400);
    assert!(response.text.contains("resourceLogs is missing"), "{response:?}");
    assert_eq!(workspace.rejected()[2]["event"]["event_type"], "a");
    post("/v1/logs", JSON, r#"{"resourceSpans":[]}"#).expect(400);
    post("/v1/traces", JSON, "not JSON").expect(400);
    assert_eq!(workspace.rejected()[4]["text"], "not JSON");
    let metrics = server.client.get("/metrics/prometheus", &[]).expect(200).text;
    assert!(metrics.contains("hooks_events_rejected_total{reason=\"invalid\"} 5"), "{metrics}");
}

/// Agents and exporters do not send again what is answered 400 or 413.
#[test]
fn originals_that_are_too_large_or_corrupt_are_kept_in_part() {
    let workspace = Workspace::jsonl();
    let server =
        workspace.server().set("MAX_BODY_BYTES", "100KiB").set("REDACT", "standard").start();
    let secret = format!("ghp_{}", "a".repeat(36));
    let large = format!("{{\"prompt\":\"{secret} {}\"}}", "x".repeat(200_000));
    let chunked = |path: &str| {
        let mut connection = server.client.connect();
        connection.write(format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {JSON}\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
            large.len()
        ));
        let response = connection.read_to_end();
        assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    };
    let compressed = zstd::encode_all(large.as_bytes(), 3).expect("in memory");
    let zstd = [("content-encoding", "zstd")];
    for path in ["/hooks/claude-code", "/hooks/codex/Stop", "/v1/logs", "/v1/traces"] {
        server.client.post(path, JSON, &[], &large).expect(413);
        chunked(path);
        server.client.post(path, JSON, &zstd, &compressed).expect(413);
        server.client.post(path, JSON, &zstd, &compressed[..compressed.len() / 2]).expect(400);
        server.client.post(path, JSON, &[], "{\"prompt\":\"fix the").expect(400);
        let rejected = workspace.rejected();
        let [.., announced, chunked, decompressed, corrupt, malformed] = &*rejected else {
            panic!("{path}: only {} entries", rejected.len())
        };
        for entry in [announced, chunked, decompressed] {
            let text = entry["text"].as_str().expect("a text");
            assert!(
                text.starts_with("{\"prompt\":\"[redacted:github-token] xxx"),
                "{path}: {entry}"
            );
            assert!((60_000..70_000).contains(&text.len()), "{path}: {} bytes", text.len());
            let error = entry["error"].to_string();
            assert!(error.contains("MAX_BODY_BYTES"), "{path}: {error}");
        }
        assert!(corrupt["error"].to_string().contains("Zstd"), "{path}: {corrupt}");
        assert_eq!(malformed["text"], "{\"prompt\":\"fix the");
    }
    assert_eq!(server.client.metric("hooks_events_rejected_total{reason=\"invalid\"}"), 20);
    // Other senders are told, and keep their events.
    server.client.post("/events", JSON, &[], &large).expect(413);
    assert_eq!(workspace.rejected().len(), 20);
}

#[test]
fn spans_of_agents_become_events_and_other_records_are_counted() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let number = |key: &str, value: u32| json!({ "key": key, "value": { "intValue": value } });
    let times = |mut span: Value| {
        span["traceId"] = json!("5b8efff798038103d269b633813fc60c");
        span["spanId"] = json!("eee19b7ec3c1b174");
        span["startTimeUnixNano"] = json!("1795424400000000000");
        span["endTimeUnixNano"] = json!("1795424400012500000");
        span
    };
    let spans = json!([
        times(json!({
            "name": "chat model-1", "kind": "SPAN_KIND_CLIENT", "parentSpanId": "00000000000000aa",
            "status": { "code": 2, "message": "overloaded" },
            "attributes": [
                text("gen_ai.operation.name", "chat"), text("gen_ai.conversation.id", "conv-1"),
                number("gen_ai.usage.input_tokens", 7),
            ],
        })),
        times(json!({
            "name": "invoke_agent shop",
            "attributes": [
                text("gen_ai.operation.name", "invoke_agent"), number("gen_ai.usage.input_tokens", 7),
            ],
        })),
        times(json!({ "name": "search", "attributes": [text("tool_name", "search")] })),
        times(json!({ "name": "GET /", "attributes": [text("http.request.method", "GET")] })),
    ]);
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    for _ in 0..2 {
        assert_eq!(server.client.post("/v1/traces", JSON, &[], &body).expect(200).text, "{}");
    }
    let metric = json!({ "name": "claude_code.token.usage", "sum": { "dataPoints": [{}] } });
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
    server.client.post("/v1/metrics", JSON, &[], body.to_string()).expect(200);
    server.client.post("/v1/metrics", PROTOBUF, &[], "").expect(200);
    let events = workspace.events();
    let types: Vec<_> = events.iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(types, ["gen_ai.chat", "gen_ai.invoke_agent", "span.search"]);
    let chat = &events[0];
    for (member, expected) in [
        ("session_id", json!("conv-1")),
        ("timestamp", json!("2026-11-23T09:00:00.000000Z")),
        ("duration_ms", json!(12.5)),
        ("input_tokens", json!(7)),
    ] {
        assert_eq!(chat[member], expected, "{member} of {chat}");
    }
    for (member, expected) in [
        ("name", "chat model-1"),
        ("kind", "client"),
        ("status", "error"),
        ("status_message", "overloaded"),
        ("end_time", "2026-11-23T09:00:00.012500Z"),
        ("parent_span_id", "00000000000000aa"),
    ] {
        assert_eq!(chat["data"][member], expected, "{member} of {chat}");
    }
    assert_eq!(events[1]["input_tokens"], Value::Null);
    assert_eq!(events[2]["tool_name"], "search");
    let metrics = server.client.get("/metrics/prometheus", &[]).expect(200).text;
    assert!(metrics.contains("hooks_otlp_ignored_total 3"), "{metrics}");
}

#[test]
fn agents_own_names_are_types_and_usage_is_counted_once() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let record = |agent: &str, field: &str, name: &str| {
        json!({ "resourceLogs": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": agent } }] },
            "scopeLogs": [{ "logRecords": [{
                "timeUnixNano": "1795424400000000000", "eventName": field,
                "attributes": [
                    { "key": "event.name", "value": { "stringValue": name } },
                    { "key": "gen_ai.usage.input_tokens", "value": { "intValue": 5 } },
                ],
            }] }],
        }] })
    };
    let operation = "gen_ai.client.inference.operation.details";
    for body in [
        record(
            "codex_cli_rs",
            "event otel/src/events/session_telemetry.rs:703",
            "codex.user_prompt",
        ),
        record("gemini-cli", "", operation),
        record("gemini-cli", "", "gemini_cli.api_response"),
        record("claude-code", "claude_code.tool_result", "tool_result"),
        record("shop", "", operation),
    ] {
        server.client.post("/v1/logs", JSON, &[], body.to_string()).expect(200);
    }
    let events = workspace.events();
    let found = events.iter();
    let found = found.map(|event| (event["event_type"].as_str(), event["input_tokens"].as_u64()));
    let found: Vec<_> = found.collect();
    assert_eq!(
        found,
        [
            (Some("codex.user_prompt"), Some(5)),
            (Some(operation), None),
            (Some("gemini_cli.api_response"), Some(5)),
            (Some("claude_code.tool_result"), Some(5)),
            (Some(operation), Some(5)),
        ]
    );
}
