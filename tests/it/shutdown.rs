//! SIGTERM and SIGINT lose nothing; the second one stops at once.

use rustix::process::Signal;

use crate::errors::problem;
use crate::harness::client::Connection;
use crate::harness::eventually::when;
use crate::harness::load::Load;
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually};

both!(
    sigterm_and_sigint_end_with_success,
    requests_in_flight_are_answered_and_new_ones_are_sent_away,
    a_second_signal_stops_at_once_with_failure,
    without_any_time_a_server_under_load_still_ends_with_success_and_loses_nothing,
);

fn sigterm_and_sigint_end_with_success(storage: Storage) {
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

/// A request that the server has begun to receive, and what is missing of its body.
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

fn requests_in_flight_are_answered_and_new_ones_are_sent_away(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    let (mut connection, rest) = request_in_flight(&server, "slow");
    server.signal(Signal::TERM);
    eventually("the server is not ready", || {
        when(server.client.get("/health/ready", &[]), |answer| answer.status == 503)
    });
    let answer = server.client.event(&event("late"));
    problem(&answer, 503, "draining");
    assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{answer:?}");
    server.client.get("/health/live", &[]).expect(200);
    server.client.get("/metrics", &[]).expect(200);

    connection.write(rest);
    let answer = connection.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(server.wait().success(), "{}", server.log());
    server.restart();
    assert_exactly(&workspace.settled(&server), ["slow"]);
}

fn a_second_signal_stops_at_once_with_failure(storage: Storage) {
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

fn without_any_time_a_server_under_load_still_ends_with_success_and_loses_nothing(
    storage: Storage,
) {
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
fn without_any_time_an_idle_server_has_nothing_to_report() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "0s").ready().start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_server() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "1").start();
    server.client.event(&event("1")).expect(202);
    let (_connection, _rest) = request_in_flight(&server, "slow");
    server.stop();
    assert_exactly(&workspace.events(), ["1"]);
}

#[test]
fn the_forwarder_gets_time_to_deliver() {
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
fn with_the_database_away_a_server_stops_in_time_and_delivers_after_the_next_start() {
    let workspace = Workspace::postgres_away();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "1").start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    assert!(server.log().contains("will be delivered after the next start"), "{}", server.log());
    workspace.database().create();
    server.restart();
    assert_exactly(&workspace.settled(&server), ["1"]);
}
