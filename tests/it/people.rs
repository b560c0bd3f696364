//! `hooks-backend doctor` and `demo`.

use std::fs;

use serde_json::json;

use crate::harness::server::Ended;
use crate::harness::{Server, Storage, Workspace};

both!(demo_sends_a_whole_session);

fn run(home: &Workspace, url: &str, arguments: &[&str]) -> Ended {
    let directory = home.directory();
    let mut command =
        Server::builder().directory(directory).set("HOME", directory).set("HOOKS_URL", url);
    for argument in arguments {
        command = command.argument(argument);
    }
    command.run()
}

fn url(server: &Server) -> String {
    format!("http://{}", server.client.address)
}

fn demo_sends_a_whole_session(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let home = Workspace::jsonl();
    for sessions in 1..=2 {
        let demo = run(&home, &url(&server), &["demo"]);
        assert!(demo.status.success(), "{}", demo.log);
        assert!(demo.output.contains("27 events of session demo-"), "{}", demo.output);
        let events = workspace.settled(&server);
        assert_eq!(events.len(), sessions * 27);
    }
    let mut events = workspace.settled(&server);
    events.sort_by_key(|event| event["timestamp"].as_str().map(str::to_owned));
    let of =
        |event_type: &str| events.iter().filter(|event| event["event_type"] == event_type).count();
    assert_eq!(of("session_started"), 2);
    assert_eq!(of("tool_execution_failed"), 2);
    assert_eq!(of("tool_blocked"), 2);
    assert!(events.iter().all(|event| event["agent"] == "claude-code"));
    let tokens: i64 = events.iter().filter_map(|event| event["input_tokens"].as_i64()).sum();
    assert_eq!(tokens, 2 * (4210 + 4890 + 6350 + 7020 + 7680));
}

#[test]
fn demo_gives_advice_when_it_cannot_send() {
    let home = Workspace::jsonl();
    let ended = run(&home, "http://127.0.0.1:1", &["demo"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains("start the server"), "{}", ended.log);
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "me:key-1:ingest").start();
    let ended = run(&home, &url(&server), &["demo"]);
    assert!(ended.log.contains("set HOOKS_API_KEY"), "{}", ended.log);
}

#[test]
fn doctor_succeeds_without_problems() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let (home, url) = (Workspace::jsonl(), url(&server));
    assert!(run(&home, &url, &["install", "codex"]).status.success());
    let doctor = run(&home, &url, &["doctor"]);
    assert!(doctor.status.success(), "{}", doctor.output);
    for words in ["healthy", "a test event was stored in", "codex: ", "10 hooks", "no problems"] {
        assert!(doctor.output.contains(words), "{words}: {}", doctor.output);
    }
    assert_eq!(workspace.events()[0]["event_type"], "doctor_tested");
}

#[test]
fn doctor_gives_advice_about_each_problem() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "me:key-1:ingest").start();
    let home = Workspace::jsonl();
    let doctor = run(&home, "http://127.0.0.1:1", &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    for words in ["no response from", "start the server", "no hooks are registered", "2 problems"] {
        assert!(doctor.output.contains(words), "{words}: {}", doctor.output);
    }

    let payload = json!({ "hook_event_name": "Stop", "session_id": "s" }).to_string();
    assert!(run(&home, "http://127.0.0.1:1", &["emit", &payload]).status.success());
    assert!(run(&home, "http://127.0.0.1:1", &["install", "claude-code"]).status.success());
    let project = home.directory().join("project");
    fs::create_dir(&project).expect("a directory");
    let in_project = |arguments: &[&str]| {
        let mut command = Server::builder()
            .directory(&project)
            .set("HOME", home.directory())
            .set("HOOKS_URL", url(&server));
        for argument in arguments {
            command = command.argument(argument);
        }
        command.run()
    };
    assert!(in_project(&["install", "claude-code", "--project"]).status.success());
    fs::create_dir(project.join(".cursor")).expect("a directory");
    fs::write(project.join(".cursor/hooks.json"), "{ hooks-backend emit --agent cursor")
        .expect("a file");
    let doctor = in_project(&["doctor"]);
    for words in [
        "a test event was rejected (401)",
        "set HOOKS_API_KEY",
        "17 hooks send to http://127.0.0.1:1",
        "registered twice",
        "cursor: ",
        "line 1",
        "spool.jsonl: 1",
    ] {
        assert!(doctor.output.contains(words), "{words}: {}", doctor.output);
    }
    assert_eq!(server.client.metric("hooks_events_stored_total"), 0);
}
