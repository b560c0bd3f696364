//! `hooks-backend import`: each event of a file is stored once, however often it is imported.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::server::{Builder, Ended};
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, only};

both!(
    imported_stored_lines_are_unchanged,
    importing_a_file_twice_stores_its_events_once,
    rejected_events_are_accepted_after_a_fix,
);

/// Returns the command for a server at this address, running or not.
fn import(workspace: &Workspace, address: std::net::SocketAddr, files: &[&Path]) -> Builder {
    let command = Server::builder().directory(workspace.directory()).argument("import");
    let command = command.argument("--url").argument(format!("http://{address}"));
    files.iter().fold(command, Builder::argument)
}

#[track_caller]
fn imported(workspace: &Workspace, server: &Server, files: &[&Path], output: &str) -> Ended {
    let ended = import(workspace, server.client.address, files).run();
    assert_eq!(ended.output.trim_end(), output, "{}", ended.log);
    assert_eq!(ended.status.success(), output.ends_with("rejected 0"), "{}", ended.log);
    ended
}

fn file(workspace: &Workspace, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = workspace.directory().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// Returns this number of events, one a line.
fn numbered(count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|n| event(&n.to_string()).to_string()).collect();
    lines.join("\n") + "\n"
}

/// Removes `received_at` from stored lines.
fn lines(text: &str) -> Vec<String> {
    let cut = |line: &str| {
        let start = line.find(",\"received_at\":\"").expect("a stored line");
        format!("{}{}", &line[..start], &line[start + 44..])
    };
    text.lines().map(cut).collect()
}

fn imported_stored_lines_are_unchanged(storage: Storage) {
    let from = Workspace::jsonl();
    let first = from.server().start();
    let sent = [
        r#"{"event_type":"t","session_id":"s","timestamp":"2026-11-23T09:00:00.5+01:00"}"#,
        r#"{"event_type":"té\n","session_id":"s\u0041","event_id":"1","workflow_id":"w","phase_id":"","milestone_id":"m","timestamp":1795424400,"data":{"agent":"a","tool_name":"Bash","tool_use_id":"u","duration_ms":1.50,"n":1e-7,"n":[1.25E+0 , {}]}}"#,
        r#"{"event_type":"t","session_id":"s","event_id":"2","data":{"agent":5},"more":{"b":1, "a":2},"extra":{"c":3},"received_at":"before","agent":"sent","x":null}"#,
        r#"{"event_type":"t","session_id":"s","event_id":"3","data":{"text":"\u00e9\/\ud83e\udd80"}}"#,
    ];
    first.client.post("/events/batch", NDJSON, &[], sent.join("\n")).expect(202);
    let cloud = r#"{"specversion":"1.0","id":"4","type":"t","source":"/x","subject":"s","sessionid":"z","data":"no object"}"#;
    first.client.post("/events", "application/cloudevents+json", &[], cloud).expect(202);
    let original = std::fs::read_to_string(from.file()).expect("the file");
    assert_eq!(original.lines().count(), 5);

    let to = Workspace::new(storage);
    let second = to.server().start();
    imported(&from, &second, &[&from.file()], "read 5, accepted 5, rejected 0");
    if storage == Storage::Jsonl {
        let copy = std::fs::read_to_string(to.file()).expect("the file");
        assert_eq!(lines(&copy), lines(&original));
    }
    let (mut stored, mut expected) = (to.settled(&second), from.events());
    let by_id = |event: &Value| event["event_id"].to_string();
    stored.sort_by_key(by_id);
    expected.sort_by_key(by_id);
    for (stored, expected) in stored.iter_mut().zip(&mut expected) {
        (stored["received_at"], expected["received_at"]) = (json!(0), json!(0));
    }
    assert_eq!(stored, expected);
}

fn importing_a_file_twice_stores_its_events_once(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let mut text = numbered(1200);
    // Events without ids: two equal ones, one with white space around it, one without a line feed.
    for line in ["{\"event_type\":\"t\",\"session_id\":\"s\"}\n", "\n  \n"] {
        text.push_str(line);
    }
    text.push_str("{\"event_type\":\"t\",\"session_id\":\"s\"}\r\n");
    text.push_str(
        " {\"event_type\":\"t\", \"session_id\":\"s\", \"event_id\":null, \"timestamp\":null } ",
    );
    let plain = file(&workspace, "events.jsonl", &text);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("in memory");
    let gzip = file(&workspace, "events.jsonl.gz", encoder.finish().expect("in memory"));
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("in memory");
    let zstd = file(&workspace, "events.jsonl.zst", zstd);
    // A file keeps its modification time when it is compressed or moved.
    let time = std::fs::metadata(&plain).and_then(|metadata| metadata.modified()).expect("a time");
    for path in [&gzip, &zstd] {
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(time).expect("its time is set");
    }

    imported(&workspace, &server, &[&plain], "read 1203, accepted 1203, rejected 0");
    imported(&workspace, &server, &[&gzip, &zstd], "read 2406, accepted 2406, rejected 0");
    let stdin = import(&workspace, server.client.address, &[Path::new("-")]);
    let stdin = stdin.wrapped(["/bin/sh", "-c", "exec \"$@\" < events.jsonl.gz", "sh"]);
    assert_eq!(stdin.run().output.trim_end(), "read 1203, accepted 1203, rejected 0");

    let stored = workspace.settled(&server);
    let derived: Vec<&Value> = stored
        .iter()
        .filter(|event| event["event_id"].as_str().is_some_and(|id| id.starts_with("import-")))
        .collect();
    assert_eq!(derived.len(), 3);
    assert_eq!(stored.len(), 1203);
}

fn rejected_events_are_accepted_after_a_fix(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().set("MAX_DEPTH", "2").start();
    let deep = |id: &str| {
        let mut event = event(id);
        event["data"] = json!({ "a": { "b": { "c": 1 } } });
        event
    };
    let body = format!(
        "{}\n{}\n{}\n{}\n",
        event("good"),
        deep("deep"),
        r#"{"event_id":"refused","event_type":"t","session_id":"s","timestamp":"2026-11-23","data":{"n":1e200000}}"#,
        r#"{"event_id":"cut","event_type":"t","session_id":"s""#,
    );
    server.client.post("/events/batch", NDJSON, &[], body).expect(202);
    let pretty = serde_json::to_string_pretty(&[event("also good"), deep("pretty")]).expect("JSON");
    server.client.post("/events/batch", JSON, &[], pretty).expect(202);
    if storage == Storage::Postgres {
        crate::harness::workspace::forwarded(&server);
    }
    server.stop();

    // The fix: MAX_DEPTH, and the number in the file.
    let text = std::fs::read_to_string(workspace.rejected_file()).expect("what was set aside");
    let rejected = file(&workspace, "rejected.jsonl", text.replace("1e200000", "1e2"));
    std::fs::remove_file(workspace.rejected_file()).expect("it was there");
    let server = workspace.server().start();
    let summary = match storage {
        // A JSON Lines file stores the number as it is.
        Storage::Jsonl => "read 3, accepted 2, rejected 1",
        Storage::Postgres => "read 4, accepted 3, rejected 1",
    };
    let ended = imported(&workspace, &server, &[&rejected], summary);
    assert!(
        ended.log.contains("rejected.jsonl:")
            && ended.log.contains("correct the rejected original"),
        "{}",
        ended.log
    );
    if storage == Storage::Jsonl {
        let text = std::fs::read_to_string(workspace.file()).expect("the file");
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("\"pretty\"") && text.contains("\"deep\""), "{text}");
    } else {
        let stored = workspace.settled(&server);
        assert_exactly(&stored, ["good", "also good", "deep", "pretty", "refused"]);
        assert_eq!(only(&stored, "refused")["timestamp"], "2026-11-23T00:00:00.000000Z");
        assert_eq!(only(&stored, "deep")["data"], deep("")["data"]);
    }
}

#[test]
fn rejected_lines_are_listed_and_the_others_are_stored() {
    let workspace = Workspace::jsonl();
    // Batches are halved until the server accepts them.
    let server =
        workspace.server().set("MAX_BATCH_EVENTS", "7").set("MAX_BODY_BYTES", "10KiB").start();
    let mut large = event("large");
    large["data"] = json!({ "text": "x".repeat(11 << 10) });
    let mut lines: Vec<Vec<u8>> =
        (0..40).map(|n| event(&n.to_string()).to_string().into_bytes()).collect();
    lines[2] = b"no json".to_vec();
    lines[10] = b"[1]".to_vec();
    lines[20] = br#"{"event_type":"t"}"#.to_vec();
    lines[25] = b"{\"event_type\":\"\xff\"}".to_vec();
    lines[30] = large.to_string().into_bytes();
    let path = file(&workspace, "mixed.jsonl", lines.join(&b"\n"[..]));
    let ended = imported(&workspace, &server, &[&path], "read 40, accepted 35, rejected 5");
    for (line, reason) in [
        (3, "not a JSON object"),
        (11, "not a JSON object"),
        (21, "session_id is required"),
        (26, "not UTF-8"),
        (31, "MAX_BODY_BYTES"),
    ] {
        let named =
            |log: &str| log.contains(&format!("mixed.jsonl:{line}: ")) && log.contains(reason);
        assert!(ended.log.lines().any(named), "{line} {reason}: {}", ended.log);
    }
    assert_eq!(workspace.events().len(), 35);
}

#[test]
fn stopped_import_says_where_to_continue() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let text = numbered(1100);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(text.as_bytes()).expect("in memory");
    let whole = encoder.finish().expect("in memory");
    let cut = file(&workspace, "cut.gz", &whole[..whole.len() / 2]);
    let ended = import(&workspace, server.client.address, &[&cut, &cut]).run();
    assert_eq!(ended.status.code(), Some(1));
    let stored = workspace.events().len();
    assert!((400..700).contains(&stored), "{stored}");
    assert!(ended.log.contains("cut.gz cannot be read"), "{}", ended.log);
    let continue_with = format!("--from-line {} {} {}\n", stored + 1, cut.display(), cut.display());
    assert!(ended.log.contains(&continue_with), "{}", ended.log);

    let mended = file(&workspace, "mended.gz", &whole);
    let rest = import(&workspace, server.client.address, &[&mended]).argument("--from-line");
    let ended = rest.argument((stored + 1).to_string()).run();
    let expected = format!("read {}, accepted {0}, rejected 0", 1100 - stored);
    assert_eq!(ended.output.trim_end(), expected, "{}", ended.log);
    assert_exactly(&workspace.events(), (0..1100).map(|n| n.to_string()));
}

#[test]
fn unusable_server_is_reported_with_the_reason() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "a:secret-key-0123456789:ingest").start();
    let path = file(&workspace, "events.jsonl", format!("{}\n", event("1")));
    let address = server.client.address;
    for (command, said) in [
        (import(&workspace, address, &[&path]), "HOOKS_API_KEY"),
        (import(&workspace, address, &[&path]).set("HOOKS_API_KEY", "wrong"), "HOOKS_API_KEY"),
        (
            import(&workspace, address, &[Path::new("nowhere.jsonl")]),
            "nowhere.jsonl cannot be read",
        ),
        (
            import(&workspace, "127.0.0.1:1".parse().expect("an address"), &[&path])
                .argument("--retry-for")
                .argument("0"),
            "no response from http://127.0.0.1:1",
        ),
    ] {
        let ended = command.run();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains(said), "{}", ended.log);
        assert!(!ended.log.contains("wrong"), "{}", ended.log);
        let read = usize::from(!said.contains("nowhere"));
        assert_eq!(
            ended.output,
            format!(
                "read {read}, accepted 0, rejected 0
"
            )
        );
    }
    let command =
        import(&workspace, address, &[&path]).set("HOOKS_API_KEY", "secret-key-0123456789");
    assert_eq!(command.run().output, "read 1, accepted 1, rejected 0\n");
    assert_exactly(&workspace.events(), ["1"]);
}

/// The journal is full because the database is unreachable: 503 with `Retry-After`.
#[test]
fn import_retries_while_the_journal_is_full() {
    let workspace = Workspace::postgres_away();
    let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").start();
    let events = 8000;
    let text = numbered(events);
    let path = file(&workspace, "events.jsonl", text);
    let command = import(&workspace, server.client.address, &[&path]);
    let running = std::thread::spawn(move || command.run());
    crate::harness::eventually("the journal is full", || {
        let refused = "hooks_http_requests_total{route=\"/events/batch\",status=\"503\"}";
        crate::harness::eventually::when(server.client.metric(refused), |count| *count > 0)
    });
    workspace.database().create();
    let ended = running.join().expect("it ran");
    assert_eq!(ended.output, format!("read {events}, accepted {events}, rejected 0\n"));
    assert_eq!(ended.log.matches("retrying: 503").count(), 1, "{}", ended.log);
    assert_eq!(workspace.settled(&server).len(), events);
}
