//! `hooks-backend emit`: a hook never disturbs the agent, and its event is stored exactly once.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::workspace::read_lines;
use crate::harness::{Server, Workspace};

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

#[test]
fn wrong_arguments_are_reported_with_exit_status_0() {
    let user = User::new(NOWHERE.to_owned());
    let output = user.command().arg("--agnet=codex").stdin(Stdio::null()).output();
    let output = output.expect("it ends");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--agnet"));
    assert!(output.stdout.is_empty());
}
