//! A full disk loses no accepted event, and service resumes when space is freed.

use std::path::Path;

use serde_json::{Value, json};

use crate::errors::problem;
use crate::harness::eventually::when;
use crate::harness::reaper::SmallDisk;
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually, ids};

both!(full_disk_rejects_events_until_space_is_freed);

/// Fills the disk with a file; deleting it frees the space.
fn fill(disk: &Path) -> std::path::PathBuf {
    let filler = disk.join("filler");
    // The write fails after it has used up the remaining space.
    let full = std::fs::write(&filler, vec![0; 8 << 20]);
    assert!(full.is_err(), "the disk is not small");
    filler
}

fn padded(id: &str) -> Value {
    let mut event = event(id);
    event["data"] = json!({ "text": "x".repeat(3000) });
    event
}

/// Sends events until one is rejected, which is returned; the others are added to `accepted`.
fn send_until_rejected(server: &Server, accepted: &mut Vec<Value>) -> Value {
    for number in 0.. {
        let event = padded(&format!("{}-{number}", accepted.len()));
        let response = server.client.event(&event);
        if response.status == 202 {
            accepted.push(event);
            continue;
        }
        problem(&response, 503, "full disk");
        assert!(response.header("retry-after").parse::<u64>().is_ok(), "{response:?}");
        return event;
    }
    unreachable!("an endless loop");
}

fn full_disk_rejects_events_until_space_is_freed(storage: Storage) {
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

    let mut rejected = Vec::new();
    for _ in 0..3 {
        let filler = fill(&disk.path);
        rejected.push(send_until_rejected(&server, &mut accepted));
        let health = server.client.get("/health", &[]).expect(503).json();
        assert_eq!(health["status"], "unhealthy", "{health}");
        server.client.get("/health/ready", &[]).expect(503);
        if storage == Storage::Jsonl {
            let stored = crate::harness::workspace::read_lines(&disk.path.join("events.jsonl"));
            assert_exactly(&stored, ids(&accepted));
        }
        std::fs::remove_file(filler).expect("the filler is deleted");
        let again = rejected.last().expect("one was rejected");
        eventually("events are accepted again", || {
            when(server.client.event(again), |response| response.status == 202)
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
