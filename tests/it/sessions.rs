//! `GET /sessions`, `/sessions/{id}` and `/stats`: sessions and statistics, the same in both storages.

use serde_json::{Value, json};

use crate::harness::{Server, Storage, Workspace};

both!(
    sessions_are_sorted_by_last_event,
    session_details_are_derived_from_events,
    pages_list_each_session_once,
    stats_count_events_and_measure_tools,
    invalid_parameters_are_named,
    state_is_decided_by_hooks_and_not_by_telemetry,
);

fn with(storage: Storage, events: &[Value]) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    server.client.batch(events).expect(202);
    crate::reading::shown(&server.client, events.len());
    (workspace, server)
}

/// Returns an event of some seconds ago.
fn ago(seconds: u64, session_id: &str, event_type: &str, data: &Value) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    json!({
        "session_id": session_id, "event_type": event_type, "data": data,
        "timestamp": now.as_secs_f64() - seconds as f64,
    })
}

fn get(server: &Server, path: &str) -> Value {
    server.client.get(path, &[]).expect(200).json()
}

fn session_ids(list: &Value) -> Vec<&str> {
    let sessions = list["sessions"].as_array().expect("a list");
    sessions.iter().map(|session| session["session_id"].as_str().expect("an id")).collect()
}

fn sessions_are_sorted_by_last_event(storage: Storage) {
    let none = || json!({});
    let (_workspace, server) = with(
        storage,
        &[
            ago(90_000, "old", "session_started", &none()),
            ago(500, "ended", "session_started", &none()),
            ago(300, "ended", "session_completed", &none()),
            ago(200, "running", "session_started", &none()),
            ago(100, "running", "tool_execution_started", &none()),
            ago(5000, "quiet", "tool_execution_started", &none()),
            ago(4000, "waiting", "user_prompt_submitted", &none()),
            ago(3000, "waiting", "agent_stopped", &none()),
            ago(90_000, "again", "session_started", &none()),
            ago(10, "again", "permission_requested", &none()),
        ],
    );
    let list = get(&server, "/sessions");
    assert_eq!(session_ids(&list), ["again", "running", "ended", "waiting", "quiet"]);
    assert_eq!(list["next_cursor"], json!(null));
    let states: Vec<_> = list["sessions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|session| &session["state"])
        .collect();
    assert_eq!(states, ["waiting", "running", "ended", "waiting", "quiet"]);
    // Counts all events of the session, including those before `since`.
    assert_eq!(list["sessions"][0]["events"], 2);
    assert_eq!(session_ids(&get(&server, "/sessions?since=2d")).last(), Some(&"old"));
    assert_eq!(session_ids(&get(&server, "/sessions?since=1d&until=1h")), ["waiting", "quiet"]);
    assert_eq!(session_ids(&get(&server, "/sessions?event_type=agent_stopped")), ["waiting"]);
}

fn session_details_are_derived_from_events(storage: Storage) {
    let tool = |name: &str| json!({"tool_name": name, "agent": "claude-code"});
    let mut start = ago(100, "a session/1", "session_started", &json!({"cwd": "/home/me"}));
    start["workflow_id"] = json!("w-1");
    let (_workspace, server) = with(
        storage,
        &[
            start,
            ago(99, "a session/1", "user_prompt_submitted", &json!({"prompt": "mend \"it\"\n"})),
            ago(98, "a session/1", "tool_execution_completed", &tool("Bash")),
            ago(97, "a session/1", "tool_execution_failed", &tool("Bash")),
            ago(96, "a session/1", "tool_execution_completed", &tool("Read")),
            ago(95, "a session/1", "tool_blocked", &tool("Write")),
            ago(
                94,
                "a session/1",
                "subagent_started",
                &json!({"agent_id": "x", "agent_type": "Explore"}),
            ),
            ago(93, "a session/1", "user_prompt_submitted", &json!({"prompt": "again"})),
            ago(92, "another", "tool_execution_failed", &tool("Bash")),
        ],
    );
    let session = get(&server, "/sessions/a%20session%2F1");
    for (member, expected) in [
        ("session_id", json!("a session/1")),
        ("state", json!("running")),
        ("events", json!(8)),
        ("prompts", json!(2)),
        ("tool_uses", json!(3)),
        ("tool_failures", json!(1)),
        ("tools_blocked", json!(1)),
        ("workflow_id", json!("w-1")),
        ("agent", json!("claude-code")),
        ("cwd", json!("/home/me")),
        ("first_prompt", json!("mend \"it\"\n")),
        (
            "tools",
            json!([
                {"tool_name": "Bash", "uses": 2, "failures": 1},
                {"tool_name": "Read", "uses": 1, "failures": 0},
            ]),
        ),
    ] {
        assert_eq!(session[member], expected, "{member} of {session}");
    }
    assert_eq!(session["subagents"][0]["agent_type"], "Explore");
    assert!(session["started_at"].as_str() < session["last_event_at"].as_str());
    let problem = server.client.get("/sessions/nobody", &[]).expect(404).json();
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("nobody")));
}

fn pages_list_each_session_once(storage: Storage) {
    // Interleaved sessions, some with equal last timestamps, and one with many events.
    let mut events = Vec::new();
    for number in 0..25 {
        let id = format!("s-{number}");
        events.push(ago(5000 + number / 3, &id, "session_completed", &json!({})));
        events.push(ago(10_000 + 100 * ((number * 7) % 25), &id, "agent_stopped", &json!({})));
        events.push(ago(20_000 - number, &id, "session_started", &json!({})));
    }
    events.extend((0..700).map(|number| ago(100 + number, "busy", "agent_response", &json!({}))));
    let (_workspace, server) = with(storage, &events);
    let all = |filter: &str| {
        let (mut found, mut path) = (Vec::new(), format!("/sessions?limit=4{filter}"));
        loop {
            let list = get(&server, &path);
            let sessions = list["sessions"].as_array().expect("a list");
            found.extend(sessions.iter().cloned());
            let Some(cursor) = list["next_cursor"].as_str() else { break found };
            path = format!("/sessions?limit=4{filter}&cursor={cursor}");
        }
    };
    let page_position = |session: &Value| {
        let text = |name: &str| session[name].as_str().expect(name).to_owned();
        (text("last_event_at"), text("session_id"))
    };
    let found: Vec<_> = all("").iter().map(page_position).collect();
    assert_eq!(found.len(), 26);
    assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
    let started = all("&event_type=session_started");
    let expected: Vec<_> = (0..25).rev().map(|number| format!("s-{number}")).collect();
    assert_eq!(
        started.iter().map(|session| page_position(session).1).collect::<Vec<_>>(),
        expected
    );
    let some = all("&event_type=agent_stopped&since=15000s&until=10950s");
    assert_eq!(some.len(), 15);
    assert!(some.iter().all(|session| session["events"] == 3), "{some:?}");
}

fn stats_count_events_and_measure_tools(storage: Storage) {
    let at = |milli: u32, kind: &str, id: u32, tool: &str, duration_ms: Option<u32>| {
        json!({
            "session_id": "s", "event_type": kind,
            "timestamp": format!("2026-11-20T10:{:02}:{:02}.{:03}Z", milli / 60_000, milli / 1000 % 60, milli % 1000),
            "data": {"tool_name": tool, "tool_use_id": id.to_string(), "duration_ms": duration_ms},
        })
    };
    let mut events = Vec::new();
    for use_id in 0..100 {
        events.push(at(use_id * 1000, "tool_execution_started", use_id, "Bash", None));
        let kind = if use_id < 90 { "tool_execution_completed" } else { "tool_execution_failed" };
        events.push(at(use_id * 1000 + 2 * (use_id + 1), kind, use_id, "Bash", Some(use_id + 1)));
    }
    events.push(at(100_000, "tool_blocked", 500, "Write", None));
    for cost in [0.1, 0.2] {
        let mut request = at(101_000, "claude_code.api_request", 0, "", None);
        request["data"] = json!({"input_tokens": 20, "output_tokens": 3, "cost_usd": cost});
        events.push(request);
    }
    let (_workspace, server) = with(storage, &events);
    let span = "since=2026-11-20T10:00:00Z&until=2026-11-20T10:02:00Z";
    let stats = get(&server, &format!("/stats?{span}&bucket=1m"));
    assert_eq!(stats["events"], 203);
    for usage in [&stats, &stats["buckets"][1]] {
        let used = (&usage["input_tokens"], &usage["output_tokens"], &usage["cost_usd"]);
        assert_eq!(used, (&json!(40), &json!(6), &json!(0.3)));
    }
    assert_eq!(stats["truncated"], false);
    assert_eq!(stats["bucket_seconds"], 60);
    assert_eq!(stats["since"], "2026-11-20T10:00:00.000000Z");
    let buckets = stats["buckets"].as_array().expect("buckets");
    assert_eq!(buckets.len(), 2);
    assert_eq!(
        buckets[0],
        json!({
            "start": "2026-11-20T10:00:00.000000Z", "events": 120,
            "types": {"tool_execution_completed": 60, "tool_execution_started": 60},
            "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0,
        })
    );
    assert_eq!(buckets[1]["types"]["tool_execution_failed"], 10);
    assert_eq!(
        stats["tools"],
        json!([
            {
                "tool_name": "Bash", "uses": 100, "failures": 10, "blocked": 0,
                "execution_ms": {"count": 100, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0},
                "elapsed_ms": {"count": 100, "p50": 100.0, "p95": 190.0, "p99": 198.0, "max": 200.0},
            },
            {
                "tool_name": "Write", "uses": 0, "failures": 0, "blocked": 1,
                "execution_ms": null, "elapsed_ms": null,
            },
        ])
    );
    let failed = get(&server, &format!("/stats?{span}&event_type=tool_execution_failed"));
    assert_eq!(failed["events"], 10);
    assert_eq!(get(&server, "/stats")["events"], 0);
}

fn invalid_parameters_are_named(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    for (path, parameter) in [
        ("/sessions?limit=201", "limit"),
        ("/sessions?cursor=1", "cursor"),
        ("/sessions?q=text", "q"),
        ("/sessions/1?limit=1", "limit"),
        ("/stats?bucket=0s", "bucket"),
        ("/stats?bucket=1s&since=30d", "bucket"),
        ("/stats?bucket=often", "bucket"),
        ("/stats?since=then", "since"),
    ] {
        let problem = server.client.get(path, &[]).expect(422).json();
        assert_eq!(problem["parameter"], parameter, "{path}");
    }
}

fn state_is_decided_by_hooks_and_not_by_telemetry(storage: Storage) {
    let none = || json!({});
    let mut events = Vec::new();
    for (session_id, types, _) in STATES {
        let types = types.iter().enumerate();
        events.extend(types.map(|(at, name)| ago(100 - at as u64, session_id, name, &none())));
    }
    // A telemetry exporter sends more events than are searched for the directory.
    let request = |at: u64| ago(300 - at, "cwd", "claude_code.api_request", &none());
    events.extend((0..30).map(request));
    events.push(ago(200, "cwd", "session_started", &json!({ "cwd": "/home/me" })));
    let prompt = json!({ "prompt": "mend it" });
    events.push(ago(199, "cwd", "user_prompt_submitted", &prompt));
    // Telemetry of a sub-agent of Codex has the ID of the sub-agent as its session.
    events.push(ago(50, "parent", "subagent_started", &json!({ "subagent_id": "child" })));
    events.push(ago(49, "child", "codex.conversation_starts", &none()));
    let (_workspace, server) = with(storage, &events);
    assert_eq!(get(&server, "/sessions/child")["parent_session_id"], "parent");
    assert_eq!(get(&server, "/sessions/parent")["parent_session_id"], json!(null));
    for (session_id, _, state) in STATES {
        let session = get(&server, &format!("/sessions/{session_id}"));
        assert_eq!(session["state"], *state, "{session_id}");
    }
    let session = get(&server, "/sessions/cwd");
    assert_eq!(
        (&session["cwd"], &session["first_prompt"]),
        (&json!("/home/me"), &json!("mend it"))
    );
}

/// Sessions, their events, and the state after these.
const STATES: &[(&str, &[&str], &str)] = &[
    ("telemetry-after-stop", &["agent_stopped", "claude_code.api_request", "log"], "waiting"),
    ("telemetry-after-end", &["session_completed", "gen_ai.chat"], "ended"),
    ("telemetry-alone", &["codex.user_prompt"], "running"),
    (
        "compacted-while-waiting",
        &["agent_stopped", "context_compacting", "session_started", "context_compacted"],
        "waiting",
    ),
    (
        "compacted-while-working",
        &["user_prompt_submitted", "context_compacting", "session_started", "context_compacted"],
        "running",
    ),
    (
        "prompt-after-compaction",
        &["agent_stopped", "context_compacted", "user_prompt_submitted"],
        "running",
    ),
    ("failure-after-end", &["session_completed", "agent_failed"], "ended"),
    ("failure", &["user_prompt_submitted", "agent_failed"], "waiting"),
    ("resumed", &["agent_stopped", "session_completed", "session_started"], "running"),
    ("tested", &["doctor_tested"], "ended"),
];
