//! `hooks-backend query`, `tail` and `export`, in a pipe and on a terminal.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::server::{Builder, Ended};
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually, ids};

both!(query_and_export_write_json_lines, tail_shows_the_newest_and_follows_across_a_restart,);

fn run(server: &Server, arguments: &[&str]) -> Ended {
    let url = format!("http://{}", server.client.address);
    let builder = Server::builder().set("HOOKS_URL", url);
    arguments.iter().fold(builder, Builder::argument).run()
}

/// Returns the program's output on a terminal.
fn on_a_terminal(server: &Server, arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_hooks-backend");
    let command = format!("{program} {}", arguments.join(" "));
    let shown = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("HOOKS_URL", format!("http://{}", server.client.address))
        .stdin(Stdio::null())
        .output()
        .expect("script, which makes a terminal");
    String::from_utf8(shown.stdout).expect("text")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A full disk is an error; a reader that has gone away (`| head`) is not.
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let events: Vec<_> = (0..900).map(|number| event(&number.to_string())).collect();
    server.client.batch(&events).expect(202);
    crate::reading::shown(&server.client, 900);
    let program = env!("CARGO_BIN_EXE_hooks-backend");
    let run = |arguments: &str, into: &str| {
        let command = format!("{program} {arguments} {into}");
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {command}")])
            .env("HOOKS_URL", format!("http://{}", server.client.address))
            .output()
            .expect("bash");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in
        ["query -n 900", "tail -n 900", "tail -f -n 900", "export", "doctor", "import /dev/null"]
    {
        let (code, error) = run(arguments, "> /dev/full");
        assert_eq!(code, Some(1), "{arguments}: {error}");
        assert!(error.contains("No space left on device"), "{arguments}: {error}");
        assert!(!error.contains("panic"), "{arguments}: {error}");
    }
    for arguments in ["query -n 900", "tail -n 900", "export"] {
        assert_eq!(
            run(arguments, "| head -n 1 > /dev/null"),
            (Some(0), String::new()),
            "{arguments}"
        );
    }
}

fn query_and_export_write_json_lines(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let events: Vec<_> = (0..30)
        .map(|number| {
            let mut event = event(&format!("{number:02}"));
            event["timestamp"] = json!(1_795_000_000 + number);
            event
        })
        .collect();
    server.client.batch(&events).expect(202);
    crate::reading::shown(&server.client, 30);

    let ended = run(&server, &["query", "-n", "3", "session_id=session-1", "until=1795000020"]);
    assert!(ended.status.success(), "{}", ended.log);
    assert_eq!(ids(&lines(&ended.output)), ["19", "18", "17"]);
    let exported = run(&server, &["export"]);
    assert_eq!(ids(&lines(&exported.output)), ids(&events));
    let file = workspace.directory().join("out.csv");
    let path = file.to_str().expect("a path");
    let csv = ["export", "-o", path, "--format", "csv", "fields=event_id"];
    let ended = run(&server, &csv);
    // Without a terminal, there is no progress line.
    assert!(
        ended.status.success() && ended.output.is_empty() && ended.log.is_empty(),
        "{}",
        ended.log
    );
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with("event_id\r\n00\r\n01\r\n"), "{text}");
    let shown = on_a_terminal(&server, &csv);
    assert!(shown.contains("30 events, "), "{shown:?}");
    let parquet = ["export", "--format", "parquet"];
    let shown = on_a_terminal(&server, &parquet);
    assert!(shown.contains("cannot be shown on a terminal: name a file"), "{shown:?}");
    let ended = run(&server, &[&parquet[..], &["-o", path]].concat());
    assert!(ended.status.success() && ended.log.is_empty(), "{}", ended.log);
    let written = parquet::file::serialized_reader::SerializedFileReader::try_from(&*file);
    assert_eq!(written.expect("a file").into_iter().count(), 30);
    let refused = run(&server, &["export", "format=csv"]);
    assert!(refused.log.contains("--format csv"), "{}", refused.log);

    let refused = run(&server, &["query", "since=yesterday"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.log.contains("since is \"yesterday\"; allowed:"), "{}", refused.log);
    let refused = run(&server, &["query", "nonsense"]);
    assert!(refused.log.contains("expected NAME=VALUE"), "{}", refused.log);
    let away = Server::builder().set("HOOKS_URL", "http://127.0.0.1:1").argument("tail").run();
    assert_eq!(away.status.code(), Some(1));
    assert!(
        away.log.contains("no response from") && away.log.contains("HOOKS_URL"),
        "{}",
        away.log
    );
}

/// Text from outside that would change colors, forge lines, hide or reorder text.
const HOSTILE: &str = "a\u{1b}[31m\rb\u{202e}c\u{200b}d\u{9b}2Je\nf";

/// No character of a text is hidden, but for those that end lines and this program's own colors.
#[track_caller]
fn is_visible(text: &str) {
    let own = ["\u{1b}[0m", "\u{1b}[2m", "\u{1b}[3", "\u{1b}[K"];
    let text = own.iter().fold(text.replace("\r\n", "\n"), |text, own| text.replace(own, ""));
    let hidden = text.replace('\r', "").find(|character: char| {
        (character.is_control() && character != '\n')
            || ['\u{202e}', '\u{200b}'].contains(&character)
    });
    assert_eq!(hidden, None, "{text:?}");
}

#[test]
fn hidden_characters_of_events_are_shown_as_escapes() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let mut hostile = event("1");
    hostile["event_type"] = json!(HOSTILE);
    hostile["session_id"] = json!(format!("s{HOSTILE}"));
    hostile["data"] = json!({ "prompt": HOSTILE, "tool_name": HOSTILE });
    server.client.event(&hostile).expect(202);
    crate::reading::shown(&server.client, 1);
    let escaped = "a\\u{1b}[31m\\rb\\u{202e}c\\u{200b}d\\u{9b}2Je\\nf";
    let shown = on_a_terminal(&server, &["query"]);
    assert!(shown.contains(escaped), "{shown:?}");
    is_visible(&shown);
    for format in ["csv", "ndjson"] {
        let shown = on_a_terminal(&server, &["export", "--format", format]);
        assert!(shown.contains("\\u{202e}"), "{format}: {shown:?}");
        is_visible(&shown);
    }
    // In a pipe, another program reads the event as it is.
    assert_eq!(lines(&run(&server, &["query"]).output)[0]["data"]["prompt"], HOSTILE);
}

#[test]
fn hidden_characters_of_a_server_are_shown_as_escapes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let problem =
        json!({ "detail": HOSTILE, "status": "unhealthy", "error": HOSTILE, "version": HOSTILE });
    let body = problem.to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let head = BufReader::new(&connection).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = write!(
                &connection,
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
                 retry-after: 1\u{9b}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("events.jsonl");
    std::fs::write(&file, format!("{}\n", event("1"))).expect("a file");
    let file = file.to_str().expect("a path");
    for arguments in [
        &["query"][..],
        &["tail"],
        &["export"],
        &["doctor"],
        &["demo"],
        &["healthcheck"],
        &["import", file],
    ] {
        let builder = Server::builder().set("HOOKS_URL", &url).set("HOME", workspace.directory());
        let ended = arguments.iter().fold(builder, Builder::argument).run();
        let text = format!("{}{}", ended.output, ended.log);
        is_visible(&text);
        assert!(!text.lines().any(|line| line.starts_with('f')), "{arguments:?}: {text:?}");
        if !["demo", "healthcheck"].contains(&arguments[0]) {
            assert!(text.contains("\\u{202e}"), "{arguments:?}: {text:?}");
        }
    }
}

/// A process that is ended with the test.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tail_shows_the_newest_and_follows_across_a_restart(storage: Storage) {
    let workspace = Workspace::new(storage);
    // The same address after the restart.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a port").port().to_string();
    let mut server = workspace.server().set("PORT", &port).ready().start();
    server.client.batch(&[event("1"), event("2"), event("3")]).expect(202);
    crate::reading::shown(&server.client, 3);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_hooks-backend"))
        .args(["tail", "-f", "-n", "2", "--url", &format!("http://127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .spawn()
        .map(Tail)
        .expect("the program");
    let output = tail.0.stdout.take().expect("its output");
    let mut output = BufReader::new(output).lines();
    let mut next = || -> Value {
        let line = output.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let mut found = vec![next(), next()];
    server.client.event(&event("4")).expect(202);
    found.push(next());
    server.kill9();
    server.restart();
    eventually("the server answers", || {
        server.client.send("GET", "/health/ready", &[], b"").map(drop)
    });
    for id in ["5", "6", "7"] {
        server.client.event(&event(id)).expect(202);
    }
    found.extend([next(), next(), next()]);
    assert_exactly(&found[2..], ["4", "5", "6", "7"]);
}
