//! `GET /openapi.json`: the document describes all routes, and their responses match its schemas.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Response, Server, Storage, Workspace, event};

both!(responses_match_their_schemas);

fn document(server: &Server) -> Value {
    let response = server.client.get("/openapi.json", &[]).expect(200);
    assert_eq!(response.header("content-type"), JSON);
    response.json()
}

fn set<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_ascii_uppercase).collect()
}

#[test]
fn the_committed_document_is_up_to_date() {
    let place = Workspace::jsonl();
    let server = place.server().ready().start();
    let generated = server.client.get("/openapi.json", &[]).expect(200).text;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, &generated).expect("docs/openapi.json is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        generated == committed,
        "docs/openapi.json is out of date; to update it, run: UPDATE_OPENAPI=1 cargo test --test it \
         openapi::the_committed_document"
    );
}

#[test]
fn the_document_has_every_method_of_every_route() {
    let place = Workspace::jsonl();
    let server = place.server().ready().start();
    let document = document(&server);
    for (path, item) in document["paths"].as_object().expect("paths") {
        let concrete = path.replace(['{', '}'], "");
        let response = server.client.send("OPTIONS", &concrete, &[], b"").expect("a response");
        assert_eq!(response.status, 204, "{path}: {response:?}");
        let mut allowed = set(response.header("allow").split(',').map(str::trim));
        allowed.remove("HEAD");
        let documented = item.as_object().expect("methods").keys();
        assert_eq!(allowed, set(documented.map(String::as_str)), "{path}");
    }
}

#[test]
fn operations_have_unique_ids_known_tags_and_summaries() {
    let place = Workspace::jsonl();
    let server = place.server().ready().start();
    let document = document(&server);
    let tags = document["tags"].as_array().expect("tags");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let case = format!("{method} {path}: {operation}");
            let id = operation["operationId"].as_str().expect("an operation id");
            assert!(ids.insert(id.to_owned()), "{case}");
            let tag = &operation["tags"][0];
            assert!(tags.iter().any(|known| known["name"] == *tag), "{case}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{case}");
        }
    }
}

#[test]
fn references_resolve_and_documented_parameters_are_accepted() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    crate::reading::shown(&server.client, 1);
    let document = document(&server);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let resolve = |value: &Value| -> Value {
        let Some(reference) = value["$ref"].as_str() else { return value.clone() };
        let found = document.pointer(&reference[1..]).cloned();
        found.unwrap_or_else(|| panic!("{reference} does not resolve"))
    };
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = parameters.iter().map(resolve);
            let queries: Vec<_> =
                parameters.filter(|parameter| parameter["in"] == "query").collect();
            if method != "get" || path == "/events/stream" {
                continue;
            }
            let concrete = path.replace("{session_id}", "session-1");
            server.client.get(&concrete, &[]).expect(200);
            for query in queries {
                let name = query["name"].as_str().expect("a name");
                // An empty value counts as absent; an unknown name would be rejected.
                server.client.get(&format!("{concrete}?{name}="), &[]).expect(200);
            }
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference} does not resolve");
    }
}

#[test]
fn numeric_timestamps_are_accepted_within_the_documented_bounds() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = document(&server);
    let forms =
        document["components"]["schemas"]["Timestamp"]["anyOf"].as_array().expect("forms").iter();
    let bound = |form: &Value, name: &str| form[name].as_i64().expect("a whole number");
    let numbers = forms.filter(|form| form["type"] == "number");
    let bounds: Vec<_> =
        numbers.map(|form| [bound(form, "minimum"), bound(form, "maximum")]).collect();
    assert_eq!(bounds.len(), 2);
    for [minimum, maximum] in bounds {
        for (number, status) in
            [(minimum - 1, 422), (minimum, 202), (maximum, 202), (maximum + 1, 422)]
        {
            let mut event = event(&number.to_string());
            event["timestamp"] = number.into();
            let response = server.client.event(&event);
            assert_eq!(response.status, status, "{number}: {response:?}");
        }
    }
}

#[test]
fn documented_enums_match_the_program() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = document(&server);
    let documented = |name: &str| {
        let names = document["components"]["schemas"][name]["enum"].as_array().expect("an enum");
        set(names.iter().map(|name| name.as_str().expect("a name")))
    };
    let members = agentic_hooks_backend::event::MEMBERS.map(|member| member.name);
    assert_eq!(documented("Member"), set(members.into_iter()));
    let refused = server.client.post("/hooks/none", "application/json", &[], "{}");
    let detail = refused.expect(404).json()["detail"].to_string();
    let agents = detail.split("allowed: ").nth(1).expect("names").trim_end_matches('"');
    assert_eq!(documented("Agent"), set(agents.split(", ")));
}

/// A request, and the status of its response.
struct Case {
    method: &'static str,
    /// As in the document.
    path: &'static str,
    /// As sent.
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    status: u16,
}

fn get(path: &'static str, target: &'static str, status: u16) -> Case {
    Case { method: "GET", path, target, headers: &[], body: String::new(), status }
}

fn post(
    path: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &dyn std::fmt::Display,
    status: u16,
) -> Case {
    Case { method: "POST", path, target, headers, body: body.to_string(), status }
}

/// Requests of every operation, with the success and the problems that a test can bring about.
fn cases() -> Vec<Case> {
    const TYPE: &[(&str, &str)] = &[("content-type", JSON)];
    const LINES: &[(&str, &str)] = &[("content-type", NDJSON)];
    const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];
    const REMOTE: &[(&str, &str)] = &[("host", "events.example")];
    const OTHER_PAGE: &[(&str, &str)] = &[("origin", "http://events.example")];
    const CSV: &str = "/events/export?format=csv";
    let hook = json!({
        "hook_event_name": "PreToolUse", "session_id": "session-2", "tool_name": "Bash",
        "tool_input": { "command": "ls" },
    });
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "eventName": "claude_code.user_prompt",
        "attributes": [{ "key": "session.id", "value": { "stringValue": "session-3" } }],
    }, {}] }] }] });
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [
        { "name": "chat", "attributes": [{ "key": "gen_ai.operation.name" }] }, "no span",
    ] }] }] });
    let mut large = event("large");
    large["data"] = json!({ "text": "x".repeat(20 << 10) });
    let mut cases = vec![
        post("/events", "/events", TYPE, &event("1"), 202),
        post("/events", "/events?ack=stored", TYPE, &event("1"), 202),
        post("/events", "/events", TYPE, &"{", 400),
        post("/events", "/events", &[], &"{}", 415),
        post("/events", "/events", TYPE, &large, 413),
        post("/events", "/events", TYPE, &"{}", 422),
        post("/events/batch", "/events/batch", TYPE, &"[]", 202),
        post("/events/batch", "/events/batch", LINES, &format!("{}\n{{}}\n", event("2")), 202),
        post("/events/batch", "/events/batch", TYPE, &"[{}]", 422),
        post("/hooks", "/hooks", LINES, &"", 202),
        post("/hooks", "/hooks", TYPE, &"", 415),
        post("/hooks/{agent}", "/hooks/claude-code", TYPE, &hook, 200),
        post("/hooks/{agent}", "/hooks/none", TYPE, &"{}", 404),
        post(
            "/hooks/{agent}/{event}",
            "/hooks/cursor/stop",
            TYPE,
            &r#"{"conversation_id":"s"}"#,
            200,
        ),
        post("/hooks/{agent}/{event}", "/hooks/none/stop", TYPE, &"{}", 404),
        post("/v1/logs", "/v1/logs", TYPE, &"{}", 200),
        post("/v1/logs", "/v1/logs", TYPE, &logs, 200),
        post("/v1/logs", "/v1/logs", PROTOBUF, &"", 200),
        post("/v1/logs", "/v1/logs", TYPE, &"[", 400),
        post("/v1/logs", "/v1/logs", LINES, &"", 415),
        post("/v1/traces", "/v1/traces", TYPE, &spans, 200),
        post("/v1/traces", "/v1/traces", PROTOBUF, &"", 200),
        post("/v1/traces", "/v1/traces", TYPE, &"[", 400),
        post("/v1/metrics", "/v1/metrics", TYPE, &"{}", 200),
        post("/v1/metrics", "/v1/metrics", PROTOBUF, &"", 200),
        get("/sessions/{session_id}", "/sessions/none", 404),
        get("/sessions/{session_id}", "/sessions/session-1", 200),
        get("/openapi.json", "/openapi.json", 200),
        get("/", "/", 200),
        get("/health", "/health", 200),
        get("/health/live", "/health/live", 200),
        get("/health/ready", "/health/ready", 200),
        get("/metrics", "/metrics", 200),
        Case { headers: &[("accept", JSON)], ..get("/metrics", "/metrics", 200) },
        get("/metrics/prometheus", "/metrics/prometheus", 200),
        get("/events/export", CSV, 200),
        Case { method: "HEAD", ..get("/events/export", "/events/export?format=parquet", 200) },
        get("/events/stream", "/events/stream?after=none", 410),
    ];
    for path in ["/events", "/events/export", "/events/stream", "/sessions", "/stats"] {
        let unknown = format!("{path}?unknown=1").leak();
        cases.push(get(path, unknown, 422));
        cases.push(Case { headers: REMOTE, ..get(path, path, 401) });
        cases.push(Case { headers: OTHER_PAGE, ..get(path, path, 403) });
        if path != "/events/stream" {
            cases.push(get(path, path, 200));
        }
    }
    cases
}

fn responses_match_their_schemas(storage: Storage) {
    let place = Workspace::new(storage);
    let server = place.server().set("MAX_BODY_BYTES", "10KiB").ready().start();
    let document = document(&server);
    crate::reading::shown(&server.client, 0);
    let started = json!({
        "event_type": "tool_execution_completed", "session_id": "session-1",
        "data": { "tool_name": "Bash", "duration_ms": 1, "cost_usd": 0.5 }, "other": 1,
    });
    server.client.event(&started).expect(202);
    let subagent = json!({ "event_type": "subagent_started", "session_id": "session-1" });
    server.client.event(&subagent).expect(202);
    crate::reading::shown(&server.client, 2);
    let mut tested = BTreeSet::new();
    for case in cases() {
        let Case { method, path, target, headers, body, status } = case;
        let response = server.client.send(method, target, headers, body.as_bytes());
        let response = response.expect("a response").expect(status);
        let method = if method == "HEAD" { "get" } else { &method.to_lowercase() };
        check(&document, method, path, target, &response);
        tested.insert((method.to_owned(), path.to_owned()));
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            assert!(
                tested.contains(&(method.clone(), path.clone())),
                "{method} {path} is not tested"
            );
        }
    }
}

/// Asserts that a response has a documented status and media type, and matches its schema.
#[track_caller]
fn check(document: &Value, method: &str, path: &str, target: &str, response: &Response) {
    let case = format!("{method} {target}: {response:?}");
    let status = response.status.to_string();
    let mut documented = &document["paths"][path][method]["responses"][&status];
    if let Some(reference) = documented["$ref"].as_str() {
        documented = document.pointer(&reference[1..]).expect("the reference resolves");
    }
    if response.text.is_empty() && documented.is_object() && documented["content"].is_null() {
        return;
    }
    let media_type = response.header("content-type").split(';').next().unwrap_or_default();
    let schema = &documented["content"][media_type]["schema"];
    assert!(schema.is_object(), "this response is not documented: {case}");
    if media_type == NDJSON {
        for line in response.text.lines() {
            let event = serde_json::from_str(line).expect("JSON");
            matches(document, &json!({ "$ref": "#/components/schemas/Event" }), &event, &case);
        }
        return;
    }
    if !media_type.ends_with("json") {
        return;
    }
    let body = response.json();
    matches(document, schema, &body, &case);
    // Schemas allow unknown members in lists, so their items are checked one by one.
    for (member, name) in [
        ("events", "Event"),
        ("sessions", "Session"),
        ("rejected", "RejectedEvent"),
        ("buckets", "StatsBucket"),
        ("tools", if path == "/stats" { "ToolStats" } else { "ToolUse" }),
        ("subagents", "SubAgent"),
    ] {
        for item in body[member].as_array().into_iter().flatten() {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            matches(document, &schema, item, &case);
        }
    }
}

/// Asserts that a value matches a schema of the document, and has no undocumented members.
#[track_caller]
fn matches(document: &Value, schema: &Value, value: &Value, case: &str) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    if schema["$ref"] != "#/components/schemas/JsonObject" {
        schema["unevaluatedProperties"] = json!(false);
    }
    let validator = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = validator.build(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}: {case}");
}
