//! Responses in progress end when their key is removed, loses its scope, or the read token is replaced.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::client::{Connection, JSON};
use crate::harness::eventually::when;
use crate::harness::http2::{self, Http2};
use crate::harness::{Server, Workspace, event, eventually};

const STREAM: &str = "/events/stream";

/// Responses that take long. None fits into the buffers of a connection.
const PATHS: [&str; 6] = [
    STREAM,
    "/events/export",
    "/events/export?format=csv",
    "/events/export?format=parquet",
    "/events/export?order=desc",
    "/events?limit=1000",
];

/// Returns text that compresses to no less than half its size.
fn noise(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    for at in 0..bytes / 16 {
        let word = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
        write!(text, "{word:016x}").expect("memory");
    }
    text
}

/// Sends 30 MiB of events, and waits until they can be read.
fn fill(server: &Server, key: &[(&str, &str)]) {
    for number in 0..10 {
        let event = json!({
            "event_id": number.to_string(), "event_type": "t", "session_id": "s",
            "data": { "text": noise(number, 3 << 20) },
        });
        server.client.post("/events", JSON, key, event.to_string()).expect(202);
    }
    eventually("the events are shown", || {
        let response = server.client.get("/events?fields=event_id", key);
        let count = response.text.matches("event_id").count();
        if count == 10 { Ok(()) } else { Err(response.text) }
    });
}

/// A response that has begun.
enum Begun {
    Http1(Connection),
    Http2(Http2, http2::Body),
}

impl Begun {
    /// Begins a response over each version of HTTP. More would exceed the limit of concurrent queries.
    fn both(server: &Server, path: &str, key: (&str, &str)) -> [Self; 2] {
        [Self::http1(server, path, key), Self::http2(server, path, key)]
    }

    fn http1(server: &Server, path: &str, (name, value): (&str, &str)) -> Self {
        let mut connection = server.client.connect();
        let headers = format!("host: localhost\r\n{name}: {value}\r\nconnection: close\r\n");
        connection.write(format!("GET {path} HTTP/1.1\r\n{headers}\r\n"));
        let head = connection.read_until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self::Http1(connection)
    }

    fn http2(server: &Server, path: &str, key: (&str, &str)) -> Self {
        let mut http2 = Http2::plain(server.client.address);
        let body = http2.begin(path, &[key]);
        Self::Http2(http2, body)
    }

    /// Returns the rest of the body, and whether it ended like a complete one.
    fn rest(self) -> (Vec<u8>, bool) {
        match self {
            Self::Http1(connection) => {
                let mut rest = Vec::new();
                connection.into_inner().read_to_end(&mut rest).expect("the server closes");
                let is_complete = rest.ends_with(b"\r\n0\r\n\r\n");
                (rest, is_complete)
            }
            Self::Http2(http2, body) => http2.rest(body),
        }
    }
}

/// Asserts that responses end: streams with the reason, others with an error.
#[track_caller]
fn assert_ended(path: &str, begun: [Begun; 2]) {
    for response in begun {
        let (rest, is_complete) = response.rest();
        let has_reason = memchr::memmem::find(&rest, b"\"reason\":\"access_revoked\"").is_some();
        assert_eq!(has_reason, path == STREAM, "{path}");
        assert_eq!(is_complete, path == STREAM, "{path}");
    }
}

/// Replaces the file of keys, and waits until the server has read it.
fn set_keys(file: &Path, server: &mut Server, keys: &str) {
    std::fs::write(file, keys).expect("written");
    let reloads = |server: &Server| server.log().matches("API keys reloaded").count();
    let before = reloads(server);
    server.signal(Signal::HUP);
    eventually("the keys are reloaded", || {
        if reloads(server) > before { Ok(()) } else { Err(server.log()) }
    });
}

#[test]
fn responses_end_when_their_key_is_removed_or_loses_its_scope() {
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("keys");
    let all = "both:key-1:ingest+read\nother:key-2:read\n";
    std::fs::write(&file, all).expect("written");
    let mut server = workspace.server().set("API_KEYS_FILE", &file).ready().start();
    let (first, second) = (("x-api-key", "key-1"), ("authorization", "Bearer key-2"));
    fill(&server, &[first]);
    let Begun::Http1(mut others) = Begun::http1(&server, STREAM, second) else { unreachable!() };

    let lost = [
        ("in:key-1:ingest\nother:key-2:read\n", 403),
        ("in:key-3:ingest\nother:key-2:read\n", 401),
    ];
    for (path, (keys, status)) in PATHS.iter().flat_map(|path| lost.map(|lost| (*path, lost))) {
        set_keys(&file, &mut server, all);
        let begun = Begun::both(&server, path, first);
        let ended = |server: &Server| server.log().matches("response ended").count();
        let before = ended(&server);
        // A reload that keeps the key, under another name, ends nothing.
        set_keys(&file, &mut server, "renamed:key-1:ingest+read\nother:key-2:read\n");
        assert_eq!(ended(&server), before, "{path}");
        set_keys(&file, &mut server, keys);
        assert_ended(path, begun);
        eventually(&format!("the log has the end of both responses: {path}"), || {
            when(ended(&server), |ended| *ended == before + 2)
        });
        server.client.get("/events", &[first]).expect(status);
    }
    // The stream of the other key continues.
    server
        .client
        .post("/events", JSON, &[("x-api-key", "key-3")], event("after").to_string())
        .expect(202);
    others.read_until("\"event_id\":\"after\"");
}

#[test]
fn a_compressed_stream_ends_with_the_reason() {
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("keys");
    std::fs::write(&file, "one:key-1:ingest+read\n").expect("written");
    let mut server = workspace.server().set("API_KEYS_FILE", &file).ready().start();
    eventually("the index is there", || {
        let response = server.client.get("/events", &[("x-api-key", "key-1")]);
        if response.status == 200 { Ok(()) } else { Err(response.text) }
    });
    let mut http2 = Http2::plain(server.client.address);
    let body = http2.begin(STREAM, &[("x-api-key", "key-1"), ("accept-encoding", "gzip")]);
    set_keys(&file, &mut server, "two:key-2:ingest\n");
    let (data, is_complete) = http2.rest(body);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*data).read_to_string(&mut text).expect("a whole gzip stream");
    assert!(is_complete && text.contains("\"reason\":\"access_revoked\""), "{text}");
}

#[test]
fn responses_end_when_the_read_token_is_replaced() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    fill(&server, &[]);
    let header = server.client.read_header();
    let (name, value) = header.trim_end().split_once(": ").expect("a header");
    let begun =
        [STREAM, "/events/export"].map(|path| (path, Begun::both(&server, path, (name, value))));
    std::fs::remove_file(workspace.file().with_extension("jsonl.token")).expect("deleted");
    server.signal(Signal::HUP);
    server.logged("read token reloaded");
    for (path, begun) in begun {
        assert_ended(path, begun);
    }
}
