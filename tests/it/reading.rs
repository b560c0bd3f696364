//! `GET /events`: filters, pages and members, the same in both storages.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Storage, Workspace, eventually, ids};

both!(
    events_are_returned_as_stored_lines,
    every_filter_selects_matching_events,
    filters_by_id_combine_with_other_filters,
    times_are_timestamps_or_durations,
    pages_are_stable_while_events_arrive,
    events_with_equal_timestamps_are_paged_once,
    q_searches_data,
    fields_and_data_select_members,
    large_events_are_streamed,
    invalid_parameters_are_named,
);

/// Starts a server with these events, and waits until they can be read.
fn with(storage: Storage, events: &[Value]) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    server.client.batch(events).expect(202);
    shown(&server.client, events.len());
    (workspace, server)
}

/// Waits until this number of events can be read.
#[track_caller]
pub(crate) fn shown(client: &Client, events: usize) {
    eventually("the events are shown", || {
        let response = client.get("/events?limit=1000&fields=event_id", &[]);
        let is_shown = response.status == 200
            && response.json()["events"].as_array().map(Vec::len) == Some(events);
        // The health shows whether the events are not stored, or stored and not readable.
        if is_shown { Ok(()) } else { Err((response.text, client.health())) }
    });
}

/// Returns the events and the next cursor of a query.
#[track_caller]
fn find(server: &Server, query: &str) -> (Vec<Value>, Option<String>) {
    let response = server.client.get(&format!("/events?{query}"), &[]).expect(200);
    assert_eq!(response.header("content-type"), "application/json");
    let mut response = response.json();
    let Value::Array(events) = response["events"].take() else { panic!("{response}") };
    (events, response["next_cursor"].as_str().map(str::to_owned))
}

/// Returns an event of a past day.
fn at(second: u32, id: &str) -> Value {
    json!({
        "event_id": id, "event_type": "tested", "session_id": "s-1",
        "timestamp": format!("2026-11-20T10:00:{second:02}Z"),
    })
}

fn events_are_returned_as_stored_lines(storage: Storage) {
    let full = json!({
        "event_id": "é\"1", "event_type": "tool_execution_completed", "session_id": "s\\1",
        "workflow_id": "w", "phase_id": "p", "milestone_id": "m",
        "timestamp": "2026-11-20T10:00:00.123456+01:00", "cwd": "/tmp",
        "data": {"agent": "a", "duration_ms": 12, "nested": {"text": "x : y, z"},
                 "tool_name": "Bash", "tool_use_id": "u"},
    });
    let (workspace, server) = with(storage, std::slice::from_ref(&full));
    let text = server.client.get("/events", &[]).expect(200).text;
    let line = text
        .strip_prefix("{\"events\":[")
        .and_then(|text| text.strip_suffix("],\"next_cursor\":null}"))
        .unwrap_or_else(|| panic!("{text}"));
    let event: Value = serde_json::from_str(line).expect("an event");
    assert_eq!(event["timestamp"], "2026-11-20T09:00:00.123456Z");
    assert_eq!(event["extra"], json!({"cwd": "/tmp"}));
    assert_eq!(event["data"], full["data"]);
    if storage == Storage::Jsonl {
        assert_eq!(
            std::fs::read_to_string(workspace.file()).expect("the file"),
            format!("{line}\n")
        );
    } else {
        // PostgreSQL reorders the members of `data`.
        let journal = &workspace.journal_files("seg")[0];
        let journal = std::fs::read_to_string(journal).expect("a segment");
        let (sent_line, _) = journal.split_once('\t').expect("a checksum");
        let sent: Value = serde_json::from_str(sent_line).expect("JSON");
        assert_eq!(event, sent);
        let rest = |line: &str| line[line.find(",\"timestamp\":").expect("a time")..].to_owned();
        assert_eq!(rest(line), rest(sent_line));
    }
}

fn every_filter_selects_matching_events(storage: Storage) {
    let event = |id: &str, kind: &str, member: &str, data: Value| {
        let mut event = json!({
            "event_id": id, "event_type": kind, "session_id": "s-1", "data": data,
            "timestamp": "2026-11-20T10:00:00Z",
        });
        event[member] = json!(format!("{member}-{id}"));
        event
    };
    let events = [
        event("1", "a", "session_id", json!({})),
        event("2", "b", "workflow_id", json!({})),
        event("3", "c", "phase_id", json!({})),
        event("4", "c", "milestone_id", json!({})),
        event("5", "d", "extra_5", json!({"agent": "claude"})),
        event("6", "d", "extra_6", json!({"tool_name": "Bash"})),
        event("7", "d", "extra_7", json!({"tool_use_id": "use"})),
    ];
    let (_workspace, server) = with(storage, &events);
    for (query, expected) in [
        ("session_id=session_id-1", &["1"][..]),
        ("workflow_id=workflow_id-2", &["2"]),
        ("phase_id=phase_id-3", &["3"]),
        ("milestone_id=milestone_id-4", &["4"]),
        ("agent=claude", &["5"]),
        ("tool_name=Bash", &["6"]),
        ("tool_use_id=use", &["7"]),
        ("event_id=4", &["4"]),
        ("event_type=a", &["1"]),
        ("event_type=a,b", &["1", "2"]),
        ("event_type=a&event_type=c&phase_id=phase_id-3", &["3"]),
        ("event_type=d&tool_name=Bash&session_id=s-1", &["6"]),
        ("event_type=a&session_id=s-1", &[]),
        ("session_id=", &["2", "3", "4", "5", "6", "7", "1"]),
        ("session_id=nobody", &[]),
        ("session_id=a%00b", &[]),
    ] {
        let (found, next) = find(&server, &format!("order=asc&{query}"));
        let mut found = ids(&found);
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{query}");
        assert_eq!(next, None, "{query}");
    }
}

fn filters_by_id_combine_with_other_filters(storage: Storage) {
    // Twenty tool calls with their start and end, in two sessions.
    let used = |second: u32, event_type: &str| {
        let mut event = at(second, &format!("e-{second:02}"));
        event["event_type"] = json!(event_type);
        event["session_id"] = json!(format!("s-{}", second % 4 / 2));
        event["data"] = json!({
            "tool_use_id": format!("use-{}", second % 20), "tool_name": format!("tool-{}", second % 2),
        });
        event
    };
    let started = (0..20).map(|second| used(second, "tool_execution_started"));
    let ended = (20..40).map(|second| used(second, "tool_execution_completed"));
    // An event id that equals a tool call's id, and one that occurs in two sessions.
    let mut others = [at(50, "use-7"), at(51, "e-07")];
    others[1]["session_id"] = json!("s-2");
    others[0]["data"] = json!({ "tool_use_id": "use-7", "tool_name": "tool-0" });
    let events: Vec<_> = started.chain(ended).chain(others).collect();
    let (_workspace, server) = with(storage, &events);
    for (query, expected) in [
        ("event_id=e-05", &["e-05"][..]),
        ("event_id=e-07", &["e-07", "e-07"]),
        ("event_id=e-07&session_id=s-1", &["e-07"]),
        ("event_id=e-07&event_type=tested", &["e-07"]),
        ("event_id=e-07&tool_use_id=use-7", &["e-07"]),
        ("event_id=e-07&tool_use_id=use-8", &[]),
        ("event_id=use-8", &[]),
        ("event_id=nobody&q=use", &[]),
        ("tool_use_id=use-7", &["use-7", "e-27", "e-07"]),
        ("tool_use_id=use-7&order=asc", &["e-07", "e-27", "use-7"]),
        ("tool_use_id=use-7&tool_name=tool-1", &["e-27", "e-07"]),
        ("tool_use_id=use-7&event_type=tool_execution_completed,other", &["e-27"]),
        ("tool_use_id=use-7&since=2026-11-20T10:00:08Z&until=2026-11-20T10:00:50Z", &["e-27"]),
        ("tool_use_id=use-7&q=TOOL-0", &["use-7"]),
        ("tool_use_id=e-07", &[]),
    ] {
        assert_eq!(ids(&find(&server, query).0), expected, "{query}");
    }
    let (page, next) = find(&server, "tool_use_id=use-7&limit=2");
    assert_eq!(ids(&page), ["use-7", "e-27"]);
    let cursor = next.expect("a cursor");
    let (page, next) = find(&server, &format!("tool_use_id=use-7&limit=2&cursor={cursor}"));
    assert_eq!((ids(&page), next), (vec!["e-07"], None));

    let get = |path: &str| server.client.get(path, &[]).expect(200);
    let stats = get("/stats?tool_use_id=use-6&since=2026-11-20&until=2026-11-21&bucket=1d").json();
    assert_eq!(stats["events"], 2, "{stats}");
    assert_eq!(stats["tools"][0]["elapsed_ms"]["p50"], 20_000.0, "{stats}");
    let sessions = get("/sessions?event_id=e-06&since=2026-11-20").json();
    let sessions = sessions["sessions"].as_array().expect("a list");
    assert_eq!((sessions.len(), &sessions[0]["session_id"]), (1, &json!("s-1")));
    let exported = get("/events/export?tool_use_id=use-6&fields=event_id").text;
    assert_eq!(exported, "{\"event_id\":\"e-06\"}\n{\"event_id\":\"e-26\"}\n");
}

fn times_are_timestamps_or_durations(storage: Storage) {
    let mut now = at(0, "now");
    now.as_object_mut().expect("an object").remove("timestamp");
    let (_workspace, server) = with(storage, &[at(1, "1"), at(2, "2"), at(3, "3"), now]);
    for (query, expected) in [
        ("until=2026-11-20T10:00:03Z", &["2", "1"][..]),
        ("since=2026-11-20T10:00:02Z&until=2026-11-20T10:00:03Z", &["2"]),
        ("since=2026-11-20T10:00:03&until=1795168804", &["3"]),
        ("since=1795168802000&until=2026-11-21", &["3", "2"]),
        ("since=2026-11-20T12:00:03%2B02:00&until=2026-11-21", &["3"]),
        ("since=15m", &["now"]),
        ("since=1h&until=0s", &["now"]),
        ("until=1d", &["3", "2", "1"]),
    ] {
        assert_eq!(ids(&find(&server, query).0), expected, "{query}");
    }
}

fn pages_are_stable_while_events_arrive(storage: Storage) {
    let events: Vec<_> = (10..40).map(|second| at(second, &second.to_string())).collect();
    let (_workspace, server) = with(storage, &events);
    let mut found = Vec::new();
    let (page, mut next) = find(&server, "limit=7");
    found.extend(page);
    let mut more = 0;
    while let Some(cursor) = next {
        // One newer than all events, and one older than all events of the pages so far.
        server.client.batch(&[at(50 + more, &format!("new-{more}"))]).expect(202);
        more += 1;
        shown(&server.client, events.len() + more as usize);
        let page;
        (page, next) = find(&server, &format!("limit=7&cursor={cursor}"));
        assert!(page.len() <= 7);
        found.extend(page);
    }
    let expected: Vec<_> = (10..40).rev().map(|second| second.to_string()).collect();
    assert_eq!(ids(&found), expected);
    let (page, next) = find(&server, "limit=30&order=asc");
    assert_eq!(page.len(), 30);
    let (page, next) = find(&server, &format!("order=asc&cursor={}", next.expect("a cursor")));
    assert_eq!((page.len(), next), (more as usize, None));
}

fn events_with_equal_timestamps_are_paged_once(storage: Storage) {
    let events: Vec<_> = (0..50)
        .map(|number| {
            let mut event = at(0, &format!("e&=%{:02}", number / 2));
            event["session_id"] = json!(format!("s {}", number % 2));
            event
        })
        .collect();
    let (_workspace, server) = with(storage, &events);
    for order in ["asc", "desc"] {
        let mut found = Vec::new();
        let mut query = format!("limit=3&order={order}");
        loop {
            let (page, next) = find(&server, &query);
            found.extend(page);
            let Some(next) = next else { break };
            query = format!("limit=3&order={order}&cursor={next}");
        }
        let mut keys: Vec<_> = found
            .iter()
            .map(|event| (event["session_id"].to_string(), event["event_id"].to_string()))
            .collect();
        if order == "desc" {
            keys.reverse();
        }
        assert!(keys.is_sorted(), "{keys:?}");
        keys.dedup();
        assert_eq!(keys.len(), 50);
    }
}

fn q_searches_data(storage: Storage) {
    let mut events: Vec<_> = (0..20).map(|second| at(second, &second.to_string())).collect();
    events[3]["data"] = json!({"command": "cargo Test --all", "list": [1, 2]});
    events[7]["data"] = json!({"output": "running cargo test"});
    events[9]["workflow_id"] = json!("cargo test");
    let (_workspace, server) = with(storage, &events);
    for (query, expected) in [
        ("q=cargo%20test", &["7", "3"][..]),
        ("q=CARGO+TEST&order=asc", &["3", "7"]),
        ("q=%22list%22:[1,2]", &["3"]),
        ("q=%5C", &[]),
        ("q=cargo%25", &[]),
        ("q=cargo&data=false", &["7", "3"]),
    ] {
        assert_eq!(ids(&find(&server, query).0), expected, "{query}");
    }
    let (page, next) = find(&server, "q=cargo&limit=1");
    assert_eq!(ids(&page), ["7"]);
    let (page, next) = find(&server, &format!("q=cargo&cursor={}", next.expect("a cursor")));
    assert_eq!((ids(&page), next), (vec!["3"], None));
}

fn fields_and_data_select_members(storage: Storage) {
    let mut event = at(1, "1");
    event["data"] = json!({"tool_name": "Bash"});
    event["more"] = json!(1);
    let (_workspace, server) = with(storage, &[event]);
    let keys = |query: &str| -> Vec<String> {
        find(&server, query).0[0].as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys("fields=event_id,tool_name"), ["event_id", "tool_name"]);
    assert_eq!(keys("fields=event_id,data&data=false"), ["event_id"]);
    let without = keys("data=false");
    assert!(!without.contains(&"data".to_owned()) && !without.contains(&"extra".to_owned()));
    assert_eq!(without.len(), 9);
    assert_eq!(keys("data=true").len(), 11);
}

fn large_events_are_streamed(storage: Storage) {
    let events: Vec<_> = (0..40)
        .map(|second| {
            let mut event = at(second, &second.to_string());
            event["data"] = json!({"text": "x".repeat(300_000)});
            event
        })
        .collect();
    let (_workspace, server) = with(storage, &events);
    let (found, _) = find(&server, "limit=1000");
    assert_eq!(found.len(), 40);
    assert!(
        found.iter().all(|event| event["data"]["text"].as_str().map(str::len) == Some(300_000))
    );
}

fn invalid_parameters_are_named(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    shown(&server.client, 0);
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("since=yesterday", "since"),
        ("until=15x", "until"),
        ("order=up", "order"),
        ("cursor=zz", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("fields=event_id,secret", "fields"),
        ("data=no", "data"),
        ("session=1", "session"),
        ("session_id=1&session_id=2", "session_id"),
    ] {
        let problem = server.client.get(&format!("/events?{query}"), &[]).expect(422);
        assert_eq!(problem.header("content-type"), "application/problem+json");
        let problem = problem.json();
        assert_eq!(problem["parameter"], parameter, "{query}");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(parameter) && detail.contains("allowed"), "{detail}");
    }
}
