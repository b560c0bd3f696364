//! Odd forms of requests and lines around the values.

use serde_json::{Value, json};

use super::ways_in::{Place, settle};
use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Server, Storage, Workspace, ids, only};

both!(names_and_values_of_columns_follow_one_rule, text_is_found_however_it_was_escaped);

const MARKS: [&str; 3] = ["", "\u{feff}", "\u{feff}\u{feff}"];

fn line(id: &str) -> String {
    format!(r#"{{"event_id":"{id}","event_type":"t","session_id":"s","timestamp":1795000000}}"#)
}

fn found(server: &Server, query: &str) -> Vec<Value> {
    settle(server);
    let page = server.client.get(&format!("/events?session_id=s&{query}"), &[]).expect(200).json();
    page["events"].as_array().expect("events").clone()
}

#[test]
fn byte_order_marks_are_ignored_on_every_way_in() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let at = Place { workspace: &workspace, server: &server };
    crate::reading::shown(&server.client, 0);
    for (number, marks) in MARKS.into_iter().enumerate() {
        let [first, second] =
            ["a", "b"].map(|name| format!("{marks}{}", line(&format!("{name}{number}"))));
        server.client.post("/events/batch", NDJSON, &[], format!("{first}\n{second}")).expect(202);
        let [first, second] =
            ["c", "d"].map(|name| format!("{marks}{}", line(&format!("{name}{number}"))));
        at.import(format!("{first}\n{second}\n"));
        at.append(format!("{marks}{}\n", line(&format!("e{number}"))).as_bytes());
        let id = format!("f{number}");
        let headers =
            [("ce-specversion", "1.0"), ("ce-id", &id), ("ce-type", "t"), ("ce-subject", "s")];
        server.client.post("/events", JSON, &headers, format!("{marks}{{}}")).expect(202);
    }
    assert_eq!(found(&server, "").len(), 18);
}

#[test]
fn lines_of_other_programs_are_recognized_by_their_last_id() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    let at = Place { workspace: &workspace, server: &server };
    crate::reading::shown(&server.client, 0);
    let lines = [line(r"cut \ud83d"), line(r#"x","event_id":"last"#)];
    at.append(format!("{}\n{}\n", lines[0], lines[1]).as_bytes());
    let events = found(&server, "order=asc");
    let mut ids = ids(&events);
    ids.sort_unstable();
    assert_eq!(ids, ["cut \u{fffd}", "last"]);
    // After a start the keys are those in the file.
    server.stop();
    server.restart();
    for line in &lines {
        server.client.post("/events", JSON, &[], line).expect(202);
    }
    let file = std::fs::read_to_string(workspace.file()).expect("the file");
    assert_eq!(file.matches("\"session_id\":\"s\"").count(), 2, "{file}");
}

#[test]
fn texts_that_are_not_ascii_or_utf8_do_not_cost_an_event_or_an_id() {
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let at = Place { workspace: &workspace, server: &server };
    let payload = r#"{"hook_event_name":"Stop","session_id":"s"}"#;
    server
        .client
        .post("/hooks/claude-code", JSON, &[("x-workflow-id", "Prüfung")], payload)
        .expect(200);
    let arguments =
        [r#"{"hook_event_name":"Stop","session_id":"s","x":"#.as_bytes(), b"\"\xff\"}"].concat();
    let status = at
        .command(&["emit"])
        .arg(std::ffi::OsStr::from_bytes(&arguments))
        .env("WORKFLOW_ID", std::ffi::OsStr::from_bytes(b"w\xff"))
        .status();
    assert!(status.expect("a process").success());
    let workflows: Vec<Value> =
        workspace.events().iter().map(|event| event["workflow_id"].clone()).collect();
    assert_eq!(workflows, [json!("Prüfung"), json!("w\u{fffd}")]);
}

fn names_and_values_of_columns_follow_one_rule(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let cases = [
        (r#"{"tool\u005fname":"a"}"#, json!({ "tool_name": "a" })),
        (r#"{"tool_name":"a","tool_name":"b"}"#, json!({ "tool_name": "b" })),
        (r#"{"tool_name":"a","tool_name":null}"#, json!({ "tool_name": null })),
        (r#"{"tool_name":"a", "tool_name":[]}"#, json!({ "tool_name": null })),
        (r#"{"tool_name":""}"#, json!({ "tool_name": null })),
        (r#"{"tool_use_id":7}"#, json!({ "tool_use_id": "7" })),
        (r#"{"duration_ms":1e400}"#, json!({ "duration_ms": null })),
        (r#"{"input_tokens":12.0}"#, json!({ "input_tokens": 12 })),
        (r#"{"input_tokens":18446744073709551616}"#, json!({ "input_tokens": null })),
        (r#"{"input_tokens":-0}"#, json!({ "input_tokens": 0 })),
    ];
    for (number, (data, _)) in cases.iter().enumerate() {
        let event =
            format!(r#"{{"event_id":"{number}","event_type":"t","session_id":"s","data":{data}}}"#);
        server.client.post("/events", JSON, &[], event).expect(202);
    }
    let events = found(&server, "data=false");
    for (number, (data, expected)) in cases.iter().enumerate() {
        let event = only(&events, &number.to_string());
        for (name, value) in expected.as_object().expect("members") {
            assert_eq!(event[name], *value, "{data}");
        }
    }
}

fn text_is_found_however_it_was_escaped(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    for (id, text) in [("1", "Stra\\u00dfe \\/ \\ud83d\\ude00"), ("2", "Straße / 😀")] {
        let event = line(id)
            .replace("\"session_id\"", &format!("\"data\":{{\"t\":\"{text}\"}},\"session_id\""));
        server.client.post("/events", JSON, &[], event).expect(202);
    }
    let query = "q=STRA%C3%9Fe%20/%20%F0%9F%98%80&order=asc";
    assert_eq!(ids(&found(&server, query)), ["1", "2"]);
}

#[test]
fn cells_are_no_formulas_on_request() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    for (number, text) in ["=1", "+1", "-1", "@a", "\\t=1", "a=1"].iter().enumerate() {
        let data = format!(r#""data":{{"tool_name":"{text}","duration_ms":-1}},"session_id""#);
        let event = line(&number.to_string()).replace("\"session_id\"", &data);
        server.client.post("/events", JSON, &[], event).expect(202);
    }
    settle(&server);
    let export = |query: &str| {
        let path = format!("/events/export?session_id=s&fields=tool_name,duration_ms&{query}");
        server.client.get(&path, &[])
    };
    let cells =
        "tool_name,duration_ms\r\n=1,-1\r\n+1,-1\r\n-1,-1\r\n@a,-1\r\n\t=1,-1\r\na=1,-1\r\n";
    assert_eq!(export("format=csv").expect(200).text, cells);
    let cells =
        "tool_name,duration_ms\r\n'=1,-1\r\n'+1,-1\r\n'-1,-1\r\n'@a,-1\r\n'\t=1,-1\r\na=1,-1\r\n";
    assert_eq!(export("format=csv&spreadsheet=true").expect(200).text, cells);
    assert_eq!(export("spreadsheet=true").expect(422).json()["parameter"], "spreadsheet");
}
