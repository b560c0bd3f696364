//! `GET /events/stream`: every event arrives exactly once, also across disconnects and crashes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::load::Load;
use crate::harness::{
    Client, Cluster, Server, Storage, Workspace, assert_exactly, event, eventually, ids,
};

both!(
    events_arrive_when_they_are_accepted,
    filters_apply_to_streams,
    a_reconnecting_client_receives_every_event_once,
    a_filtered_stream_resumes_across_many_other_events,
    a_killed_server_causes_no_gap,
    shutdown_ends_streams_with_a_reason,
    a_slow_client_is_disconnected_with_a_reason,
    an_unknown_position_is_gone,
);

/// A message of a stream.
#[derive(Clone, Debug, Default)]
struct Message {
    id: String,
    name: String,
    data: String,
}

/// One connection to the stream.
struct Stream {
    lines: BufReader<TcpStream>,
    last_id: String,
}

impl Stream {
    /// Connects after a position, else with the next event; `None` if the server is not ready.
    fn try_open(client: &Client, query: &str, after: &str) -> Option<Self> {
        let mut connection = TcpStream::connect(client.address).ok()?;
        connection.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        let after =
            if after.is_empty() { String::new() } else { format!("last-event-id: {after}\r\n") };
        // HTTP/1.0: no chunked encoding.
        let read_header = client.read_header();
        let head = format!("GET /events/stream?{query} HTTP/1.0\r\n{read_header}{after}\r\n");
        connection.write_all(head.as_bytes()).ok()?;
        let mut lines = BufReader::new(connection);
        let mut status = String::new();
        lines.read_line(&mut status).ok()?;
        if !status.starts_with("HTTP/1.0 200") {
            return None;
        }
        let mut line = String::new();
        while lines.read_line(&mut line).ok()? > 2 {
            line.clear();
        }
        let mut stream = Self { lines, last_id: String::new() };
        assert_eq!(stream.next()?.name, "begin");
        Some(stream)
    }

    #[track_caller]
    fn open(server: &Server, query: &str, after: &str) -> Self {
        let open = || Self::try_open(&server.client, query, after).ok_or("not open");
        eventually("the stream is open", open)
    }

    /// The next message; `None` if the connection was closed.
    fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut message.id),
                Some(("event", name)) => name.clone_into(&mut message.name),
                Some(("data", data)) => data.clone_into(&mut message.data),
                None if line == "\n" && !message.data.is_empty() => {
                    if !message.id.is_empty() {
                        self.last_id.clone_from(&message.id);
                    }
                    return Some(message);
                }
                _ => {}
            }
        }
    }

    /// The next events.
    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let message = self.next().unwrap_or_else(|| panic!("closed after {events:?}"));
            assert_eq!(message.name, "", "{message:?}");
            events.push(serde_json::from_str(&message.data).expect("an event"));
        }
        events
    }
}

fn ready(storage: Storage) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    (workspace, server)
}

fn events_arrive_when_they_are_accepted(storage: Storage) {
    let (_workspace, server) = ready(storage);
    server.client.event(&event("before")).expect(202);
    crate::reading::shown(&server.client, 1);
    let mut stream = Stream::open(&server, "", "");
    let mut old = event("1");
    old["timestamp"] = json!("2001-01-01T00:00:00Z");
    server.client.event(&old).expect(202);
    server.client.batch(&[event("2"), event("3")]).expect(202);
    let found = stream.take(3);
    assert_eq!(ids(&found), ["1", "2", "3"]);
    let asked = server.client.get("/events?event_id=1", &[]).json();
    assert_eq!(found[0], asked["events"][0]);
}

fn filters_apply_to_streams(storage: Storage) {
    let (_workspace, server) = ready(storage);
    let query = "event_type=wanted&q=needle&fields=event_id";
    let mut stream = Stream::open(&server, query, "");
    let with = |number: usize, kind: &str, text: &str| {
        json!({
            "event_id": number.to_string(), "event_type": kind, "session_id": "s", "data": {"text": text},
        })
    };
    let events: Vec<_> = (0..700)
        .map(|number| match number {
            100 | 650 => with(number, "wanted", "a needle"),
            200 => with(number, "wanted", "hay"),
            _ => with(number, "other", "needle"),
        })
        .collect();
    for batch in events.chunks(10) {
        server.client.batch(batch).expect(202);
    }
    assert_eq!(stream.take(2), [json!({"event_id": "100"}), json!({"event_id": "650"})]);
}

fn a_reconnecting_client_receives_every_event_once(storage: Storage) {
    let (_workspace, server) = ready(storage);
    let mut stream = Stream::open(&server, "", "");
    let mut load = Load::new(4, 7);
    let round = load.start(&server.client);
    let mut found = Vec::new();
    // Also in the middle of batches.
    for count in [1, 2, 3, 5, 8, 13, 100, 400] {
        found.extend(stream.take(count));
        stream = Stream::open(&server, "", &stream.last_id.clone());
    }
    round.stop();
    load.finish(&server.client);
    let all = load.sent();
    found.extend(stream.take(all.len() - found.len()));
    assert_exactly(&found, all);
}

/// The other events have more bytes than one query reads.
fn a_filtered_stream_resumes_across_many_other_events(storage: Storage) {
    let (_workspace, server) = ready(storage);
    let mut stream = Stream::open(&server, "event_type=wanted", "");
    let wanted = |id: &str| {
        let event = json!({"event_id": id, "event_type": "wanted", "session_id": "s"});
        server.client.event(&event).expect(202);
    };
    wanted("seen");
    stream.take(1);
    let workspace = stream.last_id.clone();
    drop(stream);
    wanted("first");
    for number in 0..66 {
        let mut other = event(&number.to_string());
        other["data"] = json!({"output": "x".repeat(1 << 20)});
        server.client.event(&other).expect(202);
    }
    wanted("last");
    crate::reading::shown(&server.client, 69);
    let mut stream = Stream::open(&server, "event_type=wanted", &workspace);
    assert_eq!(ids(&stream.take(2)), ["first", "last"]);
}

fn a_killed_server_causes_no_gap(storage: Storage) {
    let (workspace, mut server) = ready(storage);
    let mut stream = Stream::open(&server, "", "");
    let mut load = Load::new(3, 5);
    let mut found = Vec::new();
    for round in 0..4 {
        let sending = load.start(&server.client);
        found.extend(stream.take(60));
        server.kill9();
        sending.stop();
        // Data in flight may still arrive, also incompletely.
        while let Some(message) = stream.next() {
            found.push(serde_json::from_str(&message.data).expect("an event"));
        }
        if storage == Storage::Jsonl && round == 2 {
            std::fs::remove_file(workspace.file().with_extension("jsonl.index")).expect("deleted");
        }
        server.restart();
        stream = Stream::open(&server, "", &stream.last_id.clone());
    }
    load.finish(&server.client);
    let stored: BTreeSet<String> = workspace
        .settled(&server)
        .iter()
        .map(|event| event["event_id"].as_str().expect("an id").to_owned())
        .collect();
    found.extend(stream.take(stored.len() - found.len()));
    assert_exactly(&found, stored);
}

fn shutdown_ends_streams_with_a_reason(storage: Storage) {
    let (_workspace, mut server) = ready(storage);
    let mut stream = Stream::open(&server, "", "");
    server.stop();
    let end = stream.next().expect("a last message");
    assert_eq!(end.name, "end");
    assert!(end.data.contains("shutting_down"), "{end:?}");
    assert!(stream.next().is_none());
}

fn a_slow_client_is_disconnected_with_a_reason(storage: Storage) {
    let workspace = Workspace::new(storage);
    // The connection itself waits for longer than the stream, also on a busy machine.
    let server = workspace.server().set("BODY_TIMEOUT", "10m").ready().start();
    let mut stream = Stream::open(&server, "", "");
    let mut large = event("0");
    large["data"] = json!({"text": "x".repeat(1 << 20)});
    for number in 0..40 {
        large["event_id"] = json!(number.to_string());
        server.client.event(&large).expect(202);
    }
    server.logged("stream closed");
    let mut found = 0;
    let end = loop {
        let message = stream.next().expect("a last message");
        if message.name == "end" {
            break message;
        }
        found += 1;
    };
    assert!(end.data.contains("slow_reader"), "{end:?}");
    let rest = Stream::open(&server, "fields=event_id", &stream.last_id.clone()).take(40 - found);
    assert_eq!(rest.last().expect("events")["event_id"], "39");
}

fn an_unknown_position_is_gone(storage: Storage) {
    let (_workspace, server) = ready(storage);
    crate::reading::shown(&server.client, 0);
    for place in ["nonsense", "1-zz", "ffff.1.2"] {
        let response = server.client.get("/events/stream", &[("last-event-id", place)]).expect(410);
        assert!(
            response.json()["detail"].as_str().is_some_and(|text| text.contains("Last-Event-ID"))
        );
    }
    server.client.get("/events/stream?since=never", &[]).expect(422);
}

/// Two servers on one database: a stream has the events of both, before and after a reconnect.
#[test]
fn a_stream_has_the_events_of_other_servers() {
    let workspace = Workspace::postgres();
    let elsewhere = crate::harness::reaper::directory();
    let mut one = workspace.server().ready().start();
    let two = workspace.server().directory(elsewhere.path()).ready().start();
    let mut stream = Stream::open(&one, "", "");
    let mut load = Load::new(2, 3);
    let round = load.start(&one.client);
    let others: Vec<_> = (0..200).map(|number| format!("other-{number}")).collect();
    for id in &others {
        two.client.event(&event(id)).expect(202);
    }
    let mut found = stream.take(150);
    one.kill9();
    round.stop();
    while let Some(message) = stream.next() {
        found.push(serde_json::from_str(&message.data).expect("an event"));
    }
    let late: Vec<_> = (0..50).map(|number| format!("late-{number}")).collect();
    for id in &late {
        two.client.event(&event(id)).expect(202);
    }
    one.restart();
    let mut stream = Stream::open(&one, "", &stream.last_id.clone());
    load.finish(&one.client);
    crate::harness::workspace::forwarded(&two);
    let stored = workspace.settled(&one);
    found.extend(stream.take(stored.len() - found.len()));
    assert_exactly(&found, ids(&stored));
    assert!(others.iter().chain(&late).all(|id| ids(&found).contains(&id.as_str())));
}

#[test]
fn a_copied_and_truncated_file_is_not_streamed_again() {
    let (workspace, server) = ready(Storage::Jsonl);
    server.client.batch(&[event("1"), event("2")]).expect(202);
    crate::reading::shown(&server.client, 2);
    let mut stream = Stream::open(&server, "", "");
    let file = workspace.file();
    for (round, id) in [(1, "3"), (2, "4")] {
        let copy = file.with_file_name(format!("events.jsonl.{round}"));
        std::fs::copy(&file, copy).expect("copied");
        std::fs::write(&file, "").expect("truncated");
        server.client.event(&event(id)).expect(202);
        assert_eq!(ids(&stream.take(1)), [id]);
        crate::reading::shown(&server.client, 2 + round);
    }
}

/// A failover can lose the row of a journal. The journal is delivered again, and streams have seen it.
#[test]
fn a_journal_that_the_database_has_lost_is_not_streamed_again() {
    let cluster = Cluster::stopped();
    cluster.start();
    let workspace = Workspace::on(cluster.database());
    let mut other = workspace.server().set("JOURNAL_DIR", "other").ready().start();
    other.client.event(&event("0")).expect(202);
    workspace.settled(&other);
    other.stop();
    cluster.stop();
    cluster.back_up();
    cluster.start();

    let mut server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 1);
    let mut stream = Stream::open(&server, "", "");
    server.client.batch(&[event("1"), event("2")]).expect(202);
    assert_eq!(ids(&stream.take(2)), ["1", "2"]);
    let last_id = stream.last_id.clone();
    server.stop();
    cluster.stop();
    cluster.restore();
    cluster.start();
    // Another server's journal was registered first.
    other.restart();
    workspace
        .database()
        .execute("SELECT nextval(pg_get_serial_sequence('hook_positions', 'number'))");
    server.restart();
    crate::reading::shown(&server.client, 3);
    let mut stream = Stream::open(&server, "", &last_id);
    server.client.event(&event("3")).expect(202);
    assert_eq!(ids(&stream.take(1)), ["3"]);
}
