//! What the campaign has found, each as a test of its own.

use serde_json::{Value, json};

use super::traced::strace;
use crate::harness::{Place, assert_exactly, event};

fn padded(id: &str) -> Value {
    let mut event = event(id);
    event["data"] = json!({ "text": "x".repeat(30_000) });
    event
}

/// The kernel may have dropped what it could not sync, and a second sync would succeed without it.
#[test]
fn a_failed_sync_of_a_directory_or_a_key_file_ends_the_server() {
    let keys = ".agentic/journal/00000000000000000000.tmp";
    // The first sync of a full segment's keys, and the first of the directory after the start's.
    for (path, which) in [(keys, "1"), (".agentic/journal", "3+")] {
        let place = Place::postgres_away();
        let path = place.directory().join(path).display().to_string();
        let inject = format!("inject=fsync:error=EIO:when={which}");
        let options = ["-o", "/dev/null", "-P", &path, "-e", "trace=fsync", "-e", &inject];
        let Ok(wrapper) = strace(&options) else {
            eprintln!("not tested: strace is missing or not permitted");
            return;
        };
        let server = place.server().set("JOURNAL_MAX_BYTES", "1MiB").wrapped(wrapper);
        let mut server = server.ready().start();
        let mut accepted = Vec::new();
        for number in 0..20 {
            let event = padded(&number.to_string());
            let headers = [("content-type", "application/json")];
            let body = event.to_string();
            let answer = server.client.send("POST", "/events", &headers, body.as_bytes());
            if !answer.is_ok_and(|answer| answer.status == 202) {
                break;
            }
            accepted.push(number.to_string());
        }
        let status = server.wait();
        assert_eq!(status.code(), Some(1), "{}", server.log());
        assert!(server.log().contains("could not be made durable"), "{}", server.log());
        place.database().create();
        let server = place.server().start();
        let stored = place.settled(&server);
        let stored =
            stored.iter().filter(|event| accepted.iter().any(|id| event["event_id"] == **id));
        assert_exactly(&stored.cloned().collect::<Vec<_>>(), accepted);
    }
}
