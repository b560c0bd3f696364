//! Defects that the campaign found, each as a separate test.

use serde_json::{Value, json};

use super::traced::strace;
use crate::harness::{Server, Workspace, assert_exactly, event, eventually};

fn padded(id: &str) -> Value {
    let mut event = event(id);
    event["data"] = json!({ "text": "x".repeat(30_000) });
    event
}

/// The kernel may have dropped the pages that it failed to write: a second fsync would succeed
/// without them.
#[test]
fn a_failed_fsync_of_a_directory_or_key_file_ends_the_server() {
    let keys = ".agentic/journal/00000000000000000000.tmp";
    // The first fsync of a full segment's keys, and the first of the directory after start-up, which
    // begins with the token and two segments.
    for (path, which) in [(keys, "1"), (".agentic/journal", "4+")] {
        let workspace = Workspace::postgres_away();
        let path = workspace.directory().join(path).display().to_string();
        let inject = format!("inject=fsync:error=EIO:when={which}");
        let options = ["-o", "/dev/null", "-P", &path, "-e", "trace=fsync", "-e", &inject];
        let Ok(wrapper) = strace(&options) else {
            eprintln!("not tested: strace is missing or not permitted");
            return;
        };
        let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").wrapped(wrapper);
        let mut server = server.ready().start();
        let mut accepted = Vec::new();
        for number in 0..20 {
            let event = padded(&number.to_string());
            let headers = [("content-type", "application/json")];
            let body = event.to_string();
            let response = server.client.send("POST", "/events", &headers, body.as_bytes());
            if !response.is_ok_and(|response| response.status == 202) {
                break;
            }
            accepted.push(number.to_string());
        }
        let status = server.wait();
        assert_eq!(status.code(), Some(1), "{}", server.log());
        server.logged("fsync of the journal failed");
        workspace.database().create();
        let server = workspace.server().start();
        let stored = workspace.settled(&server);
        let stored =
            stored.iter().filter(|event| accepted.iter().any(|id| event["event_id"] == **id));
        assert_exactly(&stored.cloned().collect::<Vec<_>>(), accepted);
    }
}

/// Sends events until the journal has that many segments, counting them in `sent`.
fn fill(workspace: &Workspace, server: &Server, sent: &mut usize, segments: usize) {
    while workspace.journal_files("seg").len() < segments {
        server.client.event(&padded(&sent.to_string())).expect(202);
        *sent += 1;
    }
}

fn ids_in(workspace: &Workspace, segment: usize) -> Vec<String> {
    super::stored::ids(&super::stored::whole_lines(&workspace.journal_files("seg")[segment]))
}

/// External damage costs only the damaged records; delivery of the rest continues without a restart.
#[test]
fn delivery_continues_after_a_live_segment_is_deleted_or_truncated() {
    for (segment, delete) in [(1, true), (1, false), (3, true), (3, false)] {
        let workspace = Workspace::postgres_away();
        let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").ready().start();
        let mut sent = 0;
        fill(&workspace, &server, &mut sent, 4);
        let path = workspace.journal_files("seg")[segment].clone();
        let before = ids_in(&workspace, segment);
        if delete {
            std::fs::remove_file(&path).expect("a segment");
        } else {
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a segment");
            file.set_len(15_000).expect("the file can be truncated");
        }
        let after = if delete { Vec::new() } else { ids_in(&workspace, segment) };
        for _ in 0..3 {
            server.client.event(&padded(&sent.to_string())).expect(202);
            sent += 1;
        }
        workspace.database().create();
        let events = workspace.settled(&server);
        let taken = |id: &String| before.contains(id) && !after.contains(id);
        assert_exactly(&events, (0..sent).map(|id| id.to_string()).filter(|id| !taken(id)));
        assert!(server.client.metric("hooks_journal_missing_bytes_total") > 0);
        server.logged("a segment was deleted or truncated");
        // The missing bytes block neither new events nor the journal's size limit.
        for _ in 0..5 {
            let batch: Vec<Value> =
                (0..10).map(|number| padded(&(sent + number).to_string())).collect();
            server.client.batch(&batch).expect(202);
            workspace.settled(&server);
            sent += batch.len();
        }
        eventually("the journal stays within its limit", || {
            let bytes = server.client.health()["journal"]["bytes"].as_u64();
            if bytes.is_some_and(|bytes| bytes <= 1 << 20) { Ok(()) } else { Err(bytes) }
        });
    }
}

/// A durable file is lost in a power failure if the entry of its directory is not durable.
#[test]
fn new_directories_are_durable_before_the_first_event_is_accepted() {
    for (workspace, made) in
        [(Workspace::jsonl(), "deep/er/analytics"), (Workspace::postgres_away(), "deep/er/journal")]
    {
        let trace = workspace.directory().join("trace").display().to_string();
        let options = ["-y", "-o", &trace, "-e", "trace=mkdir,mkdirat,fsync"];
        let Ok(wrapper) = strace(&options) else {
            eprintln!("not tested: strace is missing or not permitted");
            return;
        };
        let directory = workspace.directory().canonicalize().expect("a directory");
        let server = workspace
            .server()
            .set("JSONL_PATH", directory.join("deep/er/analytics/events.jsonl"))
            .set("JOURNAL_DIR", directory.join("deep/er/journal"))
            .wrapped(wrapper);
        let server = server.ready().start();
        server.client.event(&event("1")).expect(202);
        let calls = std::fs::read_to_string(&trace).expect("the trace");
        let last = directory.join(made);
        for new in [last.parent().expect("deep/er").parent().expect("deep"), &last] {
            let parent = new.parent().expect("a directory").display();
            let (_, after) = calls
                .split_once(&format!("\"{}\"", new.display()))
                .unwrap_or_else(|| panic!("{} is not made: {calls}", new.display()));
            assert!(after.contains(&format!("<{parent}>)")), "{parent} is not synced: {calls}");
        }
    }
}
