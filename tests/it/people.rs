//! `hooks-backend doctor` and `demo`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::Digest;

use crate::harness::server::Ended;
use crate::harness::{Server, Storage, Workspace, eventually};

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
    assert!(run(&home, &url, &["install", "cursor"]).status.success());
    assert!(run(&home, &url, &["install", "opencode"]).status.success());
    let doctor = run(&home, &url, &["doctor"]);
    assert!(doctor.status.success(), "{}", doctor.output);
    for words in [
        "healthy",
        "a test event was stored in",
        "events can be read",
        "cursor: ",
        "10 hooks",
        "opencode: ",
        "no problems",
    ] {
        assert!(doctor.output.contains(words), "{words}: {}", doctor.output);
    }
    assert_eq!(workspace.events()[0]["event_type"], "doctor_tested");
    // The test leaves no session that seems to run.
    eventually("the session has ended", || {
        let sessions = server.client.get("/sessions", &[]).expect(200).json();
        if sessions["sessions"][0]["state"] == "ended" { Ok(()) } else { Err(sessions) }
    });
}

/// The trust that Codex writes into its settings for each hook.
fn codex_trust(hooks_json: &Path) -> String {
    let hooks: Value =
        serde_json::from_str(&fs::read_to_string(hooks_json).expect("hooks")).expect("JSON");
    let entry = |(event, entries): (&String, &Value)| {
        let snake = event.char_indices().fold(String::new(), |snake, (at, character)| {
            let separator = if at > 0 && character.is_uppercase() { "_" } else { "" };
            format!("{snake}{separator}{}", character.to_lowercase())
        });
        let hook = &entries[0]["hooks"][0];
        let is_async = hook["async"] == json!(true);
        let command = &hook["command"];
        let timeout = &hook["timeout"];
        let matcher = entries[0].get("matcher").map_or("", |_| ",\"matcher\":\"*\"");
        let normal = format!(
            "{{\"event_name\":\"{snake}\",\"hooks\":[{{\"async\":{is_async},\"command\":{command},\
             \"timeout\":{timeout},\"type\":\"command\"}}]{matcher}}}"
        );
        let hash = sha2::Sha256::digest(normal);
        let hash = data_encoding::HEXLOWER.encode(&hash);
        format!(
            "[hooks.state.\"{}:{snake}:0:0\"]\ntrusted_hash = \"sha256:{hash}\"\n",
            hooks_json.display()
        )
    };
    hooks["hooks"].as_object().expect("hooks").iter().map(entry).collect()
}

#[test]
fn doctor_and_install_say_which_hooks_codex_does_not_trust() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let (home, url) = (Workspace::jsonl(), url(&server));
    let hooks_json = home.directory().join(".codex/hooks.json");
    let config = home.directory().join(".codex/config.toml");
    let doctor = || run(&home, &url, &["doctor"]);
    let installed = run(&home, &url, &["install", "codex"]);
    for output in [installed.output, doctor().output] {
        assert!(output.contains("Codex skips 12 of 12 hooks: 12 not trusted"), "{output}");
        assert!(output.contains("Trust all and continue"), "{output}");
    }
    let trust = codex_trust(&hooks_json);
    fs::write(&config, format!("model = \"gpt\"\n{trust}")).expect("a file");
    let ended = doctor();
    assert!(ended.status.success(), "{}", ended.output);

    let off = trust.replacen("trusted_hash", "enabled = false\ntrusted_hash", 1);
    fs::write(&config, off.replacen("sha256:", "sha256:0", 2)).expect("a file");
    let output = doctor().output;
    assert!(
        output
            .contains("Codex skips 2 of 12 hooks: 1 changed since they were trusted, 1 turned off"),
        "{output}"
    );
    fs::write(&config, format!("[features]\nhooks = false\n{trust}")).expect("a file");
    assert!(doctor().output.contains("hooks are turned off in"), "{}", doctor().output);
    fs::write(&config, "[features\n").expect("a file");
    assert!(
        doctor().output.contains("cannot tell which hooks Codex trusts"),
        "{}",
        doctor().output
    );
}

#[test]
fn doctor_sees_why_agents_do_not_run_hooks() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let (home, url) = (Workspace::jsonl(), url(&server));
    let directory = home.directory();
    let set = |file: &str, text: &str| {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    let disabled = "{\n // for now\n \"disableAllHooks\": true,\n}";
    for (agent, file) in [
        ("claude-code", ".claude/settings.json"),
        ("claude-code", ".claude/settings.local.json"),
        ("copilot", ".copilot/settings.json"),
        ("qwen", ".qwen/settings.json"),
    ] {
        set(file, disabled);
        let installed = run(&home, &url, &["install", agent]);
        let doctor = run(&home, &url, &["doctor"]);
        for output in [installed.output, doctor.output] {
            assert!(
                output.contains("all hooks are disabled by \"disableAllHooks\""),
                "{file}: {output}"
            );
        }
        assert!(run(&home, &url, &["uninstall", agent]).status.success());
        fs::remove_file(directory.join(file)).expect("removed");
    }
    set(".gemini/settings.json", "{\"hooksConfig\": {\"enabled\": false}}");
    let installed = run(&home, &url, &["install", "gemini"]).output;
    assert!(installed.contains("disabled by hooksConfig.enabled"), "{installed}");
}

#[test]
fn doctor_sees_a_proxy_for_http_hooks() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let (home, url) = (Workspace::jsonl(), url(&server));
    assert!(run(&home, &url, &["install", "claude-code", "--http"]).status.success());
    let doctor = |exempt: &str| {
        let command = Server::builder().directory(home.directory()).set("HOME", home.directory());
        let command = command.set("HOOKS_URL", &url).set("HTTP_PROXY", "http://192.0.2.1:3128");
        command.set("NO_PROXY", exempt).argument("doctor").run()
    };
    let output = doctor("example.com").output;
    assert!(output.contains("through the proxy in HTTP_PROXY, also to 127.0.0.1"), "{output}");
    assert!(doctor("example.com,127.0.0.1").status.success());
    // Commands do not go through it.
    assert!(run(&home, &url, &["install", "claude-code"]).status.success());
    assert!(doctor("").status.success());
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
        "24 hooks send to http://127.0.0.1:1",
        "registered twice",
        "cursor: ",
        "line 1",
        "spool.jsonl: 1",
    ] {
        assert!(doctor.output.contains(words), "{words}: {}", doctor.output);
    }
    assert_eq!(server.client.metric("hooks_events_stored_total"), 0);
}
