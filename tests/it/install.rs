//! `hooks-backend install` and `uninstall`: everything else in a settings file is kept byte for byte.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::server::Ended;
use crate::harness::{Server, Workspace};

/// Agent, settings file of the user, settings file of the project.
const FILES: [(&str, &str, &str); 5] = [
    ("claude-code", ".claude/settings.json", ".claude/settings.json"),
    ("codex", ".codex/hooks.json", ".codex/hooks.json"),
    ("gemini", ".gemini/settings.json", ".gemini/settings.json"),
    ("cursor", ".cursor/hooks.json", ".cursor/hooks.json"),
    ("copilot", ".copilot/hooks/hooks-backend.json", ".github/hooks/hooks-backend.json"),
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
    assert!(after.contains("http://hooks.example:9000/hooks/claude-code"), "{after}");
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
        (&["install", "emacs"], "claude-code, codex, gemini, cursor, copilot"),
    ] {
        let ended = run(workspace.directory(), arguments);
        assert!(!ended.status.success() && ended.log.contains(reason), "{}", ended.log);
    }
}

/// Runs each registered command, or sends each registered request, as the agent would.
#[test]
fn registered_hooks_reach_the_server() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let url = format!("http://{}", server.client.address);
    let home = Workspace::jsonl();
    for (agent, file, _) in FILES {
        succeed(home.directory(), &["install", agent, "--url", &url]);
        let settings: Value =
            serde_json::from_str(&text(&home.directory().join(file))).expect("JSON");
        let (event, entries) =
            settings["hooks"].as_object().and_then(|hooks| hooks.iter().next()).expect("hooks");
        let hook = entries[0]["hooks"].get(0).unwrap_or(&entries[0]);
        let payload = json!({ "session_id": agent, "hook_event_name": event }).to_string();
        if let Some(address) = hook["url"].as_str() {
            let path = address.strip_prefix(&url).expect("our server");
            let headers = [("X-Workflow-Id", ""), ("Authorization", "Bearer ")];
            server.client.post(path, JSON, &headers, payload).expect(200);
            continue;
        }
        let command = hook["command"].as_str().or(hook["bash"].as_str()).expect("a command");
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .env_clear()
            .env("HOME", home.directory())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        child.stdin.take().expect("a pipe").write_all(payload.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }
    let mut agents: Vec<String> = workspace
        .events()
        .iter()
        .map(|event| format!("{} {}", event["agent"], event["session_id"]))
        .collect();
    agents.sort_unstable();
    let mut expected = FILES.map(|(agent, _, _)| format!("\"{agent}\" \"{agent}\""));
    expected.sort_unstable();
    assert_eq!(agents, expected);
}
