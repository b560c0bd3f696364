//! `hooks-backend emit`: a hook never disturbs the agent, and its event is stored exactly once.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::workspace::read_lines;
use crate::harness::{Server, Workspace, eventually};

/// A user with hooks: a state directory, and an environment with settings of other programs.
struct User {
    workspace: Workspace,
    url: String,
}

impl User {
    fn new(url: String) -> Self {
        Self { workspace: Workspace::jsonl(), url }
    }

    fn of(server: &Server) -> Self {
        Self::new(url(server))
    }

    fn spool(&self) -> PathBuf {
        self.workspace.directory().join("agentic-hooks/spool.jsonl")
    }

    /// Returns the lines in the spool, oldest first.
    fn waiting(&self) -> Vec<Value> {
        let files = [self.spool().with_file_name("spool.sending.jsonl"), self.spool()];
        files.iter().filter(|path| path.exists()).flat_map(|path| read_lines(path)).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hooks-backend"));
        command
            .arg("emit")
            .env_clear()
            .env("XDG_STATE_HOME", self.workspace.directory())
            .env("HOOKS_URL", &self.url)
            // Settings of other programs, none of which must matter here.
            .envs([
                ("PORT", "three thousand"),
                ("STORAGE_TYPE", "s3"),
                ("HTTP_PROXY", "http://192.0.2.1"),
            ])
            .current_dir(self.workspace.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, payload: &str) -> Child {
        hand_over(self.command(), payload)
    }

    /// Runs a hook, which must succeed and print nothing.
    #[track_caller]
    fn emit(&self, payload: &str) {
        silent(self.start(payload));
    }
}

fn hand_over(mut command: Command, payload: &str) -> Child {
    let mut child = command.spawn().expect("a process");
    let mut input = child.stdin.take().expect("stdin is piped");
    input.write_all(payload.as_bytes()).expect("it reads");
    child
}

#[track_caller]
fn silent(child: Child) {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0), "{output:?}");
}

fn url(server: &Server) -> String {
    format!("http://{}", server.client.address)
}

fn stop(session: usize) -> String {
    json!({ "hook_event_name": "Stop", "session_id": session.to_string() }).to_string()
}

fn sessions(workspace: &Workspace) -> Vec<String> {
    let text = |event: &Value| event["session_id"].as_str().expect("text").to_owned();
    workspace.events().iter().map(text).collect()
}

/// An address without a server.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn payload_from_standard_input_is_stored() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let payload = "\u{feff}{\r\n\"hook_event_name\": \"preToolUse\",\r\n\"conversation_id\": \"u\",\r\n\"generation_id\": \"g\"\r\n}\r\n";
    let mut command = user.command();
    command.env("WORKFLOW_ID", "w-1").args(["--agent", "cursor"]);
    silent(hand_over(command, payload));
    user.emit("");
    user.emit("no JSON");
    let events = workspace.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["event_type"], "tool_execution_started");
    assert_eq!((&events[0]["agent"], &events[0]["workflow_id"]), (&json!("cursor"), &json!("w-1")));
    assert_eq!(events[1]["data"], json!({ "unparsed": "no JSON" }));
    assert_eq!(user.waiting(), [] as [Value; 0]);
}

#[test]
fn hook_registered_by_url_and_by_command_is_stored_once() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let payload = r#"{ "hook_event_name": "PreToolUse", "session_id": "s", "tool_use_id": "t" }"#;
    server.client.post("/hooks/claude-code", JSON, &[], payload).expect(200);
    user.emit(payload);
    user.emit(&payload.replace(' ', "\n"));
    assert_eq!(sessions(&workspace), ["s"]);
}

#[test]
fn payload_can_be_an_argument() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let mut command = user.command();
    let payload = r#"{"type":"agent-turn-complete","thread-id":"x1","turn-id":"t1"}"#;
    command.args(["--agent", "codex", payload]).stdin(Stdio::null());
    silent(command.spawn().expect("a process"));
    let event = &workspace.events()[0];
    assert_eq!((&event["agent"], &event["session_id"]), (&json!("codex"), &json!("x1")));
}

#[test]
fn spooled_events_are_sent_in_order_once_a_server_responds() {
    let mut user = User::new(NOWHERE.to_owned());
    for session in 0..4 {
        user.emit(&stop(session));
    }
    let waiting = user.waiting();
    assert_eq!(waiting.len(), 4);
    let fired = &waiting[0]["fired_at"];

    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    user.emit(&stop(4));
    assert_eq!(sessions(&workspace), ["0", "1", "2", "3", "4"]);
    // The timestamp is the time at which the hook fired.
    assert_eq!(workspace.events()[0]["timestamp"], *fired);
    assert_eq!(user.waiting(), [] as [Value; 0]);
    user.emit(&stop(5));
    assert_eq!(sessions(&workspace).len(), 6);
}

#[test]
fn lines_sent_again_after_a_kill_are_stored_once() {
    let mut user = User::new(NOWHERE.to_owned());
    user.emit(&stop(0));
    user.emit(&stop(1));
    let lines: Vec<String> = user.waiting().iter().map(Value::to_string).collect();

    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    user.emit(&stop(2));
    // As if the sender had been killed before it removed the file.
    fs::write(user.spool().with_file_name("spool.sending.jsonl"), lines.join("\n"))
        .expect("a file");
    user.emit(&stop(3));
    assert_eq!(sessions(&workspace), ["0", "1", "2", "3"]);
}

#[test]
fn concurrent_hooks_lose_no_event() {
    const HOOKS: usize = 24;
    let mut user = User::new(NOWHERE.to_owned());
    user.emit(&stop(HOOKS));
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    let started: Vec<Child> = (0..HOOKS).map(|session| user.start(&stop(session))).collect();
    started.into_iter().for_each(silent);
    // A hook that found another one sending left its line for the next.
    user.emit(&stop(HOOKS + 1));
    let mut stored = sessions(&workspace);
    stored.sort_unstable_by_key(|session| session.parse::<usize>().expect("a number"));
    let expected: Vec<String> = (0..HOOKS + 2).map(|session| session.to_string()).collect();
    assert_eq!(stored, expected);
}

#[test]
fn server_that_never_responds_is_abandoned() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut user = User::new(format!("http://{}", listener.local_addr().expect("an address")));
    user.emit(&stop(0));
    user.emit(&stop(1));
    assert_eq!(user.waiting().len(), 2);
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    user.emit(&stop(2));
    assert_eq!(sessions(&workspace), ["0", "1", "2"]);
}

#[test]
fn events_wait_while_the_api_key_is_invalid() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "me:key-1:ingest").start();
    let user = User::of(&server);
    user.emit(&stop(0));
    assert_eq!(user.waiting().len(), 1);
    let mut command = user.command();
    command.env("HOOKS_API_KEY", "key-1");
    silent(hand_over(command, &stop(1)));
    assert_eq!(sessions(&workspace), ["0", "1"]);
}

#[test]
fn rejected_lines_are_kept_and_do_not_block_the_others() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("MAX_BODY_BYTES", "2KiB").start();
    let mut user = User::new(NOWHERE.to_owned());
    user.emit(&stop(0));
    user.emit(
        &json!({ "hook_event_name": "Stop", "session_id": "big", "x": "x".repeat(3000) })
            .to_string(),
    );
    user.emit(&stop(1));
    user.url = url(&server);
    user.emit(&stop(2));
    assert_eq!(sessions(&workspace), ["0", "1", "2"]);
    let refused = read_lines(&user.spool().with_file_name("spool.refused.jsonl"));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["payload"]["session_id"], "big");
}

/// A Copilot payload: it has the agent's time, which parallel calls share, and no ID.
fn timed() -> String {
    json!({
        "sessionId": "s", "timestamp": 1_795_650_437_441_i64, "toolName": "bash",
        "toolArgs": { "command": "echo same" },
    })
    .to_string()
}

/// An `OpenHands` payload: it has neither a time nor an ID.
fn bare() -> String {
    json!({
        "event_type": "PreToolUse", "session_id": "s", "tool_name": "terminal",
        "tool_input": { "command": "echo same" },
    })
    .to_string()
}

#[test]
fn equal_payloads_of_one_registration_are_all_stored() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let copilot = || {
        let mut command = user.command();
        command.args(["--agent", "copilot", "--event", "preToolUse"]);
        hand_over(command, &timed())
    };
    let parallel: Vec<Child> = (0..4).map(|_| copilot()).collect();
    parallel.into_iter().for_each(silent);
    user.emit(&bare());
    user.emit(&bare());
    let events = workspace.events();
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(events.iter().filter(|event| event["agent"] == "copilot").count(), 4);
}

#[test]
fn events_that_two_registrations_report_are_stored_once() {
    let mut user = User::new(NOWHERE.to_owned());
    for payload in [timed(), bare()] {
        let mut started = Vec::new();
        for from in ["user", "project", "project", "user"] {
            let mut command = user.command();
            command.args(["--event", "preToolUse", "--from", from]);
            started.push(hand_over(command, &payload));
        }
        started.into_iter().for_each(silent);
    }
    assert_eq!(user.waiting().len(), 8);
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    user.emit(&stop(0));
    assert_eq!(workspace.events().len(), 5);
}

#[test]
fn background_hook_returns_before_the_server_responds() {
    // The server accepts no connection before the hooks have ended.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let user = User::new(format!("http://{address}"));
    for session in 0..3 {
        let mut command = user.command();
        command.arg("--background");
        silent(hand_over(command, &stop(session)));
    }
    eventually("the lines wait", || match user.waiting().len() {
        3 => Ok(()),
        waiting => Err(waiting),
    });
    drop(listener);

    // Of any number of hooks, one process sends the lines of all.
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User { url: url(&server), ..User::new(String::new()) };
    for session in 0..3 {
        let mut command = user.command();
        command.arg("--background");
        silent(hand_over(command, &stop(session)));
    }
    eventually("the lines are sent", || match sessions(&workspace) {
        stored if stored == ["0", "1", "2"] => Ok(()),
        stored => Err(format!("{stored:?}")),
    });
}

#[test]
fn killed_hook_leaves_its_event_in_the_spool() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut user = User::new(format!("http://{}", listener.local_addr().expect("an address")));
    let mut child = user.start(&stop(0));
    // It has connected, so it is waiting for a response.
    let connection = listener.accept().expect("a connection");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    drop(connection);
    assert_eq!(user.waiting().len(), 1);
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    user.url = url(&server);
    user.emit(&stop(1));
    assert_eq!(sessions(&workspace), ["0", "1"]);
}

#[test]
fn copilot_does_not_report_by_the_hooks_of_claude_code_what_its_own_report() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let payload = json!({
        "hook_event_name": "PreToolUse", "session_id": "s", "timestamp": "2026-11-25T23:47:47.726Z",
        "tool_name": "Bash",
    })
    .to_string();
    let emit = |agent: &str| {
        let mut command = user.command();
        command.args(["--agent", agent]).env("HOME", user.workspace.directory());
        silent(hand_over(command, &payload));
    };
    emit("claude-code");
    assert_eq!(workspace.events()[0]["agent"], "copilot");
    let hooks = user.workspace.directory().join(".copilot/hooks/hooks-backend.json");
    fs::create_dir_all(hooks.parent().expect("a directory")).expect("a directory");
    fs::write(&hooks, "hooks-backend emit --agent copilot --event x").expect("a file");
    emit("claude-code");
    assert_eq!(workspace.events().len(), 1);
    emit("copilot");
    assert_eq!(workspace.events().len(), 2);
}

#[test]
fn payload_that_is_too_large_is_cut() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let user = User::of(&server);
    let text = "x".repeat(70 << 20);
    let payload = json!({
        "hook_event_name": "PostToolUse", "session_id": "big", "tool_response": text, "tool_use_id": "t",
    })
    .to_string();
    user.emit(&payload);
    // Not JSON: the agent was killed while it wrote.
    user.emit(&payload[..20 << 20]);
    let events = workspace.events();
    assert_eq!(events.len(), 2);
    let whole = &events[0];
    assert_eq!((&whole["session_id"], &whole["tool_use_id"]), (&json!("big"), &json!("t")));
    assert_eq!(whole["data"]["cut_bytes"], payload.len());
    assert_eq!(whole["data"]["tool_response"].as_str().map(str::len), Some(16 << 10));
    let incomplete = &events[1];
    assert_eq!(incomplete["data"]["cut_bytes"], 20 << 20);
    assert!(incomplete["data"]["unparsed"].as_str().is_some_and(|text| text.len() == 16 << 10));
}

#[test]
fn event_that_fits_nowhere_is_counted() {
    let user = User::new(NOWHERE.to_owned());
    user.emit(&stop(0));
    let full =
        fs::File::options().write(true).open(user.spool().with_file_name("spool.sending.jsonl"));
    full.expect("the spool").set_len(64 << 20).expect("a sparse file");
    user.emit(&stop(1));
    let lost = read_lines(&user.spool().with_file_name("spool.lost.jsonl"));
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0]["agent"], "auto");
}

mod without_home {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn emit(directory: &Path, variable: &str) {
        let user = User::new(NOWHERE.to_owned());
        let mut command = user.command();
        command.env_remove("XDG_STATE_HOME").env(variable, directory);
        silent(hand_over(command, &stop(0)));
    }

    fn own(temporary: &Path) -> PathBuf {
        temporary.join(format!("agentic-hooks-{}", rustix::process::geteuid().as_raw()))
    }

    #[test]
    fn spool_is_in_the_directory_of_the_user() {
        let directory = tempfile::tempdir().expect("a directory");
        emit(directory.path(), "TMPDIR");
        let spool = own(directory.path());
        assert_eq!(fs::metadata(&spool).expect("created").permissions().mode() & 0o777, 0o700);
        assert_eq!(read_lines(&spool.join("spool.sending.jsonl")).len(), 1);
        emit(directory.path(), "XDG_RUNTIME_DIR");
        assert!(directory.path().join("agentic-hooks/spool.sending.jsonl").exists());
    }

    #[test]
    fn links_and_directories_open_to_others_are_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("target");
        fs::create_dir(&target).expect("a directory");
        symlink(&target, own(directory.path())).expect("a link");
        emit(directory.path(), "TMPDIR");
        assert_eq!(fs::read_dir(&target).expect("a directory").count(), 0);

        fs::remove_file(own(directory.path())).expect("removed");
        fs::create_dir(own(directory.path())).expect("a directory");
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(own(directory.path()), open).expect("set");
        emit(directory.path(), "TMPDIR");
        assert_eq!(fs::read_dir(own(directory.path())).expect("a directory").count(), 0);
    }

    #[test]
    fn files_are_never_opened_through_links() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = own(directory.path());
        fs::create_dir(&spool).expect("a directory");
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).expect("set");
        let target = directory.path().join("target");
        fs::write(&target, "kept").expect("a file");
        symlink(&target, spool.join("spool.jsonl")).expect("a link");
        emit(directory.path(), "TMPDIR");
        assert_eq!(fs::read_to_string(&target).expect("a file"), "kept");
    }
}

#[test]
fn wrong_arguments_are_reported_with_exit_status_0() {
    let user = User::new(NOWHERE.to_owned());
    let output = user.command().arg("--agnet=codex").stdin(Stdio::null()).output();
    let output = output.expect("it ends");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--agnet"));
    assert!(output.stdout.is_empty());
}
