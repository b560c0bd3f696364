//! Readers share queries and memory: one client cannot keep others from reading.

use std::io::Read;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::client::Connection;
use crate::harness::eventually::when;
use crate::harness::http2::Http2;
use crate::harness::{Server, Storage, Workspace, eventually};

both!(
    exports_that_nobody_reads_leave_room_for_other_clients,
    exports_continue_after_a_long_pause,
    client_that_reads_below_the_minimum_rate_is_disconnected,
    memory_of_unread_http2_responses_is_freed,
    events_of_any_size_are_returned_in_whole_pages,
);

const KEYS: &str = "a:key-a:read,b:key-b:read+ingest";

/// As small as the setting may be. One client can have half of it, 32 responses.
const READ_BYTES: &str = "64MiB";
const RESPONSES: usize = 32;

/// Events of 4 KiB. All of them are more than the buffers of a socket hold.
const EVENTS: usize = 2_000;

fn authorization(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

fn get(server: &Server, key: &str, path: &str) -> crate::harness::Response {
    let (name, value) = authorization(key);
    server.client.get(path, &[(name, &value)])
}

/// A server with events that were sent with the key of `b`, and can be read.
fn with_events(storage: Storage, events: &[Value], timeout: &str) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace
        .server()
        .set("API_KEYS", KEYS)
        .set("MAX_READ_BYTES", READ_BYTES)
        .set("BODY_TIMEOUT", timeout)
        .ready()
        .start();
    let (name, value) = authorization("key-b");
    for batch in events.chunks(100) {
        let body = serde_json::to_string(batch).expect("JSON");
        server
            .client
            .post("/events/batch", "application/json", &[(name, &value)], body)
            .expect(202);
    }
    eventually("the events are shown", || {
        // A problem document has one line, as one event has.
        when(get(&server, "key-b", "/events/export?fields=event_id"), |response| {
            response.status == 200 && response.text.lines().count() == events.len()
        })
    });
    (workspace, server)
}

fn numbered() -> Vec<Value> {
    let text = "x".repeat(4 << 10);
    let event = |number| json!({"event_type": "t", "session_id": "s", "event_id": format!("{number}"), "data": {"text": text}});
    (0..EVENTS).map(event).collect()
}

/// Begins an export and reads the head of the response.
fn export(server: &Server, key: &str) -> (String, Connection) {
    let mut connection = server.client.connect();
    request(&mut connection, "/events/export", key);
    let head = connection.read_until("\r\n\r\n");
    (head, connection)
}

fn request(connection: &mut Connection, path: &str, key: &str) {
    let (name, value) = authorization(key);
    connection.write(format!("GET {path} HTTP/1.0\r\nhost: x\r\n{name}: {value}\r\n\r\n"));
}

fn exports_that_nobody_reads_leave_room_for_other_clients(storage: Storage) {
    let (_workspace, server) = with_events(storage, &numbered(), "24h");
    let mut unread = Vec::new();
    let refusal = loop {
        let (head, connection) = export(&server, "key-a");
        if !head.starts_with("HTTP/1.0 200") {
            break head;
        }
        unread.push(connection);
    };
    assert_eq!(unread.len(), RESPONSES);
    assert!(refusal.starts_with("HTTP/1.0 503") && refusal.contains("retry-after: 5"), "{refusal}");
    let problem = get(&server, "key-a", "/events").expect(503);
    assert!(problem.text.contains("MAX_READ_BYTES"), "{problem:?}");
    for path in ["/events?limit=10", "/sessions", "/sessions/s", "/stats"] {
        get(&server, "key-b", path).expect(200);
    }
    let whole = get(&server, "key-b", "/events/export").expect(200).text;
    assert_eq!(whole.lines().count(), EVENTS);
    unread.truncate(1);
    eventually("there is room again", || {
        when(get(&server, "key-a", "/events"), |response| response.status == 200)
    });
}

fn exports_continue_after_a_long_pause(storage: Storage) {
    let (_workspace, server) = with_events(storage, &numbered(), "24h");
    let mut exports: Vec<_> = (0..8).map(|_| export(&server, "key-a").1).collect();
    for export in &mut exports {
        assert_eq!(export.read_to_end().lines().count(), EVENTS);
    }
}

fn client_that_reads_below_the_minimum_rate_is_disconnected(storage: Storage) {
    let event =
        json!({"event_type": "t", "session_id": "s", "data": {"text": "x".repeat(8 << 20)}});
    let (_workspace, server) = with_events(storage, &[event], "3s");
    for path in ["/events", "/events/export"] {
        let hits = || server.client.metric("hooks_limit_hits_total{limit=\"BODY_TIMEOUT\"}");
        let before = hits();
        let mut connection = server.client.connect_with_small_buffer();
        request(&mut connection, path, "key-a");
        connection.read_until("\r\n\r\n");
        let mut connection = connection.into_inner();
        let begun = Instant::now();
        let mut read = 0;
        eventually("it is disconnected", || {
            // Half of the minimum rate.
            while read < (begun.elapsed().as_secs_f64() * 4096.0) as usize {
                read += connection.read(&mut [0; 256]).unwrap_or_default().max(1);
            }
            if hits() > before { Ok(()) } else { Err(read) }
        });
    }
}

fn memory_of_unread_http2_responses_is_freed(storage: Storage) {
    let (_workspace, server) = with_events(storage, &numbered(), "1s");
    let (name, value) = authorization("key-a");
    let mut connection = Http2::plain(server.client.address);
    let unread: Vec<_> =
        (0..RESPONSES).map(|_| connection.begin("/events/export", &[(name, &value)])).collect();
    let whole = eventually("there is room again", || {
        when(get(&server, "key-a", "/events/export"), |response| response.status == 200)
    });
    assert_eq!(whole.text.lines().count(), EVENTS);
    eventually("each unread response is counted", || {
        let hits = server.client.metric("hooks_limit_hits_total{limit=\"BODY_TIMEOUT\"}");
        when(hits, |hits| *hits as usize == RESPONSES)
    });
    drop(unread);
}

/// A page is put together from several queries: their size depends on that of the events.
fn events_of_any_size_are_returned_in_whole_pages(storage: Storage) {
    let sizes = [0, 10, 300, 100_000, 3, 900_000, 7, 60_000, 1, 2];
    let events: Vec<Value> = (0..1_500)
        .map(|number: usize| {
            let text = "y".repeat(if number < 300 { sizes[number % 10] } else { number % 40 });
            json!({
                "event_type": if number.is_multiple_of(7) { "seven" } else { "other" }, "session_id": "s",
                "event_id": format!("{number:04}"), "timestamp": 1_795_000_000 + number / 3,
                "data": {"text": text, "mark": if number.is_multiple_of(11) { "eleven" } else { "" }},
            })
        })
        .collect();
    let (_workspace, server) = with_events(storage, &events, "30s");
    let found = |path: &str| -> Vec<usize> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = get(&server, "key-b", &format!("{path}{cursor}")).expect(200).json();
            for event in page["events"].as_array().expect("events") {
                found.push(event["event_id"].as_str().expect("an id").parse().expect("a number"));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let expected = |step: usize| (0..1_500).step_by(step).collect::<Vec<_>>();
    assert_eq!(found("/events?order=asc&limit=1000"), expected(1));
    assert_eq!(found("/events?order=asc&limit=37"), expected(1));
    assert_eq!(found("/events?order=asc&limit=1000&event_type=seven"), expected(7));
    assert_eq!(found("/events?order=asc&limit=30&q=eleven"), expected(11));
    let mut newest_first = expected(1);
    newest_first.reverse();
    assert_eq!(found("/events?limit=1000&fields=event_id"), newest_first);
    let lines = get(&server, "key-b", "/events/export?q=eleven&fields=event_id").expect(200).text;
    assert_eq!(lines.lines().count(), expected(11).len());
}
