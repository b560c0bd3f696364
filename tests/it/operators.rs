//! Actions of operators on a running system, none of which may lose an event.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::server::Builder;
use crate::harness::workspace::{forwarded, read_lines};
use crate::harness::{Server, Storage, Workspace, assert_exactly, event, eventually};

both!(rejected_file_is_created_again_after_a_move);

fn rejected_file_is_created_again_after_a_move(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let batch = |id: &str| [event(id), json!({"session_id": "s", "event_id": format!("{id}-bad")})];
    server.client.batch(&batch("1")).expect(202);
    let directory = match storage {
        Storage::Jsonl => workspace.file().with_file_name(""),
        Storage::Postgres => workspace.journal(),
    };
    let file = directory.join("rejected.jsonl");
    let aside = directory.join("looked-at.jsonl");
    std::fs::rename(&file, &aside).expect("there is a file");
    server.client.batch(&batch("2")).expect(202);
    for (file, id) in [(aside, "1-bad"), (file, "2-bad")] {
        let rejected = read_lines(&file);
        assert_eq!(rejected.len(), 1);
        assert_eq!(rejected[0]["event"]["event_id"], id);
    }
}

#[test]
fn required_column_stops_the_forwarder_and_rejects_nothing() {
    let workspace = Workspace::postgres();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    forwarded(&server);
    workspace
        .database()
        .execute("ALTER TABLE hook_events ADD COLUMN tenant text NOT NULL DEFAULT ''");
    workspace.database().execute("ALTER TABLE hook_events ALTER COLUMN tenant DROP DEFAULT");
    let mut second = event("2");
    second["session_id"] = json!("secret-session\n2026-11-27T00:00:00Z ERROR forged\u{1b}[31m");
    server.client.event(&second).expect(202);
    eventually("the health report names the problem", || {
        let error = server.client.health()["database"]["error"].to_string();
        if error.contains("tenant") && error.contains("default") { Ok(()) } else { Err(error) }
    });
    assert_eq!(server.client.metric("hooks_database_problem{problem=\"schema\"}"), 1);
    // Tried again with growing pauses, and reported once.
    eventually("it is tried again", || match server.client.metric("hooks_storage_errors_total") {
        tries @ 0..4 => Err(tries),
        _ => Ok(()),
    });
    let log = server.log();
    assert_eq!(log.matches("delivery to the database failed").count(), 1, "{log}");
    assert_eq!(log.matches("database connected").count(), 1, "{log}");
    assert_eq!(server.client.health()["database"]["reachable"], false);
    // The row is in neither the log nor the report, and the reason is only for readers.
    server.logged("tenant");
    let open = server.client.send_once("GET", "/health", &[], b"").expect("a response").text;
    assert!(open.contains("\"reachable\":") && !open.contains("tenant"), "{open}");
    for text in [server.log(), server.client.health().to_string(), open] {
        assert!(!text.contains("secret-session") && !text.contains("forged"), "{text}");
    }
    workspace.database().execute("ALTER TABLE hook_events ALTER COLUMN tenant SET DEFAULT 'x'");
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
    assert!(workspace.rejected().is_empty());
}

#[test]
fn a_role_that_may_not_create_tables_stores_events_in_the_default_partition() {
    let workspace = Workspace::postgres();
    let database = workspace.database();
    let mut owner = workspace.server().ready().start();
    owner.client.event(&event("1")).expect(202);
    forwarded(&owner);
    owner.stop();
    let role = format!("limited_{}", database.name);
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        database.name
    ));
    let server = workspace.server().set("DATABASE_URL", database.url_as(&role)).ready().start();
    let mut of_another_day = event("2");
    of_another_day["timestamp"] = json!(jiff::Timestamp::now().as_second() - 5 * 86_400);
    server.client.event(&of_another_day).expect(202);
    forwarded(&server);
    server.client.event(&event("3")).expect(202);
    forwarded(&server);
    assert_eq!(database.query("SELECT event_id FROM hook_events_default"), ["2"]);
    assert_eq!(server.client.metric("hooks_storage_errors_total"), 0, "{}", server.log());
    server.logged("hook_events_default");
    let all = workspace.settled(&server);
    assert_exactly(&all, ["1", "2", "3"]);

    // Only a duplicate needs the right to create temporary tables, and says so.
    database.execute("UPDATE hook_positions SET position = 0, fingerprint = NULL");
    server.client.event(&event("4")).expect(202);
    server.logged("GRANT TEMPORARY");
    database.execute(&format!("GRANT TEMPORARY ON DATABASE {} TO {role}", database.name));
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4"]);
    drop(server);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn an_administrator_creates_tables_and_partitions_for_a_role_that_may_not() {
    let workspace = Workspace::postgres();
    let database = workspace.database();
    let migrate = |arguments: &[&str]| {
        let command = workspace.server().argument("migrate");
        let ended = arguments.iter().fold(command, Builder::argument);
        let ended = ended.run();
        assert!(ended.status.success(), "{}", ended.log);
        ended.output
    };
    let statements = migrate(&["--print", "--days", "3"]);
    assert!(
        database.query("SELECT relname::text FROM pg_class WHERE relname ~ '^hook_'").is_empty()
    );
    database.execute(&statements);
    let partitions = "SELECT relname::text FROM pg_class WHERE relname ~ '^hook_events_[0-9]{8}$'";
    assert_eq!(database.query(partitions).len(), 4);
    assert!(migrate(&["--days=3"]).contains("up to date"));
    assert!(migrate(&["--days=5"]).contains("executed"));
    assert_eq!(database.query(partitions).len(), 6);

    // With the rights that the statements name.
    let role = format!("migrated_{}", database.name);
    let grants = statements.lines().filter_map(|line| line.strip_prefix("--   "));
    let grants = grants.map(|grant| {
        let grant = grant.replace(" TO hooks", &format!(" TO {role}"));
        grant.replace("DATABASE hooks", &format!("DATABASE {}", database.name))
    });
    let grants: String = grants.collect();
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC; {grants}",
        database.name
    ));
    let server = workspace.server().set("DATABASE_URL", database.url_as(&role)).ready().start();
    server.client.event(&event("1")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1"]);
    assert!(database.query("SELECT event_id FROM hook_events_default").is_empty());
    // Repeated deliveries need the right to create temporary tables.
    database.execute("UPDATE hook_positions SET position = 0, fingerprint = NULL");
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
    assert!(!server.log().contains("GRANT"), "{}", server.log());
    drop(server);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn migrate_says_what_is_wrong_and_changes_nothing() {
    let workspace = Workspace::postgres_away();
    let ended = workspace.server().argument("migrate").run();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.log.matches("create the database").count(), 1, "{}", ended.log);
    assert_eq!(ended.log.matches("does not exist").count(), 1, "{}", ended.log);
    let ended = Server::builder().argument("migrate").run();
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.log.contains("--database-url"), "{}", ended.log);
    let ended = Server::builder().argument("migrate").set("DATABASE_URL", "mysql://x").run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains("DATABASE_URL"), "{}", ended.log);

    let workspace = Workspace::postgres();
    workspace.database().execute("CREATE TABLE hook_positions (mine int)");
    let ended = workspace.server().argument("migrate").run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.log.contains("nothing was changed") && ended.log.contains("rename it"),
        "{}",
        ended.log
    );
    let tables =
        workspace.database().query("SELECT relname::text FROM pg_class WHERE relname ~ '^hook_'");
    assert_eq!(tables, ["hook_positions"]);
}

#[test]
fn a_schema_that_is_newer_than_the_program_is_left_alone() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    forwarded(&server);
    server.stop();
    workspace.database().execute("INSERT INTO hook_schema_versions VALUES (99)");
    server.restart();
    server.client.event(&event("2")).expect(202);
    server.logged("has version 99");
    server.logged("upgrade");
    assert!(server.client.health()["database"]["error"].to_string().contains("upgrade this one"));
    let ended = workspace.server().argument("migrate").run();
    assert!(!ended.status.success() && ended.log.contains("upgrade this one"), "{}", ended.log);
    workspace.database().execute("DELETE FROM hook_schema_versions WHERE version = 99");
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

/// What the database says can have any characters, and details have the values of rows.
#[test]
fn words_of_the_database_are_escaped_cut_and_without_details_in_both_log_formats() {
    for format in ["text", "json"] {
        let workspace = Workspace::postgres();
        let server = workspace.server().set("LOG_FORMAT", format).ready().start();
        server.client.event(&event("1")).expect(202);
        forwarded(&server);
        workspace.database().execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION \
             USING MESSAGE = E'no\\n2026 ERROR forged \\x1b[31m \\u202e\\u200b\\u3164\\U000E0041' || repeat('z', 9000), \
             DETAIL = 'row of ' || NEW.session_id; END $$",
        );
        workspace.database().execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON hook_events FOR EACH ROW EXECUTE FUNCTION refuse()",
        );
        let mut second = event("2");
        second["session_id"] = json!("secret-session");
        server.client.event(&second).expect(202);
        server.logged("forged");
        let log = server.log();
        assert!(!log.contains("secret-session"), "{log}");
        let line = log.lines().find(|line| line.contains("forged")).expect("a line");
        assert!(line.contains("no") && line.contains("more bytes") && line.len() < 2000, "{line}");
        for hidden in ['\u{1b}', '\u{202e}', '\u{200b}', '\u{3164}', '\u{e0041}'] {
            assert!(!line.contains(hidden), "{hidden:?} in {line}");
        }
        if format == "json" {
            for line in log.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
                assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
            }
        }
        workspace.database().execute("DROP TRIGGER refuse ON hook_events");
        workspace.settled(&server);
    }
}

#[test]
fn rows_that_violate_a_check_constraint_are_rejected() {
    let workspace = Workspace::postgres();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    forwarded(&server);
    workspace.database().execute("ALTER TABLE hook_events ADD CHECK (event_id <> '2')");
    server.client.batch(&["2", "3"].map(event)).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "3"]);
    assert_eq!(workspace.rejected().len(), 1);
}

#[test]
fn database_without_utf8_is_refused_with_advice() {
    let workspace = Workspace::postgres_away();
    let name = &workspace.database().name;
    let template = Workspace::postgres();
    template
        .database()
        .execute(&format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0"));
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    eventually("the health report names the problem", || {
        let error = server.client.health()["database"]["error"].to_string();
        if error.contains("ENCODING 'UTF8'") { Ok(()) } else { Err(error) }
    });
    let ended = workspace.server().argument("migrate").run();
    assert!(!ended.status.success() && ended.log.contains("ENCODING 'UTF8'"), "{}", ended.log);
}

#[test]
fn small_journal_has_room_again_once_its_events_are_stored() {
    let workspace = Workspace::postgres();
    let server = workspace.server().set("JOURNAL_MAX_BYTES", "1MiB").ready().start();
    for id in 0..4 {
        let mut large = event(&id.to_string());
        large["data"] = json!({ "text": "x".repeat(700_000) });
        server.client.event(&large).expect(202);
        forwarded(&server);
    }
    assert_eq!(workspace.events().len(), 4);
}

#[test]
fn failed_rotation_rejects_no_event() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("JSONL_ROTATE", "1MiB").ready().start();
    // As in a container whose volume is a single file.
    let file = workspace.file();
    let mounted = std::process::Command::new("mount").arg("--bind").arg(&file).arg(&file).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting is not permitted here");
        return;
    }
    let large = |id: &str| {
        let mut large = event(id);
        large["data"] = json!({ "text": "x".repeat(600_000) });
        large
    };
    let statuses: Vec<u16> =
        ["1", "2", "3", "4"].iter().map(|id| server.client.event(&large(id)).status).collect();
    let log = server.log();
    let unmounted = std::process::Command::new("umount").arg("--lazy").arg(&file).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!(statuses, [202; 4]);
    assert_eq!(log.matches("rotation failed").count(), 1, "{log}");
    assert_exactly(&workspace.events(), ["1", "2", "3", "4"]);
    server.client.event(&large("5")).expect(202);
    assert_exactly(&workspace.events(), ["5"]);
}

#[test]
fn rejected_large_body_gets_a_response_with_the_reason() {
    let workspace = Workspace::jsonl();
    let server = workspace
        .server()
        .set("API_KEYS", "ci:key:ingest")
        .set("MAX_BODY_BYTES", "2MiB")
        .ready()
        .start();
    for (key, bytes, status) in [("wrong", 8 << 20, 401), ("key", 8 << 20, 413)] {
        let head = format!(
            "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             x-api-key: {key}\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        let mut connection = server.client.connect();
        connection.write(head);
        connection.write(vec![b' '; bytes]);
        let answer = connection.read_to_end();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn sender_waiting_for_the_store_gets_503_at_shutdown() {
    let workspace = Workspace::postgres_away();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "30s").ready().start();
    let client = server.client.clone();
    let waiting = std::thread::spawn(move || {
        client.post("/events?ack=stored", "application/json", &[], event("1").to_string())
    });
    eventually("the event is in the journal", || {
        let synced = server.client.metric("hooks_journal_sync_records_count");
        if synced > 0 { Ok(()) } else { Err(synced) }
    });
    server.signal(Signal::TERM);
    let answer = waiting.join().unwrap().expect(503);
    assert_eq!(answer.header("retry-after"), "5");
    assert!(answer.text.contains("safe in the journal"), "{answer:?}");
    server.signal(Signal::KILL);
    server.wait();
}

#[test]
fn connection_over_the_limit_gets_503() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("MAX_CONNECTIONS", "2").start();
    let mut first = server.client.connect();
    first.write("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n");
    first.read_until("\"alive\"}");
    let mut second = server.client.connect();
    second.write("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n");
    second.read_until("\"alive\"}");
    let answer = server.client.connect().read_to_end();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("(MAX_CONNECTIONS)\"}"), "{answer}");
}
