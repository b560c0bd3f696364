//! Other programs may append to the JSON Lines file, rotate it and truncate it at any time.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::harness::workspace::read_lines;
use crate::harness::{Workspace, assert_exactly, event, ids};

fn append(path: &Path, text: &str) {
    let file = std::fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the file can be appended to");
}

#[test]
fn a_line_has_the_documented_keys_in_their_order() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut full = event("1");
    full["data"] = serde_json::json!({
        "agent": "a", "tool_name": "n", "tool_use_id": "u", "duration_ms": 1.50,
    });
    full["timestamp"] = "2026-11-23T09:00:00Z".into();
    full["cwd"] = "/".into();
    server.client.event(&full).expect(202);
    server.client.event(&event("2")).expect(202);
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    let (first, second) = text.split_once('\n').expect("two lines");
    let order = [
        "{\"event_id\":\"1\",",
        "\"event_type\":\"tested\",",
        "\"session_id\":\"session-1\",",
        "\"workflow_id\":null,",
        "\"phase_id\":null,",
        "\"milestone_id\":null,",
        "\"data\":{",
        "\"timestamp\":\"2026-11-23T09:00:00.000000Z\",",
        "\"received_at\":\"",
        "\"agent\":\"a\",",
        "\"tool_name\":\"n\",",
        "\"tool_use_id\":\"u\",",
        "\"duration_ms\":1.5,",
        "\"extra\":{\"cwd\":\"/\"}}",
    ];
    let mut rest = first;
    for key in order {
        let at =
            rest.find(key).unwrap_or_else(|| panic!("{key} is missing or out of order: {first}"));
        rest = &rest[at + key.len()..];
    }
    assert_eq!(rest, "");
    assert!(!second.contains("\"agent\"") && !second.contains("\"extra\""), "{second}");
}

#[test]
fn lines_of_other_programs_stay_whole_and_are_deduplicated_after_a_restart() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    append(&workspace.file(), &format!("{}\n", event("foreign-1")));
    server.client.event(&event("2")).expect(202);
    append(&workspace.file(), &event("foreign-2").to_string());
    server.client.event(&event("3")).expect(202);
    server.client.event(&event("4")).expect(202);
    assert_eq!(ids(&workspace.events()), ["1", "foreign-1", "2", "foreign-2", "3", "4"]);

    server.stop();
    server.restart();
    server.client.event(&event("foreign-1")).expect(202);
    server.client.event(&event("foreign-2")).expect(202);
    assert_exactly(&workspace.events(), ["1", "foreign-1", "2", "foreign-2", "3", "4"]);
}

#[test]
fn another_program_can_append_whole_lines_under_load() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.event(&event("first")).expect(202);
    let done = AtomicBool::new(false);
    let foreign = std::thread::scope(|scope| {
        let foreign = scope.spawn(|| {
            let mut lines = 0;
            while !done.load(Ordering::SeqCst) {
                append(&workspace.file(), &format!("{}\n", event(&format!("foreign-{lines}"))));
                lines += 1;
            }
            lines
        });
        for number in 0..300 {
            server.client.event(&event(&number.to_string())).expect(202);
        }
        done.store(true, Ordering::SeqCst);
        foreign.join().expect("the other program succeeds")
    });
    let own = (0..300).map(|number| number.to_string());
    let all = own.chain((0..foreign).map(|number| format!("foreign-{number}")));
    // A line that another program has not finished yet looks torn, so an empty line may follow it.
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    let lines = text.lines().filter(|line| !line.is_empty());
    let stored: Vec<_> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_exactly(&stored, all.chain(["first".to_owned()]));
}

#[test]
fn events_stay_whole_while_another_program_appends_half_lines() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.event(&event("first")).expect(202);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                append(&workspace.file(), "{\"half\":");
                append(&workspace.file(), "true}\n");
            }
        });
        for number in 0..200 {
            let (first, second) = (event(&number.to_string()), event(&format!("{number}-second")));
            server.client.batch(&[first, second]).expect(202);
        }
        done.store(true, Ordering::SeqCst);
    });
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    // The other program's lines may be split.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let stored: Vec<_> = lines.filter(|line| line["event_id"].is_string()).collect();
    let own = (0..200).flat_map(|number| [number.to_string(), format!("{number}-second")]);
    assert_exactly(&stored, own.chain(["first".to_owned()]));
}

#[test]
fn a_new_file_is_created_after_a_rename() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    let rotated = workspace.directory().join("events.jsonl.1");
    std::fs::rename(workspace.file(), &rotated).expect("a rename");
    server.client.event(&event("2")).expect(202);
    assert_eq!(ids(&read_lines(&rotated)), ["1"]);
    assert_eq!(ids(&read_lines(&workspace.file())), ["2"]);

    let empty_new_file = workspace.directory().join("events.jsonl.2");
    std::fs::rename(workspace.file(), &empty_new_file).expect("a rename");
    std::fs::write(workspace.file(), "").expect("a file");
    server.client.event(&event("3")).expect(202);
    assert_eq!(ids(&read_lines(&workspace.file())), ["3"]);
}

#[test]
fn renaming_the_file_under_load_loses_nothing() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let rotated = |number: usize| workspace.directory().join(format!("rotated-{number}"));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for number in 0..400 {
                server.client.event(&event(&number.to_string())).expect(202);
            }
        });
        let mut rotations = 0;
        while !sender.is_finished() {
            if std::fs::rename(workspace.file(), rotated(rotations)).is_ok() {
                rotations += 1;
            }
        }
    });
    let mut all = if workspace.file().exists() { workspace.events() } else { Vec::new() };
    all.extend((0..).map(rotated).take_while(|path| path.exists()).flat_map(|p| read_lines(&p)));
    assert_exactly(&all, (0..400).map(|number| number.to_string()));
}

#[test]
fn a_deleted_directory_is_created_again() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    std::fs::remove_dir_all(workspace.file().parent().expect("a directory")).expect("deleted");
    server.client.event(&event("2")).expect(202);
    assert_eq!(ids(&workspace.events()), ["2"]);
}

#[test]
fn appends_continue_at_the_end_of_a_truncated_file() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    let copy = workspace.directory().join("copy");
    std::fs::copy(workspace.file(), &copy).expect("a copy");
    let file = std::fs::OpenOptions::new().write(true).open(workspace.file()).expect("the file");
    file.set_len(0).expect("truncated");
    server.client.event(&event("3")).expect(202);
    assert_eq!(ids(&read_lines(&copy)), ["1", "2"]);
    assert_eq!(ids(&workspace.events()), ["3"]);
}
