//! Rotation of files, and deletion of files and partitions after `RETENTION_DAYS`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::workspace::read_lines;
use crate::harness::{Workspace, assert_exactly, event, eventually, ids};

fn age(path: &Path, days: u64) {
    let file = File::options().append(true).open(path).expect("a file");
    let then = SystemTime::now() - Duration::from_hours(24 * days);
    file.set_modified(then).expect("its time can be set");
}

/// The rotated files, oldest first.
fn rotated(workspace: &Workspace) -> Vec<PathBuf> {
    let directory = workspace.file().parent().expect("a directory").to_owned();
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut rotated: Vec<PathBuf> = paths
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events-"))
        })
        .collect();
    rotated.sort();
    rotated
}

fn all_lines(workspace: &Workspace) -> Vec<Value> {
    let mut files = rotated(workspace);
    files.push(workspace.file());
    files.iter().flat_map(|file| read_lines(file)).collect()
}

#[test]
fn file_is_rotated_at_its_maximum_size_and_its_events_are_still_duplicates() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("JSONL_ROTATE", "1MiB").start();
    let padded = |number: usize| {
        let mut event = event(&number.to_string());
        event["data"] = json!({ "text": "x".repeat(100_000) });
        event
    };
    for number in 0..25 {
        server.client.event(&padded(number)).expect(202);
    }
    assert_eq!(rotated(&workspace).len(), 2);
    let expected = || (0..25).map(|number| number.to_string());
    assert_exactly(&all_lines(&workspace), expected());
    server.kill9();
    server.restart();
    server.client.batch(&[padded(0), padded(12), padded(24)]).expect(202);
    assert_exactly(&all_lines(&workspace), expected());
}

#[test]
fn yesterdays_file_is_rotated_before_the_first_event_of_today() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("JSONL_ROTATE", "day").start();
    server.client.event(&event("1")).expect(202);
    age(&workspace.file(), 1);
    server.client.event(&event("2")).expect(202);
    let files = rotated(&workspace);
    assert_eq!(files.len(), 1);
    assert_eq!(ids(&read_lines(&files[0])), ["1"]);
    assert_eq!(ids(&workspace.events()), ["2"]);
}

#[test]
fn only_expired_rotated_files_are_deleted() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("JSONL_ROTATE", "day").set("RETENTION_DAYS", "7");
    let mut server = server.start();
    for id in ["1", "2", "3"] {
        server.client.event(&event(id)).expect(202);
        age(&workspace.file(), 1);
    }
    server.stop();
    let files = rotated(&workspace);
    assert_eq!(files.len(), 2);
    age(&files[0], 8);
    age(&workspace.file(), 8);
    let foreign = workspace.file().with_file_name("events-of-mine.jsonl");
    std::fs::write(&foreign, "{}\n").expect("a file");
    age(&foreign, 1000);
    server.restart();
    eventually("the old file is deleted", || if files[0].exists() { Err("there") } else { Ok(()) });
    assert!(files[1].exists() && foreign.exists());
    assert_eq!(ids(&workspace.events()), ["3"], "the current file is never deleted");
}

#[test]
fn only_expired_partitions_are_dropped() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let days_ago = |id: &str, days: i64| {
        let mut event = event(id);
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
        event["timestamp"] = json!(then.to_string());
        event
    };
    let batch = [
        days_ago("now", 0),
        days_ago("in its time", 6),
        days_ago("past its time", 9),
        days_ago("in no partition", 9000),
    ];
    server.client.batch(&batch).expect(202);
    assert_eq!(workspace.settled(&server).len(), 4);
    drop(server);
    let server = workspace.server().set("RETENTION_DAYS", "7").start();
    eventually("the old partition is dropped", || {
        let events = workspace.events();
        if events.len() == 3 { Ok(()) } else { Err(events.len()) }
    });
    assert_exactly(&workspace.events(), ["now", "in its time", "in no partition"]);
    server.client.batch(&batch).expect(202);
    assert_exactly(&workspace.settled(&server), ["now", "in its time", "in no partition"]);
}
