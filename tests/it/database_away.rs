//! While the database is unreachable or misconfigured, events are accepted, and delivered once it works.

use serde_json::{Value, json};

use crate::errors::problem;
use crate::harness::client::JSON;
use crate::harness::eventually::when;
use crate::harness::load::Load;
use crate::harness::postgres::PASSWORD_ROLE;
use crate::harness::{Cluster, Server, Workspace, assert_exactly, event, eventually, ids};

/// `/health`, once it is degraded and has the error.
#[track_caller]
fn degraded(server: &Server) -> Value {
    let health = eventually("the database's error is known", || {
        when(server.client.health(), |health| health["database"]["error"].is_string())
    });
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["storage"], "postgres", "{health}");
    assert_eq!(health["database"]["reachable"], false, "{health}");
    server.client.get("/health", &[]).expect(200);
    server.client.get("/health/ready", &[]).expect(200);
    health
}

#[track_caller]
fn healthy(server: &Server) {
    let health = server.client.health();
    assert_eq!(health["status"], "healthy", "{health}");
    assert_eq!(health["database"], json!({ "reachable": true }), "{health}");
    assert_eq!(health["forwarder"], json!({ "lag_events": 0, "lag_seconds": 0.0 }), "{health}");
}

#[test]
fn events_accepted_before_postgresql_starts_are_delivered_afterwards() {
    let cluster = Cluster::stopped();
    cluster.start();
    let workspace = Workspace::on(cluster.database());
    cluster.stop();

    let server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    server.client.event(&event("3")).expect(202);
    degraded(&server);
    let health = eventually("the lag is known", || {
        when(server.client.health(), |health| health["forwarder"]["lag_seconds"] != 0.0)
    });
    assert_eq!(health["forwarder"]["lag_events"], 3, "{health}");
    assert_eq!(server.client.metric("hooks_database_up"), 0);

    cluster.start();
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
    healthy(&server);
    assert_eq!(server.client.metric("hooks_database_up"), 1);
}

#[test]
fn events_are_stored_exactly_once_when_postgresql_crashes_under_load() {
    let cluster = Cluster::stopped();
    cluster.start();
    let workspace = Workspace::on(cluster.database());
    let server = workspace.server().start();
    let mut load = Load::new(4, 10);
    let round = load.start(&server.client);
    let more = |than: usize| {
        eventually("events are accepted", || {
            let taken = round.acknowledged() - than;
            if taken > 300 { Ok(()) } else { Err(taken) }
        });
    };
    for _ in 0..3 {
        more(round.acknowledged());
        cluster.stop();
        more(round.acknowledged());
        cluster.start();
    }
    more(round.acknowledged());
    round.stop();
    assert_eq!(load.acknowledged(), load.sent().len(), "clients do not notice the database");
    load.finish(&server.client);
    assert_exactly(&workspace.settled(&server), load.sent());
    healthy(&server);
}

#[test]
fn missing_database_is_reported_and_used_once_it_exists() {
    let workspace = Workspace::postgres_away();
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    let error = degraded(&server)["database"]["error"].to_string();
    assert!(error.contains(&workspace.database().name), "{error}");
    assert!(error.contains("DATABASE_URL"), "{error}");
    workspace.database().create();
    assert_exactly(&workspace.settled(&server), ["1"]);
    healthy(&server);
}

#[test]
fn wrong_password_is_reported_without_the_password() {
    let workspace = Workspace::postgres();
    let database = workspace.database();
    let role = format!("role_{}", database.name);
    database.execute(&format!(
        "DO $$ BEGIN CREATE ROLE {PASSWORD_ROLE}; EXCEPTION WHEN OTHERS THEN NULL; END $$;
         SET password_encryption = 'scram-sha-256';
         CREATE ROLE {role} LOGIN PASSWORD 'another' IN ROLE {PASSWORD_ROLE};
         ALTER DATABASE {} OWNER TO {role}",
        database.name
    ));
    let url = database.url_as(&format!("{role}:hush-hush"));
    let server = workspace.server().set("DATABASE_URL", url).set("LOG_LEVEL", "trace").start();
    server.client.event(&event("1")).expect(202);
    let error = degraded(&server)["database"]["error"].to_string();
    assert!(error.contains("password"), "{error}");
    assert!(error.contains("DATABASE_URL"), "{error}");

    // Not the default of PostgreSQL 13.
    database.execute(&format!(
        "SET password_encryption = 'scram-sha-256'; ALTER ROLE {role} PASSWORD 'hush-hush'"
    ));
    assert_exactly(&workspace.settled(&server), ["1"]);
    assert!(!error.contains("hush"), "{error}");
    assert!(!server.log().contains("hush"), "{}", server.log());
    database.execute(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn table_of_another_program_is_reported_and_not_changed() {
    let workspace = Workspace::postgres();
    let database = workspace.database();
    database.execute("CREATE TABLE hook_events (id int); INSERT INTO hook_events VALUES (7)");
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    let error = degraded(&server)["database"]["error"].to_string();
    assert!(error.contains("hook_events"), "{error}");
    assert!(error.contains("rename"), "{error}");

    database.execute("ALTER TABLE hook_events RENAME TO of_another_program");
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
    assert_eq!(database.query("SELECT id::text FROM of_another_program"), ["7"]);
    healthy(&server);
}

#[test]
fn altered_table_rejects_no_events() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    workspace.settled(&server);
    server.stop();
    workspace.database().execute("ALTER TABLE hook_events RENAME COLUMN agent TO robot");
    server.restart();
    server.client.event(&event("2")).expect(202);
    let error = degraded(&server)["database"]["error"].to_string();
    assert!(error.contains("column agent of table hook_events"), "{error}");
    workspace.database().execute("ALTER TABLE hook_events RENAME COLUMN robot TO agent");
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
    assert_eq!(workspace.rejected(), [] as [Value; 0]);
}

#[test]
fn full_journal_rejects_events_until_the_database_is_back() {
    let workspace = Workspace::postgres_away();
    let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").start();
    let mut number = 0;
    let mut next = || {
        number += 1;
        let mut event = event(&number.to_string());
        event["data"] = json!({ "text": "x".repeat(20_000) });
        event
    };
    let mut accepted = Vec::new();
    let rejected = loop {
        let event = next();
        let answer = server.client.event(&event);
        match answer.status {
            202 => accepted.push(event),
            _ => break (event, answer),
        }
    };
    let (event, answer) = rejected;
    let answer = answer.expect(503);
    assert!(accepted.len() > 40, "{} events of 20 kB in 1 MiB", accepted.len());
    assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("JOURNAL_MAX_BYTES"), "{detail}");
    let health = server.client.get("/health", &[]).expect(503).json();
    assert_eq!(health["status"], "unhealthy", "{health}");
    server.client.get("/health/ready", &[]).expect(503);

    workspace.database().create();
    let retried = eventually("events are accepted again", || {
        when(server.client.event(&event), |answer| answer.status == 202)
    });
    assert_eq!(retried.json()["accepted"], 1);
    accepted.push(event);
    assert_exactly(&workspace.settled(&server), ids(&accepted));
    healthy(&server);
}

#[test]
fn ack_stored_times_out_while_the_database_is_unreachable_and_the_event_is_stored_later() {
    let workspace = Workspace::postgres_away();
    let server = workspace.server().set("STORED_TIMEOUT", "1s").ready().start();
    let body = event("1").to_string();
    let post = || server.client.post("/events?ack=stored", JSON, &[], &body);
    let answer = post();
    let problem = problem(&answer, 503, "ack=stored");
    let detail = problem["detail"].as_str().expect("words");
    assert!(
        detail.contains("safe in the journal") && detail.contains("STORED_TIMEOUT"),
        "{detail}"
    );
    assert_eq!(answer.header("retry-after"), "5");
    workspace.database().create();
    assert_exactly(&workspace.settled(&server), ["1"]);
    post().expect(202);
    assert_exactly(&workspace.settled(&server), ["1"]);
}

#[test]
fn queries_are_unavailable_while_the_database_is_unreachable() {
    let cluster = Cluster::stopped();
    let workspace = Workspace::on(cluster.future_database());
    let server = workspace.server().ready().start();
    let answer = server.client.get("/events", &[]).expect(503);
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    server.client.event(&event("1")).expect(202);
    cluster.start();
    workspace.database().create();
    crate::reading::shown(&server.client, 1);
    cluster.stop();
    server.client.get("/events", &[]).expect(503);
    cluster.start();
    crate::reading::shown(&server.client, 1);
}
