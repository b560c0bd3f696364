//! Sequences of hooks, shaped as real agents send them: what a session becomes of them.

use agentic_hooks_backend::event::Timestamp;
use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::{Server, Storage, Workspace};

both!(sequences_of_hooks_give_the_expected_sessions);

/// Cases: name, agent, events (an appendix of the path, and a payload), and members of the sessions in
/// `GET /sessions/{id}`. `<case>` is an ID of the case, `<ms>` and `<iso>` are the time.
const SEQUENCES: &str = include_str!("../payloads/sequences.json");

/// Replaces the ID of a case.
fn replaced(text: &str, number: usize) -> String {
    text.replace("<case>", &format!("case-{number}"))
}

/// Sends the events of a case. Each has the time of the one before it, and a millisecond.
fn send(server: &Server, case: &Value, number: usize) {
    let begin = Timestamp::now().micros();
    for (at, event) in case["events"].as_array().expect("events").iter().enumerate() {
        let micros = begin + 1000 * at as i64;
        let time = Timestamp::from_micros(micros).expect("a time").to_string();
        let path = |part: &Value| part.as_str().expect("a part of the path").to_owned();
        let path = format!("/hooks/{}{}", path(&case["agent"]), path(&event[0]));
        let payload = replaced(&event[1].to_string(), number)
            .replace("\"<ms>\"", &(micros / 1000).to_string())
            .replace("<iso>", &time);
        server.client.post(&path, JSON, &[], payload).expect(200);
    }
}

/// The members of a session that are not as expected.
fn differences(server: &Server, id: &str, expected: &Value, types: &[&str]) -> Vec<String> {
    let session = server.client.get(&format!("/sessions/{id}"), &[]).expect(200).json();
    let actual = |member: &str| match member {
        "types" => json!(types),
        "open_tools" => {
            let open = session["open_tools"].as_array().expect("a list").iter();
            open.map(|call| call["tool_name"].clone()).collect()
        }
        "subagents.agent_id" => session["subagents"][0]["agent_id"].clone(),
        member => session[member].clone(),
    };
    let members = expected.as_object().expect("members").iter();
    members
        .filter(|(member, value)| actual(member) != **value)
        .map(|(member, value)| format!("{member} of {id} is {}, not {value}", actual(member)))
        .collect()
}

fn sequences_of_hooks_give_the_expected_sessions(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let cases: Vec<Value> = serde_json::from_str(SEQUENCES).expect("cases");
    for (number, case) in cases.iter().enumerate() {
        send(&server, case, number);
    }
    let stored = workspace.settled(&server);
    crate::reading::shown(&server.client, stored.len());
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let expected = replaced(&case["expected"].to_string(), number);
        let expected: Value = serde_json::from_str(&expected).expect("sessions");
        for (id, expected) in expected.as_object().expect("sessions") {
            let of_session = stored.iter().filter(|event| event["session_id"] == **id);
            let mut types: Vec<&str> =
                of_session.filter_map(|event| event["event_type"].as_str()).collect();
            types.sort_unstable();
            let found = differences(&server, id, expected, &types);
            wrong.extend(found.into_iter().map(|found| format!("{}: {found}", case["name"])));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
