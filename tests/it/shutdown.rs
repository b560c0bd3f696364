//! SIGTERM and SIGINT stop the server without loss; a second signal stops it at once.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::client::{Connection, JSON};
use crate::harness::eventually::when;
use crate::harness::http2::Http2;
use crate::harness::load::Load;
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually};

both!(
    sigterm_and_sigint_exit_with_success,
    requests_in_flight_complete_and_connections_are_refused,
    the_server_takes_requests_until_the_delay_ends,
    second_signal_stops_at_once_with_failure,
    loaded_server_without_shutdown_time_exits_with_success_and_loses_nothing,
);

fn sigterm_and_sigint_exit_with_success(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    for (id, signal) in [("1", Signal::TERM), ("2", Signal::INT)] {
        server.client.event(&event(id)).expect(202);
        server.signal(signal);
        assert!(server.wait().success(), "{}", server.log());
        assert!(server.log().contains("stopped"), "{}", server.log());
        server.restart();
    }
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

/// Starts a request; returns its connection and the part of its body that is not sent yet.
fn request_in_flight(server: &Server, id: &str) -> (Connection, String) {
    let mut body = event(id).to_string();
    let mut connection = server.client.connect();
    connection.write(format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        body.len()
    ));
    connection.read_until("HTTP/1.1 100 Continue\r\n\r\n");
    let rest = body.split_off(10);
    connection.write(body);
    (connection, rest)
}

fn requests_in_flight_complete_and_connections_are_refused(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    let (mut connection, rest) = request_in_flight(&server, "slow");
    server.signal(Signal::TERM);
    eventually("connections are refused", || {
        when(TcpStream::connect(server.client.address).is_err(), |is_refused| *is_refused)
    });
    connection.write(rest);
    let response = connection.read_to_end();
    assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
    assert!(server.wait().success(), "{}", server.log());
    server.restart();
    assert_exactly(&workspace.settled(&server), ["slow"]);
}

/// In `SHUTDOWN_DELAY`, load balancers see that the server is not ready, and clients that do not see it yet are
/// served.
fn the_server_takes_requests_until_the_delay_ends(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().set("SHUTDOWN_DELAY", "1h").ready().start();
    let mut idle = server.client.connect();
    let mut http2 = Http2::plain(server.client.address);
    http2.event(&event("1")).expect(202);
    server.signal(Signal::TERM);
    eventually("the server is not ready", || {
        when(server.client.get("/health/ready", &[]), |response| response.status == 503)
    });
    server.client.event(&event("2")).expect(202);
    server.client.get("/health/live", &[]).expect(200);
    server.client.get("/metrics", &[]).expect(200);
    let body = event("3").to_string();
    idle.write(format!(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let response = idle.read_to_end();
    assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert!(!http2.is_closed());
    http2.event(&event("4")).expect(202);
    eventually("the connection is closed", || when(http2.is_closed(), |is_closed| *is_closed));

    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    server.restart();
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4"]);

    // A person at a terminal does not wait.
    server.signal(Signal::INT);
    assert!(server.wait().success(), "{}", server.log());
}

fn second_signal_stops_at_once_with_failure(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "3600").start();
    server.client.event(&event("1")).expect(202);
    let (_connection, _rest) = request_in_flight(&server, "slow");
    server.signal(Signal::TERM);
    server.logged("shutting down");
    server.signal(Signal::INT);
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "{status}: {}", server.log());
    server.restart();
    assert_exactly(&workspace.settled(&server), ["1"]);
}

fn loaded_server_without_shutdown_time_exits_with_success_and_loses_nothing(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "0s").ready().start();
    let mut load = Load::new(8, 20);
    for round in 1..=5 {
        let sending = load.start(&server.client);
        eventually("events are accepted", || {
            when(sending.acknowledged(), |acknowledged| *acknowledged >= round * 1000)
        });
        server.stop();
        sending.stop();
        assert!(!server.log().contains("ERROR"), "{}", server.log());
        server.restart();
    }
    load.finish(&server.client);
    assert_exactly(&workspace.settled(&server), load.sent());
}

#[test]
fn idle_server_without_shutdown_time_logs_no_warning() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "0s").ready().start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn stalled_request_does_not_delay_shutdown() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "1").start();
    server.client.event(&event("1")).expect(202);
    let (_connection, _rest) = request_in_flight(&server, "slow");
    server.stop();
    assert_exactly(&workspace.events(), ["1"]);
}

#[test]
fn forwarder_delivers_the_backlog_before_exit() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    let batch: Vec<_> = (0..5000).map(|id| event(&id.to_string())).collect();
    for part in batch.chunks(1000) {
        server.client.batch(part).expect(202);
    }
    server.stop();
    assert_exactly(&workspace.events(), (0..5000).map(|id| id.to_string()));
}

#[test]
fn without_the_database_shutdown_is_in_time_and_events_follow_after_restart() {
    let workspace = Workspace::postgres_away();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "1").start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    assert!(server.log().contains("will be delivered after the next start"), "{}", server.log());
    workspace.database().create();
    server.restart();
    assert_exactly(&workspace.settled(&server), ["1"]);
}

#[test]
fn hangup_without_anything_to_reload_is_ignored() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("API_KEYS", "ci:key-1:ingest").start();
    server.signal(Signal::HUP);
    server.logged("SIGHUP ignored");
    server.client.post("/events", JSON, &[("x-api-key", "key-1")], "{}").expect(422);
    server.stop();
}
