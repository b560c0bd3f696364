//! `hooks-backend install` and `uninstall`: everything else in a settings file is kept byte for byte.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::server::Ended;
use crate::harness::{Server, Workspace, eventually};

/// Agent, settings file of the user, settings file of the project.
const FILES: [(&str, &str, &str); 6] = [
    ("claude-code", ".claude/settings.json", ".claude/settings.json"),
    ("codex", ".codex/hooks.json", ".codex/hooks.json"),
    ("gemini", ".gemini/settings.json", ".gemini/settings.json"),
    ("cursor", ".cursor/hooks.json", ".cursor/hooks.json"),
    ("copilot", ".copilot/hooks/hooks-backend.json", ".github/hooks/hooks-backend.json"),
    ("qwen", ".qwen/settings.json", ".qwen/settings.json"),
];

/// Settings found in practice: hooks of others, comments, trailing commas, tabs, uneven white space.
const SETTINGS: [&str; 6] = [
    "{}\n",
    "",
    r#"{"version":1,"model":"opus","hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"guard.sh \"$X\" // no comment"}]}],"Stop":[]}}"#,
    "{\n\t// mine\n\t\"version\": 1,\n\t\"permissions\": { \"allow\": [ \"Bash(ls:*)\" ], },\n\t\"hooks\": {\n\t\t/* others' */\n\t\t\"PreToolUse\": [\n\t\t\t{\n\t\t\t\t\"matcher\": \"Edit|Write\",\n\t\t\t\t\"hooks\": [ { \"type\": \"command\", \"command\": \"fmt\" } ],\n\t\t\t}, // last\n\t\t],\n\t},\n}\n",
    "{\r\n    \"version\": 1,\r\n    \"hooks\": {\r\n        \"preToolUse\": [ { \"command\": \"./audit.sh\" } ],\r\n        \"BeforeTool\": [\r\n        ]\r\n    },\r\n    \"env\": { \"A\": \"1\"   }\r\n}",
    "\u{feff}{\n  \"version\": 1\n  ,\"hooks\" :\n  { }\n}\n\n",
];

fn run(home: &Path, arguments: &[&str]) -> Ended {
    let mut command = Server::builder().directory(home).set("HOME", home);
    for argument in arguments {
        command = command.argument(argument);
    }
    command.run()
}

#[track_caller]
fn succeed(home: &Path, arguments: &[&str]) -> String {
    let ended = run(home, arguments);
    assert!(ended.status.success(), "{arguments:?}: {}", ended.log);
    ended.output
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the settings")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn uninstall_restores_settings_byte_for_byte() {
    for (agent, user, project) in FILES {
        for (file, scope) in [(user, "--user"), (project, "--project")] {
            for before in SETTINGS {
                let workspace = Workspace::jsonl();
                let home = workspace.directory();
                let path = home.join(file);
                write(&path, before);
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(&path, mode.clone()).expect("a mode");

                let shown = succeed(home, &["install", agent, scope]);
                let after = text(&path);
                assert_ne!(after, before);
                assert!(shown.contains("\n+"), "{shown}");
                // Hooks of others and comments are kept.
                for kept in ["// mine", "/* others' */", "guard.sh", "./audit.sh", "// last"] {
                    assert_eq!(after.contains(kept), before.contains(kept), "{kept}: {after}");
                }
                let again = succeed(home, &["install", agent, scope]);
                assert!(again.contains("nothing to change"), "{again}");
                assert_eq!(text(&path), after);

                succeed(home, &["uninstall", agent, scope]);
                assert_eq!(text(&path), before, "{agent} {scope}");
                assert_eq!(
                    fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
                    0o600
                );
                assert_eq!(files(path.parent().expect("a directory")), std::slice::from_ref(&path));
                let nothing = succeed(home, &["uninstall", agent, scope]);
                assert!(nothing.contains("nothing to remove"), "{nothing}");
            }
        }
    }
}

#[test]
fn uninstall_deletes_a_file_created_by_install() {
    for (agent, file, _) in FILES {
        let workspace = Workspace::jsonl();
        let path = workspace.directory().join(file);
        let shown = succeed(workspace.directory(), &["install", agent, "--dry-run"]);
        assert!(shown.contains('+') && !path.exists(), "{shown}");
        succeed(workspace.directory(), &["install", agent]);
        let settings: Value = serde_json::from_str(&text(&path)).expect("JSON");
        let hooks = settings["hooks"].as_object().expect("hooks");
        assert!(hooks.len() >= 8, "{settings}");
        let shown = succeed(workspace.directory(), &["uninstall", agent]);
        assert!(shown.contains("deleted") && !path.exists(), "{shown}");
    }
}

#[test]
fn uninstall_keeps_changes_made_after_install() {
    let workspace = Workspace::jsonl();
    let path = workspace.directory().join(".claude/settings.json");
    write(&path, "{\n  \"model\": \"opus\"\n}\n");
    succeed(workspace.directory(), &["install", "claude-code"]);
    let theirs = json!({ "type": "command", "command": "say done" });
    let mut settings: Value = serde_json::from_str(&text(&path)).expect("JSON");
    settings["hooks"]["Stop"][0]["hooks"].as_array_mut().expect("hooks").push(theirs.clone());
    settings["hooks"]["PreToolUse"]
        .as_array_mut()
        .expect("entries")
        .insert(0, json!({ "hooks": [theirs] }));
    settings["model"] = json!("sonnet");
    write(&path, &settings.to_string());

    // Installing again replaces the server URL.
    succeed(
        workspace.directory(),
        &["install", "claude-code", "--url", "http://hooks.example:9000/"],
    );
    let after = text(&path);
    assert!(after.contains("--url http://hooks.example:9000"), "{after}");
    assert!(!after.contains("127.0.0.1"), "{after}");
    succeed(workspace.directory(), &["uninstall", "claude-code"]);
    let left: Value = serde_json::from_str(&text(&path)).expect("JSON");
    assert_eq!(
        left,
        json!({
            "model": "sonnet",
            "hooks": { "Stop": [{ "hooks": [theirs] }], "PreToolUse": [{ "hooks": [theirs] }] },
        })
    );
}

#[test]
fn symbolic_link_is_kept() {
    let workspace = Workspace::jsonl();
    let (path, target) = (
        workspace.directory().join(".gemini/settings.json"),
        workspace.directory().join("dotfiles.json"),
    );
    write(&target, "{ }");
    fs::create_dir(workspace.directory().join(".gemini")).expect("a directory");
    std::os::unix::fs::symlink(&target, &path).expect("a link");
    succeed(workspace.directory(), &["install", "gemini"]);
    assert!(path.is_symlink() && text(&target).contains("BeforeTool"));
    succeed(workspace.directory(), &["uninstall", "gemini"]);
    assert_eq!((path.is_symlink(), &*text(&target)), (true, "{ }"));
}

#[test]
fn invalid_settings_and_arguments_are_rejected_with_a_reason() {
    let workspace = Workspace::jsonl();
    let path = workspace.directory().join(".cursor/hooks.json");
    for (before, reason) in [
        ("{\n  \"hooks\": {\n", "line 2, column 12"),
        ("[]", "not a JSON object"),
        ("{\"hooks\": {\"stop\": \"x\"}}", "'hooks.stop' is not an array"),
    ] {
        write(&path, before);
        let ended = run(workspace.directory(), &["install", "cursor"]);
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.log.contains(reason) && ended.log.contains("hooks.json"), "{}", ended.log);
        assert_eq!(text(&path), before);
    }
    for (arguments, reason) in [
        (&["install", "cursor", "--url", "localhost:8080"][..], "must be like http://"),
        (&["install", "claude-code", "--url", "http://x/'; rm -rf"], "must be like http://"),
        (
            &["install", "emacs"],
            "claude-code, codex, gemini, cursor, copilot, qwen, opencode, cline",
        ),
        (&["install", "codex", "--http"], "only claude-code sends HTTP requests"),
    ] {
        let ended = run(workspace.directory(), arguments);
        assert!(!ended.status.success() && ended.log.contains(reason), "{}", ended.log);
    }
}

/// The hook for an event in a settings file.
fn hook(path: &Path, event: &str) -> Value {
    let settings: Value = serde_json::from_str(&text(path)).expect("JSON");
    let entry = settings["hooks"][event][0].clone();
    entry["hooks"].get(0).unwrap_or(&entry).clone()
}

/// Runs a registered command, or sends a registered request, as the agent would.
fn fire(server: &Server, home: &Path, hook: &Value, payload: &str) {
    if let Some(address) = hook["url"].as_str() {
        let path = address.split_once("/hooks/").expect("our server").1;
        let headers = [("X-Workflow-Id", ""), ("Authorization", "Bearer ")];
        server.client.post(&format!("/hooks/{path}"), JSON, &headers, payload).expect(200);
        return;
    }
    let command = hook["command"].as_str().or(hook["bash"].as_str()).expect("a command");
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    child.stdin.take().expect("a pipe").write_all(payload.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn registered_hooks_reach_the_server() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let url = format!("http://{}", server.client.address);
    let home = Workspace::jsonl();
    let mut expected = Vec::new();
    for (agent, file, _) in FILES {
        for (session, options) in [("command", &[][..]), ("http", &["--http"])] {
            if agent != "claude-code" && session == "http" {
                continue;
            }
            succeed(home.directory(), &[&["install", agent, "--url", &url], options].concat());
            let event =
                if matches!(agent, "cursor" | "copilot") { "sessionEnd" } else { "SessionEnd" };
            let session = format!("{agent}-{session}");
            let payload = json!({ "session_id": session, "hook_event_name": event }).to_string();
            fire(&server, home.directory(), &hook(&home.directory().join(file), event), &payload);
            expected.push(session);
        }
    }
    let sessions = |event: &Value| event["session_id"].as_str().expect("text").to_owned();
    let mut stored: Vec<String> = workspace.events().iter().map(sessions).collect();
    stored.sort_unstable();
    expected.sort_unstable();
    assert_eq!(stored, expected);
}

/// Agents end `async` hooks when they exit, and wait for all others.
#[test]
fn hooks_do_not_make_the_agent_wait_and_are_not_lost_at_its_exit() {
    let workspace = Workspace::jsonl();
    let home = workspace.directory();
    let hook = |agent: &str, file: &str, event: &str| {
        succeed(home, &["install", agent]);
        hook(&home.join(file), event)
    };
    let is_background = |hook: &Value| {
        hook["command"]
            .as_str()
            .or(hook["bash"].as_str())
            .is_some_and(|c| c.contains(" --background "))
    };
    for (agent, file, tool, last) in [
        ("claude-code", ".claude/settings.json", "PreToolUse", "SessionEnd"),
        ("codex", ".codex/hooks.json", "PreToolUse", "SessionEnd"),
        ("gemini", ".gemini/settings.json", "BeforeTool", "SessionEnd"),
        ("cursor", ".cursor/hooks.json", "preToolUse", "sessionEnd"),
        ("copilot", ".copilot/hooks/hooks-backend.json", "preToolUse", "sessionEnd"),
        ("qwen", ".qwen/settings.json", "PreToolUse", "SessionEnd"),
    ] {
        let tool = hook(agent, file, tool);
        let has_async = matches!(agent, "claude-code" | "codex");
        assert!(is_background(&tool), "{agent}: {tool}");
        assert_eq!(tool["async"] == json!(true), has_async, "{agent}: {tool}");
        let last = hook(agent, file, last);
        assert!(last["async"].is_null() && !is_background(&last), "{agent}: {last}");
    }
    for (agent, file) in [("claude-code", ".claude/settings.json"), ("codex", ".codex/hooks.json")]
    {
        let stop = hook(agent, file, "Stop");
        assert!(stop["async"].is_null() && is_background(&stop), "{agent}: {stop}");
    }
    // Codex warns about longer time-outs of these.
    for event in ["SessionEnd", "Interrupt"] {
        assert_eq!(hook("codex", ".codex/hooks.json", event)["timeout"], 3);
    }
    let claude: Value =
        serde_json::from_str(&text(&home.join(".claude/settings.json"))).expect("JSON");
    assert!(claude["hooks"]["WorktreeCreate"].is_null(), "it would have to answer with a path");
}

#[test]
fn registrations_of_user_and_project_are_told_apart_where_both_run() {
    let workspace = Workspace::jsonl();
    let home = workspace.directory().join("home");
    let project = workspace.directory().join("project");
    fs::create_dir_all(&home).expect("a directory");
    fs::create_dir_all(&project).expect("a directory");
    let install = |agent: &str, scope: &str| {
        let command = Server::builder().directory(&project).set("HOME", &home);
        let ended = command.argument("install").argument(agent).argument(scope).run();
        assert!(ended.status.success(), "{}", ended.log);
    };
    for (agent, user, in_project) in FILES {
        install(agent, "--user");
        install(agent, "--project");
        let event =
            if matches!(agent, "cursor" | "copilot") { "sessionStart" } else { "SessionStart" };
        let (user, in_project) =
            (hook(&home.join(user), event), hook(&project.join(in_project), event));
        // The others run a command once that is registered twice.
        let runs_twice = matches!(agent, "codex" | "cursor" | "copilot");
        assert_eq!(user != in_project, runs_twice, "{agent}: {user} {in_project}");
    }
}

#[test]
fn command_keeps_the_path_by_which_the_program_was_called() {
    let workspace = Workspace::jsonl();
    let directory = workspace.directory();
    let link = directory.join("hooks-backend");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hooks-backend"), &link).expect("a link");
    for program in [link.to_str().expect("a path"), "hooks-backend"] {
        let ended = Command::new(program)
            .args(["install", "codex"])
            .env_clear()
            .env("PATH", directory)
            .env("HOME", directory)
            .output()
            .expect("it runs");
        assert!(ended.status.success(), "{ended:?}");
        let command = hook(&directory.join(".codex/hooks.json"), "Stop")["command"].to_string();
        assert!(command.starts_with(&format!("\"{} emit", link.display())), "{command}");
        fs::remove_file(directory.join(".codex/hooks.json")).expect("removed");
    }
}

#[test]
fn directories_of_agents_can_be_moved() {
    let workspace = Workspace::jsonl();
    let home = workspace.directory();
    for (agent, variable, file) in [
        ("claude-code", "CLAUDE_CONFIG_DIR", "settings.json"),
        ("codex", "CODEX_HOME", "hooks.json"),
        ("copilot", "COPILOT_HOME", "hooks/hooks-backend.json"),
    ] {
        let moved = home.join(format!("moved-{agent}"));
        let command = Server::builder().directory(home).set("HOME", home).set(variable, &moved);
        let ended = command.argument("install").argument(agent).run();
        assert!(ended.status.success(), "{}", ended.log);
        assert!(moved.join(file).exists(), "{agent}");
    }
}

#[test]
fn opencode_gets_a_plugin() {
    let workspace = Workspace::jsonl();
    let home = workspace.directory();
    for (path, options) in [
        (".config/opencode/plugin/hooks-backend.js", &[][..]),
        (".opencode/plugin/hooks-backend.js", &["--project"]),
    ] {
        let path = home.join(path);
        let with = |name: &'static str| [&[name, "opencode"], options].concat();
        succeed(home, &[&with("install")[..], &["--dry-run"]].concat());
        assert!(!path.exists());
        succeed(home, &[&with("install")[..], &["--url", "http://hooks.example:9000"]].concat());
        let plugin = text(&path);
        assert!(
            plugin.contains("const URL = \"http://hooks.example:9000\"") && !plugin.contains("{{")
        );
        assert!(
            succeed(
                home,
                &[&with("install")[..], &["--url", "http://hooks.example:9000"]].concat()
            )
            .contains("nothing to change")
        );
        succeed(home, &with("uninstall"));
        assert!(!path.exists());
        assert!(succeed(home, &with("uninstall")).contains("nothing to remove"));
        write(&path, "// theirs");
        let ended = run(home, &with("install"));
        assert!(ended.log.contains("was not written by hooks-backend"), "{}", ended.log);
        succeed(home, &with("uninstall"));
        assert_eq!(text(&path), "// theirs");
    }
}

/// The lines that `install cline` and `install openhands` print work as they are.
#[test]
fn printed_lines_set_up_the_agents_without_settings() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let url = format!("http://{}", server.client.address);
    let home = Workspace::jsonl();
    let home = home.directory();
    let shown = succeed(home, &["install", "cline", "--url", &url]);
    let start = shown.find("mkdir").expect("the commands");
    let end = shown.find("\nand start").expect("their end");
    let ran = Command::new("/bin/sh").args(["-ec", &shown[start..end]]).env("HOME", home).status();
    assert!(ran.expect("a shell").success());
    let script = home.join(".cline/hooks/TaskStart");
    fire(
        &server,
        home,
        &json!({ "command": script }),
        r#"{"taskId":"cline","hookName":"agent_start"}"#,
    );

    let shown = succeed(home, &["install", "openhands", "--url", &url]);
    let json = &shown[shown.find('{').expect("JSON")..=shown.rfind('}').expect("its end")];
    let hooks: Value = serde_json::from_str(json).expect("JSON");
    let command = &hooks["session_end"][0]["hooks"][0];
    fire(&server, home, command, r#"{"event_type":"SessionEnd","session_id":"openhands"}"#);
    eventually("both are stored", || match workspace.events() {
        events if events.len() == 2 => Ok(()),
        events => Err(events),
    });
}
