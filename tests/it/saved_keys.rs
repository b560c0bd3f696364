//! Saved keys: duplicates are detected across restarts whatever the state of the file of saved keys, and
//! no new event counts as a duplicate.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Server, Storage, Workspace, assert_exactly, event, ids};

both!(
    duplicates_are_detected_after_kills,
    duplicates_are_detected_with_damaged_saved_keys,
    the_server_runs_without_a_writable_file_of_saved_keys,
);

const BATCH: usize = 5000;

fn name(number: usize) -> String {
    format!("a-{number:05}")
}

fn send(server: &Server, numbers: Range<usize>) {
    let events: Vec<Value> = numbers.map(|number| event(&name(number))).collect();
    for batch in events.chunks(BATCH) {
        server.client.batch(batch).expect(202);
    }
}

/// The file of saved keys.
fn saved(workspace: &Workspace, storage: Storage) -> PathBuf {
    match storage {
        Storage::Jsonl => workspace.directory().join(".agentic/analytics/events.jsonl.keys"),
        Storage::Postgres => workspace.journal().join("active.keys"),
    }
}

fn duplicates_are_detected_after_kills(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    for round in 0..3 {
        // The keys of the last few events are not saved yet when the server is killed.
        send(&server, round * BATCH..(round + 1) * BATCH);
        send(&server, (round + 1) * BATCH..(round + 1) * BATCH + 10);
        server.kill9();
        server.restart();
    }
    assert!(
        std::fs::metadata(saved(&workspace, storage)).expect("saved keys").len()
            > 2 * BATCH as u64 * 16
    );
    send(&server, 0..3 * BATCH + 10);
    let window = "hooks_events_duplicate_total{reason=\"window\"}";
    assert_eq!(server.client.metric(window), 3 * BATCH as u64 + 10);
    assert_exactly(&workspace.settled(&server), (0..3 * BATCH + 10).map(name));
}

fn duplicates_are_detected_with_damaged_saved_keys(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    send(&server, 0..BATCH);
    server.stop();
    let keys = saved(&workspace, storage);
    let older = std::fs::read(&keys).expect("saved keys");
    let damages: [&dyn Fn(&Path); 6] = [
        &|keys| std::fs::remove_file(keys).expect("deleted"),
        &|keys| std::fs::write(keys, b"not saved keys").expect("written"),
        &|keys| std::fs::write(keys, &older).expect("written"),
        &|keys| {
            let mut bytes = std::fs::read(keys).expect("saved keys");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(keys, bytes).expect("written");
        },
        &|keys| {
            let bytes = std::fs::read(keys).expect("saved keys");
            std::fs::write(keys, &bytes[..bytes.len() / 2]).expect("written");
        },
        &|keys| {
            let mut bytes = std::fs::read(keys).expect("saved keys");
            bytes[20] ^= 1;
            std::fs::write(keys, bytes).expect("written");
        },
    ];
    let mut sent = BATCH;
    for damage in damages {
        server.restart();
        send(&server, sent..sent + 500);
        sent += 500;
        server.stop();
        damage(&keys);
        server.restart();
        send(&server, 0..sent);
        let window = "hooks_events_duplicate_total{reason=\"window\"}";
        assert_eq!(server.client.metric(window), sent as u64);
        server.stop();
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
    server.restart();
    assert_exactly(&workspace.settled(&server), (0..sent).map(name));
}

fn the_server_runs_without_a_writable_file_of_saved_keys(storage: Storage) {
    let workspace = Workspace::new(storage);
    let keys = saved(&workspace, storage);
    // A directory of the same name, because root may write to any file.
    std::fs::create_dir_all(&keys).expect("a directory");
    let mut server = workspace.server().start();
    send(&server, 0..BATCH);
    server.logged("the next start will read events instead");
    server.kill9();
    server.restart();
    send(&server, 0..BATCH);
    assert_exactly(&workspace.settled(&server), (0..BATCH).map(name));
}

/// Rewrites a file in place, so that it keeps its inode.
fn rewrite(path: &Path, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(path).expect("the file");
    std::fs::write(path, change(&text)).expect("written");
}

#[test]
fn keys_of_replaced_lines_are_dropped_and_keys_of_the_new_lines_read() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    send(&server, 0..BATCH);
    server.stop();
    // Replace the events by others of exactly the same length.
    rewrite(&workspace.file(), |text| text.replace("\"a-", "\"b-"));
    server.restart();
    send(&server, 0..BATCH);
    server.client.batch(&[event("b-00000"), event("b-04999")]).expect(202);
    let theirs = (0..BATCH).map(|number| name(number).replace('a', "b"));
    assert_exactly(&workspace.events(), theirs.chain((0..BATCH).map(name)));
}

#[test]
fn keys_of_truncated_lines_are_dropped() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    send(&server, 0..BATCH);
    send(&server, BATCH..2 * BATCH);
    server.kill9();
    let lines = |text: &str, count: usize| -> String {
        text.lines().take(count).flat_map(|line| [line, "\n"]).collect()
    };
    rewrite(&workspace.file(), |text| lines(text, 7000));
    server.restart();
    send(&server, 0..2 * BATCH);
    assert_exactly(&workspace.events(), (0..2 * BATCH).map(name));

    // Truncated while the server runs: the keys are dropped at the next start.
    rewrite(&workspace.file(), |text| lines(text, 100));
    send(&server, 2 * BATCH..2 * BATCH + 100);
    server.kill9();
    server.restart();
    send(&server, 0..2 * BATCH + 100);
    assert_exactly(&workspace.events(), (0..2 * BATCH + 100).map(name));
}

#[test]
fn keys_of_lines_appended_while_the_server_is_stopped_are_read() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    send(&server, 0..BATCH);
    server.stop();
    let foreign: String = (BATCH..BATCH + 50)
        .flat_map(|number| [event(&name(number)).to_string(), "\n".into()])
        .collect();
    rewrite(&workspace.file(), |text| format!("{text}{foreign}"));
    server.restart();
    send(&server, BATCH + 50..2 * BATCH);
    server.kill9();
    server.restart();
    send(&server, 0..2 * BATCH);
    let expected: Vec<String> = (0..2 * BATCH).map(name).collect();
    assert_eq!(ids(&workspace.events()), expected);
}

#[test]
fn keys_of_rotated_files_are_read() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("JSONL_ROTATE", "1MiB").start();
    for part in 0..12 {
        send(&server, part * 1000..(part + 1) * 1000);
    }
    server.kill9();
    server.restart();
    send(&server, 0..12_000);
    let window = "hooks_events_duplicate_total{reason=\"window\"}";
    assert_eq!(server.client.metric(window), 12_000);
}

#[test]
fn keys_of_files_rotated_by_logrotate_are_read() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().start();
    send(&server, 0..10);
    for (from, number) in [("events.jsonl", 1), ("events.jsonl.1", 2)] {
        let to = workspace.file().with_file_name(format!("events.jsonl.{number}"));
        std::fs::rename(workspace.file().with_file_name(from), to).expect("renamed");
    }
    send(&server, 10..20);
    let to = workspace.file().with_file_name("events.jsonl.1");
    std::fs::rename(workspace.file(), to).expect("renamed");
    send(&server, 20..30);
    server.stop();
    server.restart();
    send(&server, 0..30);
    let window = "hooks_events_duplicate_total{reason=\"window\"}";
    assert_eq!(server.client.metric(window), 30);
}
