//! Crashes: every event acknowledged with 202 is stored exactly once.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::load::Load;
use crate::harness::{Storage, Workspace, assert_exactly, event, eventually, only};

both!(events_are_stored_exactly_once_after_kills_under_load);

fn events_are_stored_exactly_once_after_kills_under_load(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    let mut load = Load::new(4, 10);
    for _ in 0..4 {
        let before = load.acknowledged();
        let round = load.start(&server.client);
        eventually("events are accepted", || {
            let accepted = round.acknowledged() - before;
            if accepted > 300 { Ok(()) } else { Err(accepted) }
        });
        server.kill9();
        round.stop();
        server.restart();
    }
    load.finish(&server.client);
    assert_exactly(&workspace.settled(&server), load.sent());
}

fn append(path: &Path, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("the file can be appended to");
}

/// Reads the only file in `directory` with this suffix.
fn only_file(directory: &Path, suffix: &str) -> Vec<u8> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let found: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    std::fs::read(&found[0]).expect("a file")
}

#[test]
fn a_torn_last_line_is_moved_aside() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    server.kill9();
    append(&workspace.file(), b"{\"event_id\":\"3\",\"event_ty");
    server.restart();
    server.client.event(&event("3")).expect(202);
    assert_exactly(&workspace.events(), ["1", "2", "3"]);
    let parent = workspace.file().parent().expect("a directory").to_owned();
    assert_eq!(only_file(&parent, "events.jsonl.torn"), b"{\"event_id\":\"3\",\"event_ty\n");
    server.logged("moved aside");
}

#[test]
fn a_line_of_another_program_after_a_torn_line_is_kept() {
    let other =
        json!({"event_id": "other", "event_type": "t", "session_id": "s", "data": {"a": {}}});
    let more = json!({"event_id": "more", "event_type": "t", "session_id": "s"});
    let whole = "{\"event_id\":\"4\",\"event_type\":\"x\",\"session_id\":\"s\"}";
    for (torn, kept) in [
        ("{", false),
        ("{\"event_id\":\"3\",\"event_type\":\"x\",\"data\":{\"text\":\"{ \\\"", false),
        (whole, true),
    ] {
        let workspace = Workspace::jsonl();
        let mut server = workspace.server().ready().start();
        server.client.batch(&[event("1"), event("2")]).expect(202);
        server.kill9();
        append(&workspace.file(), format!("{torn}{other}\n{more}\n").as_bytes());
        for _ in 0..2 {
            server.restart();
            let mut expected = vec!["1", "2", "other", "more"];
            expected.extend(kept.then_some("4"));
            let text = std::fs::read_to_string(workspace.file()).expect("the file");
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let lines: Vec<Value> =
                lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert_exactly(&lines, expected.clone());
            crate::reading::shown(&server.client, expected.len());
            let parent = workspace.file().with_file_name("");
            assert_eq!(only_file(&parent, "events.jsonl.torn"), format!("{torn}\n").as_bytes());
            server.stop();
        }
    }
}

#[test]
fn a_torn_last_record_of_a_segment_is_moved_aside() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    server.kill9();
    let torn = b"{\"event_id\":\"3\",\"event_type\":\"x\"}\t0123";
    append(workspace.journal_files("seg").last().expect("a segment"), torn);
    server.restart();
    server.client.event(&event("3")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
    assert_eq!(only_file(&workspace.journal(), ".torn"), torn);
    server.logged("moved aside");
}

#[test]
fn a_whole_last_line_without_a_line_feed_is_kept() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    server.kill9();
    append(&workspace.file(), event("2").to_string().as_bytes());
    server.restart();
    server.client.event(&event("3")).expect(202);
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.events(), ["1", "2", "3"]);
}

#[test]
fn a_damaged_record_is_rejected_and_all_others_are_delivered() {
    let workspace = Workspace::postgres_away();
    let mut server = workspace.server().start();
    let batch: Vec<_> = (0..100).map(|id| event(&id.to_string())).collect();
    server.client.batch(&batch).expect(202);
    server.kill9();

    let segment = workspace.journal_files("seg")[0].clone();
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let needle = b"\"event_id\":\"50\"";
    let at = bytes
        .windows(needle.len())
        .position(|part| part == needle)
        .expect("the event is in the segment");
    bytes[at + needle.len() - 2] ^= 0x08;
    std::fs::write(&segment, &bytes).expect("a segment");

    server.restart();
    workspace.database().create();
    let events = workspace.settled(&server);
    assert_exactly(&events, (0..100).filter(|id| *id != 50).map(|id| id.to_string()));
    let rejected = workspace.rejected();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let original = rejected[0]["text"].as_str().expect("damaged records are kept as text");
    assert!(original.contains("\"event_id\":\"58\""), "{original}");
    let damaged = "hooks_events_rejected_total{reason=\"damaged\"}";
    assert_eq!(server.client.metric(damaged), 1);
}

#[test]
fn events_accepted_while_the_database_is_unreachable_survive_kills() {
    let workspace = Workspace::postgres_away();
    let mut server = workspace.server().start();
    for round in 0..3 {
        server.client.event(&event(&round.to_string())).expect(202);
        server.kill9();
        server.restart();
    }
    workspace.database().create();
    let events = workspace.settled(&server);
    assert_exactly(&events, ["0", "1", "2"]);
    assert_eq!(only(&events, "1")["event_type"], "tested");
}
