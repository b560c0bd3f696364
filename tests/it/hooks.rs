//! `POST /hooks/{agent}`: any payload of an agent becomes an event.

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Server, Storage, Workspace, event};

both!(
    payloads_of_every_agent_are_mapped,
    auto_detects_the_agent,
    hook_that_fires_twice_is_stored_once,
    distinct_events_with_similar_payloads_are_both_stored,
    lines_with_ids_are_distinct_events,
    workflow_phase_and_milestone_are_read_from_headers,
    unusual_payloads_are_accepted,
    payload_of_5_mb_is_accepted,
    denied_call_of_a_batch_is_stored_as_blocked,
);

/// For each agent: payloads in its documented formats, their paths, and fields of the stored events.
const PAYLOADS: [(&str, &str); 11] = [
    ("claude-code", include_str!("../payloads/claude-code.json")),
    ("codex", include_str!("../payloads/codex.json")),
    ("gemini", include_str!("../payloads/gemini.json")),
    ("cursor", include_str!("../payloads/cursor.json")),
    ("copilot", include_str!("../payloads/copilot.json")),
    ("qwen", include_str!("../payloads/qwen.json")),
    ("vscode", include_str!("../payloads/vscode.json")),
    ("opencode", include_str!("../payloads/opencode.json")),
    ("cline", include_str!("../payloads/cline.json")),
    ("openhands", include_str!("../payloads/openhands.json")),
    ("windsurf", include_str!("../payloads/windsurf.json")),
];

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("an array of cases")
}

/// Sends a payload. The response must be empty: agents read a body as a decision, or show it to the model.
#[track_caller]
fn send(server: &Server, path: &str, payload: impl AsRef<[u8]>) {
    let response = server.client.post(path, JSON, &[], payload).expect(200);
    assert_eq!((&*response.text, response.header("content-length")), ("", "0"));
}

fn payloads_of_every_agent_are_mapped(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let all: Vec<(&str, Value)> = PAYLOADS
        .iter()
        .flat_map(|(agent, text)| cases(text).into_iter().map(|c| (*agent, c)))
        .collect();
    for (agent, case) in &all {
        let path = case["path"].as_str().map_or(format!("/hooks/{agent}"), str::to_owned);
        send(&server, &path, case["payload"].to_string());
    }
    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), all.len());
    for (agent, case) in &all {
        let stored = stored.iter().find(|event| event["data"] == case["payload"]);
        let stored = stored.unwrap_or_else(|| panic!("{agent}: {case} is not stored"));
        assert_eq!(stored["agent"], *agent, "{stored}");
        for (field, value) in case["stored"].as_object().expect("fields") {
            assert_eq!(stored[field], *value, "{field} of {stored}");
        }
    }
}

fn auto_detects_the_agent(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let named = PAYLOADS.iter().flat_map(|(agent, text)| {
        cases(text).into_iter().map(move |case| (*agent, case["payload"].clone()))
    });
    let mut expected: Vec<(Value, Value)> = Vec::new();
    for (agent, payload) in named {
        send(&server, "/hooks/auto", payload.to_string());
        expected.push((payload, json!(agent)));
    }
    // These two also run the hooks in Claude Code's settings.
    for agent in ["cursor", "vscode"] {
        let (_, text) = PAYLOADS.iter().find(|(name, _)| *name == agent).expect("its payloads");
        let mut payload = cases(text)[1]["payload"].clone();
        payload["borrowed"] = json!(true);
        send(&server, "/hooks/claude-code", payload.to_string());
        expected.push((payload, json!(agent)));
    }
    let unknown = json!({ "hook_event_name": "Woke", "sessionId": 7, "toolName": "t" });
    send(&server, "/hooks/auto", unknown.to_string());
    expected.push((unknown, json!(null)));

    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), expected.len());
    for (payload, agent) in expected {
        let stored = stored.iter().find(|event| event["data"] == payload).expect("stored");
        assert_eq!(stored["agent"], agent, "{stored}");
    }
    let unknown = stored.iter().find(|event| event["event_type"] == "woke").expect("stored");
    assert_eq!((&unknown["session_id"], &unknown["tool_name"]), (&json!("7"), &json!("t")));
}

/// Without a person who could be asked, Claude Code reports a denial only in the batch.
fn denied_call_of_a_batch_is_stored_as_blocked(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let call = |id: &str, tool: &str, response: &str| {
        json!({
            "tool_name": tool, "tool_input": { "url": "http://127.0.0.1:1/" }, "tool_use_id": id,
            "tool_response": response,
        })
    };
    let batch = json!({
        "session_id": "s", "hook_event_name": "PostToolBatch", "agent_id": "a1", "cwd": "/home/dev/shop",
        "tool_calls": [
            call("toolu_1", "WebFetch", "Claude requested permissions to use WebFetch, but you haven't granted it yet."),
            call("toolu_2", "Bash", "hi"),
            call("toolu_3", "Bash", "Permission to use Bash with command curl has been denied."),
            call("toolu_4", "Bash", "One\nPermission to use Bash with command curl has been denied."),
        ],
    });
    for _ in 0..2 {
        send(&server, "/hooks/claude-code", batch.to_string());
    }
    let stored = workspace.settled(&server);
    let of = |event_type: &str| {
        let events = stored.iter().filter(|event| event["event_type"] == event_type);
        let mut ids: Vec<String> = events
            .map(|event| {
                assert_eq!(
                    (&event["session_id"], &event["subagent_id"], &event["data"]["cwd"]),
                    (&json!("s"), &json!("a1"), &json!("/home/dev/shop"))
                );
                format!("{}:{}", event["tool_name"], event["tool_use_id"])
            })
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(of("tool_batch_completed"), ["null:null"]);
    assert_eq!(of("tool_blocked"), ["\"Bash\":\"toolu_3\"", "\"WebFetch\":\"toolu_1\""]);
    assert_eq!(stored.len(), 3);
}

/// Each payload is sent three times at once, and counts as one firing.
fn hook_that_fires_twice_is_stored_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().ready().start();
    let with_tool_use = r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_name":"Bash","tool_use_id":"toolu_1"}"#;
    let with_time =
        r#"{"hook_event_name":"BeforeTool","session_id":"s","timestamp":"2026-11-23T09:00:00Z"}"#;
    let bare = r#"{"hook_event_name":"Stop","session_id":"s"}"#;
    for payload in [with_tool_use, with_time, bare] {
        std::thread::scope(|scope| {
            for path in ["/hooks/claude-code", "/hooks/auto", "/hooks/claude-code"] {
                let server = &server;
                scope.spawn(move || send(server, path, payload));
            }
        });
    }
    // Payloads with a tool use id or a time are deduplicated across restarts.
    server.stop();
    server.restart();
    for payload in [with_tool_use, with_time] {
        send(&server, "/hooks/claude-code", payload);
    }
    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), 3, "{stored:?}");
}

fn distinct_events_with_similar_payloads_are_both_stored(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let call = |id: &str| {
        json!({
            "hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash",
            "tool_input": { "command": "ls" }, "tool_use_id": id,
        })
    };
    send(&server, "/hooks/claude-code", call("toolu_1").to_string());
    send(&server, "/hooks/claude-code", call("toolu_2").to_string());
    let timed =
        |at: i64| json!({ "sessionId": "s", "toolName": "bash", "toolArgs": "", "timestamp": at });
    send(&server, "/hooks/copilot/preToolUse", timed(1_795_424_400_001).to_string());
    send(&server, "/hooks/copilot/preToolUse", timed(1_795_424_400_002).to_string());
    // The same body at the path of another event is another event.
    send(&server, "/hooks/copilot/postToolUse", timed(1_795_424_400_002).to_string());
    // These differ only in the time at which they fired; more than a second apart, they are distinct.
    let stop = |at: &str| {
        json!({
            "agent": "claude-code", "fired_at": at,
            "payload": { "hook_event_name": "Stop", "session_id": "s" },
        })
    };
    let fired = ["2026-11-23T09:00:00Z", "2026-11-23T09:00:00.9Z", "2026-11-23T09:00:01.001Z"];
    let lines = fired.map(|at| stop(at).to_string()).join("\n");
    let response = server.client.post("/hooks", NDJSON, &[], lines).expect(202);
    assert_eq!(response.json()["accepted"], 3);

    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), 7, "{stored:?}");
    let mut stops: Vec<&str> = stored
        .iter()
        .filter(|event| event["event_type"] == "agent_stopped")
        .map(|event| event["timestamp"].as_str().expect("a time"))
        .collect();
    stops.sort_unstable();
    assert_eq!(stops, ["2026-11-23T09:00:00.000000Z", "2026-11-23T09:00:01.001000Z"]);
}

/// Lines of `emit` name their events. They match a request without an ID one to one.
fn lines_with_ids_are_distinct_events(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let line = |id: u32, payload: &Value| {
        json!({
            "agent": "auto", "event_id": format!("{id:032x}"),
            "fired_at": "2026-11-23T09:00:00.5Z", "payload": payload,
        })
        .to_string()
    };
    let bare = json!({ "event_type": "PreToolUse", "session_id": "s", "tool_name": "terminal" });
    let timed = json!({ "sessionId": "s", "toolName": "bash", "timestamp": 1_795_424_400_001_i64 });
    let lines = [line(1, &bare), line(2, &bare), line(3, &timed), line(4, &timed)].join("\n");
    for _ in 0..2 {
        server.client.post("/hooks", NDJSON, &[], &lines).expect(202);
    }
    let mut ids: Vec<String> = workspace
        .settled(&server)
        .iter()
        .map(|event| event["event_id"].as_str().expect("text").to_owned())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4].map(|id| format!("{id:032x}")));
}

fn workflow_phase_and_milestone_are_read_from_headers(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let headers = [("X-Workflow-Id", "w-1"), ("X-Phase-Id", "p-1"), ("X-Milestone-Id", "")];
    let body = r#"{"hook_event_name":"Stop","session_id":"s"}"#;
    server.client.post("/hooks/claude-code", JSON, &headers, body).expect(200);
    let stored = &workspace.settled(&server)[0];
    assert_eq!(stored["workflow_id"], "w-1");
    assert_eq!(stored["phase_id"], "p-1");
    assert_eq!(stored["milestone_id"], Value::Null);
}

fn unusual_payloads_are_accepted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let long = "x".repeat(300);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let payloads = [
        "{}".to_owned(),
        "\u{feff}{\r\n  \"hook_event_name\": \"stop\",\r\n  \"conversation_id\": \"bom\"\r\n}\r\n".to_owned(),
        r#"{"hook_event_name":"Stop","transcript_path":"/home/dev/.claude/projects/a/t-1.jsonl"}"#.to_owned(),
        r#"{"hook_event_name":"Stop","cwd":"/home/dev/shop","session_id":""}"#.to_owned(),
        r#"{"hook_event_name":7,"session_id":{},"tool_name":[],"tool_use_id":true,"duration_ms":"9","timestamp":"never"}"#.to_owned(),
        format!(r#"{{"hook_event_name":"{long}","session_id":"{long}","tool_name":"{long}"}}"#),
        format!(r#"{{"hook_event_name":"Deep","session_id":"deep","tool_input":{deep}}}"#),
    ];
    for payload in &payloads {
        send(&server, "/hooks/claude-code", payload);
    }
    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), payloads.len());
    let of = |data: &str| {
        let data: Value = serde_json::from_str(data.trim_start_matches('\u{feff}')).expect("JSON");
        stored.iter().find(|event| event["data"] == data).expect("stored")
    };
    let empty = of(&payloads[0]);
    assert_eq!(empty["event_type"], "unknown");
    let session = empty["session_id"].as_str().expect("text");
    assert!(
        session.starts_with("claude-code-")
            && session.ends_with(&empty["timestamp"].as_str().expect("text")[..10]),
        "{session}"
    );
    assert_eq!(of(&payloads[1])["session_id"], "bom");
    assert_eq!(of(&payloads[2])["session_id"], "t-1");
    assert_ne!(of(&payloads[3])["session_id"], empty["session_id"]);
    let odd = of(&payloads[4]);
    assert_eq!(
        (&odd["event_type"], &odd["tool_name"], &odd["duration_ms"]),
        (&json!("7"), &json!(null), &json!(null))
    );
    let long = of(&payloads[5]);
    assert_eq!(long["session_id"].as_str().map(str::len), Some(255));
    assert_eq!(long["tool_name"], Value::Null);
    let deep = stored.iter().find(|event| event["session_id"] == "deep").expect("stored");
    assert_eq!(deep["data"], json!({ "unparsed": payloads[6] }));
    assert_eq!(workspace.rejected(), [] as [Value; 0]);
}

fn payload_of_5_mb_is_accepted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let payload = json!({
        "hook_event_name": "PostToolUse", "session_id": "s", "tool_name": "Read",
        "tool_use_id": "toolu_1", "tool_response": { "text": "ä\"\n".repeat(1_000_000) },
    });
    send(&server, "/hooks/claude-code", payload.to_string());
    send(&server, "/hooks/claude-code", payload.to_string());
    let stored = workspace.settled(&server);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["data"], payload);
}

#[test]
fn non_object_payload_is_rejected_with_a_reason() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "hooks:key-1:ingest").ready().start();
    let key = [("authorization", "Bearer key-1")];
    let post = |path: &str, kind: &str, body: &str| server.client.post(path, kind, &key, body);
    for (path, kind, body, status, words) in [
        ("/hooks/claud", JSON, "{}", 404, "claude-code, auto"),
        ("/hooks/claude-code", "text/plain", "{}", 415, "allowed: application/json"),
        ("/hooks/claude-code", JSON, "[]", 400, "a JSON object"),
        ("/hooks/claude-code", JSON, "{", 400, "EOF"),
        ("/hooks", JSON, "{}", 415, "application/x-ndjson"),
        ("/hooks", NDJSON, "{}", 422, "hooks-backend emit"),
    ] {
        let detail = post(path, kind, body).expect(status).json()["detail"].to_string();
        assert!(detail.contains(words), "{path}: {detail}");
    }
    server.client.post("/hooks/claude-code", JSON, &[], "{}").expect(401);
    assert!(!workspace.file().exists() || workspace.events().is_empty());
    post("/hooks/claude-code", JSON, "{}").expect(200);
    assert_eq!(server.client.metric("hooks_events_stored_total"), 1);
    let route = "hooks_http_requests_total{route=\"/hooks/{agent}\",status=\"200\"}";
    assert_eq!(server.client.metric(route), 1);
}

#[test]
fn malformed_line_of_emit_does_not_affect_other_lines() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let line = json!({
        "agent": "cursor", "event": "stop", "fired_at": "2026-11-23T09:00:00Z",
        "workflow_id": "w", "phase_id": null, "milestone_id": null, "payload": { "conversation_id": "u" },
    });
    let lines = format!("{{\"agent\":\"cur\n{line}\n");
    let response = server.client.post("/hooks", NDJSON, &[], &lines).expect(202).json();
    assert_eq!((&response["accepted"], &response["rejected"][0]["index"]), (&json!(1), &json!(0)));
    let stored = &workspace.events()[0];
    assert_eq!(stored["event_type"], "agent_stopped");
    assert_eq!(stored["timestamp"], "2026-11-23T09:00:00.000000Z");
    assert_eq!(stored["workflow_id"], "w");
    assert_eq!(workspace.rejected().len(), 1);
}

mod other_formats_at_events {
    use super::*;

    #[test]
    fn multi_agent_observability_events_are_mapped() {
        let workspace = Workspace::jsonl();
        let server = workspace.server().start();
        let sent = json!({
            "source_app": "shop", "session_id": "m1", "hook_event_type": "PostToolUse",
            "payload": {
                "session_id": "m1", "hook_event_name": "PostToolUse", "tool_name": "Bash",
                "tool_use_id": "toolu_1", "duration_ms": 5, "agent_id": "a1",
            },
            "timestamp": 1_795_424_400_123_i64, "model_name": "sonnet", "summary": "Ran it",
        });
        for _ in 0..2 {
            server.client.event(&sent).expect(202);
        }
        server.client.batch(&[sent.clone(), event("1")]).expect(202);
        let events = workspace.events();
        assert_eq!(events.len(), 2);
        let stored = &events[0];
        assert_eq!(stored["event_type"], "tool_execution_completed");
        assert_eq!(stored["session_id"], "m1");
        assert_eq!(stored["agent"], "claude-code");
        assert_eq!(stored["tool_name"], "Bash");
        assert_eq!(stored["tool_use_id"], "toolu_1");
        assert_eq!(stored["subagent_id"], "a1");
        assert_eq!(stored["duration_ms"], 5);
        assert_eq!(stored["timestamp"], "2026-11-23T09:00:00.123000Z");
        assert_eq!(stored["data"], sent["payload"]);
        assert_eq!(
            stored["extra"],
            json!({
                "source_app": "shop", "hook_event_type": "PostToolUse", "model_name": "sonnet",
                "summary": "Ran it",
            })
        );
    }

    #[test]
    fn openhands_events_are_mapped_and_our_own_format_is_unchanged() {
        let workspace = Workspace::jsonl();
        let server = workspace.server().start();
        let theirs = json!({
            "event_type": "PreToolUse", "session_id": "o1", "tool_name": "terminal",
            "tool_input": { "command": "ls" }, "working_dir": "/workspace",
        });
        server.client.event(&theirs).expect(202);
        let mut ours = event("1");
        ours["event_type"] = json!("PreToolUse");
        ours["data"] = json!({});
        ours["tool_name"] = json!("kept aside");
        server.client.event(&ours).expect(202);
        let events = workspace.events();
        assert_eq!(events[0]["event_type"], "tool_execution_started");
        assert_eq!(events[0]["agent"], "openhands");
        assert_eq!(events[0]["tool_name"], "terminal");
        let mut data = theirs;
        data.as_object_mut().expect("an object").remove("session_id");
        assert_eq!(events[0]["data"], data);
        assert_eq!(events[1]["event_type"], "PreToolUse");
        assert_eq!(events[1]["extra"], json!({ "tool_name": "kept aside" }));
    }
}
