//! A full disk costs nothing that was accepted, and is over when there is room.

use std::path::Path;

use serde_json::{Value, json};

use crate::errors::problem;
use crate::harness::eventually::when;
use crate::harness::reaper::SmallDisk;
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually, ids};

both!(a_full_disk_refuses_events_until_there_is_room);

/// Takes all the room there is; dropping the file gives it back.
fn fill(disk: &Path) -> std::path::PathBuf {
    let filler = disk.join("filler");
    // The last write that does not fit fails after taking what was left.
    let full = std::fs::write(&filler, vec![0; 8 << 20]);
    assert!(full.is_err(), "the disk is not small");
    filler
}

fn padded(id: &str) -> Value {
    let mut event = event(id);
    event["data"] = json!({ "text": "x".repeat(3000) });
    event
}

/// Sends events until one is refused; returns the accepted ones' ids and the refused event.
fn send_until_refused(server: &Server, accepted: &mut Vec<Value>) -> Value {
    for number in 0.. {
        let event = padded(&format!("{}-{number}", accepted.len()));
        let answer = server.client.event(&event);
        if answer.status == 202 {
            accepted.push(event);
            continue;
        }
        problem(&answer, 503, "full disk");
        assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{answer:?}");
        return event;
    }
    unreachable!("an endless loop");
}

fn a_full_disk_refuses_events_until_there_is_room(storage: Storage) {
    let workspace = Workspace::new(storage);
    let Some(disk) = SmallDisk::mount(workspace.directory().join("disk"), 1 << 20) else {
        eprintln!("not tested: a small file system cannot be mounted here (needs root)");
        return;
    };
    let server = workspace
        .server()
        .set("JSONL_PATH", disk.path.join("events.jsonl"))
        .set("JOURNAL_DIR", &disk.path)
        .start();
    let mut accepted = vec![padded("first")];
    server.client.event(&accepted[0]).expect(202);

    let mut refused = Vec::new();
    for _ in 0..3 {
        let filler = fill(&disk.path);
        refused.push(send_until_refused(&server, &mut accepted));
        let health = server.client.get("/health", &[]).expect(503).json();
        assert_eq!(health["status"], "unhealthy", "{health}");
        server.client.get("/health/ready", &[]).expect(503);
        if storage == Storage::Jsonl {
            let stored = crate::harness::workspace::read_lines(&disk.path.join("events.jsonl"));
            assert_exactly(&stored, ids(&accepted));
        }
        std::fs::remove_file(filler).expect("room");
        let again = refused.last().expect("one was refused");
        eventually("events are taken again", || {
            when(server.client.event(again), |answer| answer.status == 202)
        });
        accepted.push(again.clone());
        server.client.get("/health/ready", &[]).expect(200);
    }
    if storage == Storage::Jsonl {
        let stored = crate::harness::workspace::read_lines(&disk.path.join("events.jsonl"));
        assert_exactly(&stored, ids(&accepted));
    } else {
        assert_exactly(&workspace.settled(&server), ids(&accepted));
    }
    drop(server);
}
