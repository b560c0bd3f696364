//! The index of jsonl storage is derived from the files: whatever happens to it or to them, queries
//! eventually return what the files have.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::eventually::when;
use crate::harness::{Client, Server, Workspace, event, eventually, ids};

/// Waits until queries return exactly these events.
#[track_caller]
fn shows(client: &Client, expected: &[&str]) -> Vec<Value> {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually("the events are returned", || {
        let answer = client.get("/events?limit=1000", &[]);
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let events = body["events"].as_array().cloned().unwrap_or_default();
        let mut found = ids(&events);
        found.sort_unstable();
        if found == expected { Ok(events) } else { Err((answer.status, answer.text)) }
    })
}

fn index(workspace: &Workspace) -> PathBuf {
    workspace.file().with_extension("jsonl.index")
}

fn append(workspace: &Workspace, text: &str) {
    let file = std::fs::OpenOptions::new().append(true).open(workspace.file());
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the file can be appended to");
}

/// As many rotated files as the process may have open files would be too many to keep open.
#[test]
fn more_rotated_files_than_file_descriptors_are_indexed_and_read() {
    let workspace = Workspace::jsonl();
    let line = |number: usize| {
        let event = json!({"event_id": format!("{number}"), "event_type": "t", "session_id": "s"});
        format!("{event}\n")
    };
    let directory = workspace.file().parent().expect("a directory").to_owned();
    std::fs::create_dir_all(directory).expect("a directory");
    for number in 0..300 {
        let name = format!("{}.{}", workspace.file().display(), 300 - number);
        std::fs::write(name, line(number)).expect("a rotated file");
    }
    std::fs::write(workspace.file(), line(300)).expect("the file");
    let server = workspace.server().wrapped(["prlimit", "--nofile=128:128"]).ready().start();
    let all: Vec<String> = (0..=301).map(|number| format!("{number}")).collect();
    server.client.event(&event("301")).expect(202);
    shows(&server.client, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let lines = server.client.get("/events/export", &[]).expect(200).text;
    assert_eq!(lines.lines().count(), 302);
}

#[test]
fn lines_of_other_programs_are_found_in_the_stored_form() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    let foreign = json!({
        "event_id": "2", "event_type": "t", "session_id": "s", "timestamp": "2026-11-20 10:00:00+01:00",
        "data": {"tool_name": "Bash"}, "more": 1, "workflow_id": null,
    });
    append(&workspace, &format!("{foreign}\nnot an event\n[]\n{{\"event_type\":\"x\"}}\n\n"));
    append(
        &workspace,
        "{\"event_type\": \"t\", \"session_id\": \"s\", \"event_id\": null}\n{\"half\": ",
    );
    server.client.event(&event("3")).expect(202);
    eventually("the line without an id is returned", || {
        when(server.client.get("/events", &[]), |answer| {
            answer.json()["events"].as_array().is_some_and(|events| events.len() == 4)
        })
    });
    let events = server.client.get("/events?event_id=2", &[]).json();
    assert_eq!(events["events"][0]["timestamp"], "2026-11-20T09:00:00.000000Z");
    assert_eq!(events["events"][0]["tool_name"], "Bash");
    assert_eq!(events["events"][0]["extra"], json!({"more": 1}));
    let found = server.client.get("/events?session_id=s", &[]).json();
    let generated = found["events"][0]["event_id"].as_str().expect("an id").to_owned();
    // A rebuilt index gives the line the same id.
    std::fs::remove_file(index(&workspace)).expect("deleted");
    shows(&server.client, &["1", "2", "3", &generated]);
}

#[test]
fn a_large_file_is_indexed_in_blocks() {
    let workspace = Workspace::jsonl();
    // Small and large lines, stored and foreign lines, duplicates, and lines that are not events.
    let mut text = String::new();
    for number in 0..20_000 {
        let bytes = if number % 1000 == 500 { 400_000 } else { 10 };
        let event = json!({
            "event_id": format!("{number:05}"), "event_type": "t", "session_id": "s",
            "workflow_id": null, "phase_id": "p", "milestone_id": null,
            "data": {"text": "x".repeat(bytes)}, "timestamp": "2026-11-20T10:00:00.000000Z",
            "received_at": "2026-11-20T10:00:00.000000Z",
        });
        text.push_str(&event.to_string());
        text.push_str(if number % 3000 == 0 { "\nno event\n\n" } else { "\n" });
        if number % 7000 == 6999 {
            text.push_str(&event.to_string());
            text.push('\n');
        }
    }
    std::fs::create_dir_all(workspace.file().parent().expect("a directory")).expect("made");
    std::fs::write(workspace.file(), text).expect("written");
    let server = workspace.server().ready().start();
    eventually("the index is complete", || {
        when(server.client.health(), |health| health["index"]["ready"] == true)
    });
    let exported = server.client.get("/events/export?fields=event_id", &[]).expect(200).text;
    let lines = exported.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let exported: Vec<Value> = lines.collect();
    let expected: Vec<_> = (0..20_000).map(|number| format!("{number:05}")).collect();
    assert_eq!(ids(&exported), expected);
    // The index has the right offset of each line.
    let found = server.client.get("/events?session_id=s&event_id=19999", &[]).expect(200).json();
    assert_eq!(found["events"][0]["data"]["text"], "x".repeat(10));
}

#[test]
fn a_line_edited_in_place_does_not_break_responses() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("2"), event("3")]).expect(202);
    shows(&server.client, &["1", "2", "3"]);
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    let edited = text.replacen("{\"event_id\":\"2\",", "{\"event_id\":\"2\";", 1);
    assert_ne!(edited, text);
    std::fs::write(workspace.file(), edited).expect("the file can be written");
    shows(&server.client, &["1", "3"]);
}

#[test]
fn a_deleted_damaged_or_foreign_index_is_rebuilt() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    shows(&server.client, &["1", "2"]);

    std::fs::remove_file(index(&workspace)).expect("deleted while the server runs");
    server.client.event(&event("3")).expect(202);
    shows(&server.client, &["1", "2", "3"]);

    for damage in [&b"not a database, but as long as a database header"[..], b"", &[0; 8192]] {
        server.stop();
        std::fs::write(index(&workspace), damage).expect("written");
        server.restart();
        shows(&server.client, &["1", "2", "3"]);
    }
    server.stop();
    {
        // Damaged where opening the index does not detect it.
        let mut bytes = std::fs::read(index(&workspace)).expect("the index");
        let from = bytes.len() / 8;
        bytes[from..].fill(0xa5);
        std::fs::write(index(&workspace), bytes).expect("written");
    }
    server.restart();
    server.client.event(&event("4")).expect(202);
    shows(&server.client, &["1", "2", "3", "4"]);
    eventually("the server is healthy", || {
        when(server.client.health(), |health| {
            health["status"] == "healthy" && health["index"]["lag_bytes"] == 0
        })
    });
}

#[test]
fn an_index_left_open_by_a_machine_crash_is_rebuilt() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    shows(&server.client, &["1", "2"]);
    let change = |statements: &str| {
        let index = rusqlite::Connection::open(index(&workspace)).expect("the index");
        index.execute_batch(statements).expect("the index can be changed");
    };
    // An index that was open during another boot may lack anything.
    server.kill9();
    change("UPDATE indexes SET boot = 'another'; DELETE FROM hook_events WHERE event_id = '1'");
    server.restart();
    shows(&server.client, &["1", "2"]);
    server.logged("the machine stopped");
    // A closed index is complete, whatever the boot.
    server.stop();
    let index = rusqlite::Connection::open(index(&workspace)).expect("the index");
    let boot: Option<String> =
        index.query_row("SELECT boot FROM indexes", [], |row| row.get(0)).expect("a row");
    assert_eq!(boot, None);
}

#[test]
fn indexing_continues_after_a_restart_and_detects_a_replaced_file() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    shows(&server.client, &["1", "2"]);
    server.kill9();
    append(&workspace, &format!("{}\n", event("3")));
    server.restart();
    shows(&server.client, &["1", "2", "3"]);

    // With nothing new to read, the total size is still reported.
    server.stop();
    server.restart();
    let bytes = std::fs::metadata(workspace.file()).expect("the file").len();
    eventually("the index has the total size", || {
        when(server.client.health(), |health| health["index"]["bytes"] == bytes)
    });

    server.stop();
    // The same length, with other content.
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    let other = text.replace("\"event_id\":\"1\"", "\"event_id\":\"5\"");
    std::fs::write(workspace.file(), other.replace("\"event_id\":\"3\"", "\"event_id\":\"6\""))
        .expect("written");
    server.restart();
    shows(&server.client, &["5", "2", "6"]);
}

#[test]
fn events_of_rotated_files_are_returned_until_the_files_are_deleted() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    let aside = |name: &str| workspace.file().with_file_name(name);
    std::fs::rename(workspace.file(), aside("events-20261120T100000000000Z.jsonl"))
        .expect("renamed");
    server.client.event(&event("2")).expect(202);
    std::fs::rename(workspace.file(), aside("events.jsonl.1")).expect("renamed");
    server.client.event(&event("3")).expect(202);
    shows(&server.client, &["1", "2", "3"]);
    std::fs::rename(aside("events.jsonl.1"), aside("events.jsonl.2")).expect("renamed");
    std::fs::rename(workspace.file(), aside("events.jsonl.1")).expect("renamed");
    server.client.event(&event("4")).expect(202);
    shows(&server.client, &["1", "2", "3", "4"]);

    std::fs::remove_file(index(&workspace)).expect("deleted");
    shows(&server.client, &["1", "2", "3", "4"]);
    std::fs::remove_file(aside("events-20261120T100000000000Z.jsonl")).expect("deleted");
    shows(&server.client, &["2", "3", "4"]);

    let file = std::fs::OpenOptions::new().write(true).open(workspace.file()).expect("the file");
    file.set_len(0).expect("truncated");
    server.client.event(&event("5")).expect(202);
    shows(&server.client, &["2", "3", "5"]);
}

#[test]
fn events_are_found_by_id_in_every_bucket_of_every_file() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let used = |event_id: &str, tool_use_id: &str| {
        let mut event = event(event_id);
        event["data"] = json!({ "tool_use_id": tool_use_id, "text": "x".repeat(3 << 20) });
        event
    };
    // More than one bucket of 16 MiB; the last one in another file.
    for number in 0..12 {
        server.client.event(&used(&number.to_string(), "use")).expect(202);
    }
    let aside = workspace.file().with_file_name("events.jsonl.1");
    std::fs::rename(workspace.file(), &aside).expect("renamed");
    // The hashes of these two ids collide: the same low 32 bits of XXH3-64.
    server.client.batch(&[used("last", "use"), event("id-8906"), event("id-50422")]).expect(202);
    let found = |query: &str| {
        let answer = server.client.get(&format!("/events?fields=event_id&{query}"), &[]);
        answer.json()["events"].as_array().cloned().unwrap_or_default()
    };
    let count = |query: &str, events: usize| {
        eventually("the events are found", || when(found(query), |found| found.len() == events));
    };
    count("tool_use_id=use", 13);
    for event_id in ["0", "5", "11", "last", "id-8906", "id-50422"] {
        assert_eq!(ids(&found(&format!("event_id={event_id}"))), [event_id]);
    }
    let rows = || -> i64 {
        let index = rusqlite::Connection::open(index(&workspace)).expect("the index");
        index.query_row("SELECT count(*) FROM ids", [], |row| row.get(0)).expect("a number")
    };
    assert_eq!(rows(), 2 * 13 + 2);
    std::fs::remove_file(aside).expect("deleted");
    eventually("the ids of the deleted file are removed", || when(rows(), |rows| *rows == 2 + 2));
    count("tool_use_id=use", 1);
    count("event_id=5", 0);
}

#[test]
fn events_are_accepted_while_the_index_cannot_be_written() {
    let workspace = Workspace::jsonl();
    let block = || {
        let _ = std::fs::remove_file(index(&workspace));
        std::fs::create_dir_all(index(&workspace).join("in the way")).expect("a directory");
    };
    let reported = |server: &Server| {
        eventually("the error and the lag are reported", || {
            when(server.client.health(), |health| {
                health["status"] == "degraded"
                    && health["index"]["error"].is_string()
                    && health["index"]["ready"] == false
                    && health["index"]["lag_bytes"] != 0
            })
        });
        assert_eq!(server.client.metric("hooks_index_up"), 0);
        assert_ne!(server.client.metric("hooks_index_lag_bytes"), 0);
        assert!(server.log().contains("not found by queries yet"), "{}", server.log());
    };
    let repaired = |server: &Server, events: &[&str]| {
        std::fs::remove_dir_all(index(&workspace)).expect("removed");
        shows(&server.client, events);
        eventually("the server is healthy", || {
            when(server.client.health(), |health| health["status"] == "healthy")
        });
        assert_eq!(server.client.metric("hooks_index_up"), 1);
        assert_eq!(server.client.metric("hooks_index_lag_bytes"), 0);
    };
    block();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    reported(&server);
    let answer = server.client.get("/events", &[]).expect(503);
    assert_eq!(answer.header("retry-after"), "2");
    server.client.event(&event("2")).expect(202);
    repaired(&server, &["1", "2"]);
    // The same while the server runs.
    block();
    server.client.event(&event("3")).expect(202);
    reported(&server);
    repaired(&server, &["1", "2", "3"]);
}

/// Waits until `/health` says that the index is ready without lag; fails if it says so while queries do
/// not return exactly these events.
#[track_caller]
fn ready_with(client: &Client, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually("the index is ready", || {
        let index = client.health()["index"].clone();
        if index["ready"] == true && index["lag_bytes"] == 0 { Ok(()) } else { Err(index) }
    });
    let events = client.get("/events?limit=1000", &[]).expect(200).json();
    let events = events["events"].as_array().cloned().unwrap_or_default();
    let mut found = ids(&events);
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn events_of_a_copy_are_returned_after_the_original_is_truncated() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let (file, copy) = (workspace.file(), workspace.file().with_file_name("events.jsonl.1"));
    server.client.batch(&[event("1"), event("2")]).expect(202);
    shows(&server.client, &["1", "2"]);
    std::fs::copy(&file, &copy).expect("copied");
    std::fs::write(&file, "").expect("truncated");
    ready_with(&server.client, &["1", "2"]);
    server.client.event(&event("3")).expect(202);
    shows(&server.client, &["1", "2", "3"]);

    // As `logrotate` does with `copytruncate`, once the index has seen the copy.
    std::fs::rename(&copy, file.with_file_name("events.jsonl.2")).expect("renamed");
    std::fs::copy(&file, &copy).expect("copied");
    ready_with(&server.client, &["1", "2", "3"]);
    std::fs::write(&file, "").expect("truncated");
    ready_with(&server.client, &["1", "2", "3"]);
    std::fs::remove_file(&copy).expect("deleted");
    ready_with(&server.client, &["1", "2"]);
}

#[test]
fn events_of_a_copy_are_returned_after_the_original_is_deleted() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    shows(&server.client, &["1", "2"]);
    let aside = |name: &str| workspace.file().with_file_name(name);
    std::fs::rename(workspace.file(), aside("events.jsonl.1")).expect("renamed");
    server.client.event(&event("3")).expect(202);
    shows(&server.client, &["1", "2", "3"]);
    std::fs::copy(aside("events.jsonl.1"), aside("events.jsonl.2")).expect("copied");
    ready_with(&server.client, &["1", "2", "3"]);
    std::fs::remove_file(aside("events.jsonl.1")).expect("deleted");
    ready_with(&server.client, &["1", "2", "3"]);
    // The same while the server is stopped.
    server.stop();
    std::fs::copy(aside("events.jsonl.2"), aside("events.jsonl.3")).expect("copied");
    std::fs::remove_file(aside("events.jsonl.2")).expect("deleted");
    server.restart();
    shows(&server.client, &["1", "2", "3"]);
}

#[test]
fn events_of_a_restored_file_are_returned() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    shows(&server.client, &["1"]);
    let older = workspace.file().with_file_name("events.jsonl.7");
    std::fs::write(&older, format!("{}\n", event("old"))).expect("written");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let file = std::fs::OpenOptions::new().append(true).open(&older).expect("the file");
    file.set_modified(hour_ago).expect("the time can be set");
    ready_with(&server.client, &["1", "old"]);
    // A directory with such a name has no events.
    std::fs::create_dir(workspace.file().with_file_name("events.jsonl.8")).expect("made");
    server.client.event(&event("2")).expect(202);
    shows(&server.client, &["1", "2", "old"]);
}

#[test]
fn byte_order_marks_do_not_hide_events() {
    const MARK: &str = "\u{feff}";
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    // As editors of Windows save a file.
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    let other = json!({"event_id": "2", "event_type": "t", "session_id": "session-1"});
    std::fs::write(workspace.file(), format!("{MARK}{MARK}{text}{MARK}{other}\n"))
        .expect("written");
    for file in ["events.jsonl.keys", "events.jsonl.index"] {
        let _ = std::fs::remove_file(workspace.file().with_file_name(file));
    }
    server.restart();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    let after = std::fs::read_to_string(workspace.file()).expect("the file");
    assert_eq!(after.lines().count(), 2, "both are duplicates: {after}");
    let events = shows(&server.client, &["1", "2"]);
    assert!(events.iter().all(|event| event["event_type"].is_string()), "{events:?}");
}
