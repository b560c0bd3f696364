//! External changes to the file of jsonl storage while the server writes to it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::rng::Rng;
use super::stored::{ids, whole_lines};
use super::world::World;

fn file(world: &World) -> PathBuf {
    world.node().data.join("events.jsonl")
}

/// Truncates the file, to nothing or in the middle of a line.
pub(crate) fn truncated(world: &World, rng: &mut Rng) {
    world.damaged();
    rng.pause(0..300);
    let file = OpenOptions::new().write(true).open(file(world)).expect("the file");
    let len = file.metadata().expect("metadata").len();
    let left = if rng.percent(50) { 0 } else { rng.within(0..len + 1) };
    file.set_len(left).expect("the file can be truncated");
    world.ledger.excuse_sent_before(Instant::now());
}

/// Replaces the file at the path. Events in the old file that are not in the new one are excused.
fn replaced(world: &World, replace: impl FnOnce()) {
    let evidence = world.workspace.directory().join("evidence");
    let _ = std::fs::remove_file(&evidence);
    std::fs::hard_link(file(world), &evidence).expect("a second name");
    replace();
    // Once new events are accepted, the server no longer writes to the old file.
    world.progress(50);
    world.ledger.excuse(ids(&whole_lines(&evidence)));
}

/// Deletes the file.
pub(crate) fn deleted(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    replaced(world, || std::fs::remove_file(file(world)).expect("the file"));
}

/// Edits the file as `sed -i` does: reads it, writes a changed copy, renames it over the original.
pub(crate) fn edited(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    let whole = rng.percent(50);
    replaced(world, || {
        let text = std::fs::read_to_string(file(world)).expect("the file");
        // The read may have overlapped with a write.
        let text = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
        let edited = match text.split_once('\n') {
            Some((_, rest)) if !whole => rest,
            _ => text,
        };
        // Some editors omit the last line feed.
        let edited = if rng.percent(30) { edited.trim_end() } else { edited };
        let new = world.workspace.directory().join("edited");
        std::fs::write(&new, edited).expect("a file");
        std::fs::rename(&new, file(world)).expect("the file can be renamed");
    });
}

/// The next unused name for a rotated file.
fn aside(world: &World) -> PathBuf {
    let name = |number: usize| world.node().data.join(format!("events.jsonl.{number}"));
    (1..1000).map(name).find(|path| !path.exists()).expect("a round has fewer rotations")
}

/// Rotates the file as `logrotate` does with `create`.
pub(crate) fn rotated_create(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    std::fs::rename(file(world), aside(world)).expect("the file");
    if rng.percent(50) {
        // Either `logrotate` or the server creates the new file.
        let new = OpenOptions::new().append(true).create(true).open(file(world));
        drop(new.expect("a file"));
    }
    world.progress(50);
}

/// Rotates the file as `logrotate` does with `copytruncate`.
pub(crate) fn rotated_copytruncate(world: &World, rng: &mut Rng) {
    world.damaged();
    rng.pause(0..300);
    std::fs::copy(file(world), aside(world)).expect("a copy");
    OpenOptions::new()
        .write(true)
        .open(file(world))
        .and_then(|file| file.set_len(0))
        .expect("the file can be truncated");
    world.ledger.excuse_sent_before(Instant::now());
}

/// Another program appends complete lines. Where the server finds an incomplete line, it starts a
/// new one, at the cost of an empty line.
pub(crate) fn foreign_lines(world: &World, rng: &mut Rng) {
    world.damaged();
    let path = file(world);
    let who = rng.next();
    let mut unfinished = false;
    for number in 0..rng.within(20..200) {
        let mut event: Value = json!({
            "event_id": format!("foreign-{who}-{number}"),
            "event_type": "foreign",
            "session_id": "foreign",
            "data": { "number": number, "text": "x".repeat(rng.within(0..9_000) as usize) },
            "timestamp": "2026-11-23T09:00:00.000001Z",
        });
        world.ledger.sending(std::slice::from_ref(&event));
        let sent = event.clone();
        event["received_at"] = event["timestamp"].clone();
        let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("the file");
        let new_line = if unfinished { "\n" } else { "" };
        match file.write_all(format!("{new_line}{event}\n").as_bytes()) {
            Ok(()) => {
                unfinished = false;
                world.ledger.accepted(&[sent]);
            }
            Err(error) if error.kind() == ErrorKind::StorageFull => unfinished = true,
            Err(error) => panic!("a line: {error}"),
        }
        rng.pause(0..15);
    }
}
