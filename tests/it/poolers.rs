//! PostgreSQL behind PgBouncer: in session mode with few connections, and in transaction mode, where nothing
//! may be left behind for other applications.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::eventually::when;
use crate::harness::postgres::owner;
use crate::harness::reaper::{self, Process};
use crate::harness::workspace::forwarded;
use crate::harness::{Server, Workspace, assert_exactly, event, eventually, ids};

/// PgBouncer in front of a cluster. It listens on a Unix socket, so that it needs no free port.
struct PgBouncer {
    directory: tempfile::TempDir,
    process: Process,
}

impl PgBouncer {
    fn start(workspace: &Workspace, mode: &str, connections: usize) -> Self {
        let directory = reaper::directory();
        let (user, group) = owner();
        chown(directory.path(), Some(user), Some(group)).expect("PostgreSQL's user is known");
        let cluster = workspace.database().socket();
        let settings = format!(
            "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {}\nauth_type = any\npool_mode = {mode}\n\
             default_pool_size = {connections}\nlogfile = {}\n",
            cluster.parent().expect("a directory").display(),
            directory.path().display(),
            directory.path().join("log").display(),
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("a file");
        let program = Path::new("/usr/sbin/pgbouncer");
        assert!(program.exists(), "pgbouncer is not installed; see scripts/test");
        let process = Process::spawn(program, Signal::KILL, |command| {
            use std::os::unix::process::CommandExt;
            command.arg("-q").arg(&file).current_dir("/").uid(user).gid(group);
        });
        let mut pooler = Self { directory, process };
        eventually("PgBouncer listens", || {
            assert!(pooler.process.try_wait().is_none(), "PgBouncer does not start");
            if pooler.socket().exists() { Ok(()) } else { Err(pooler.socket()) }
        });
        pooler
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.6432")
    }

    fn url(&self, workspace: &Workspace) -> String {
        let host = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}:6432/{}", workspace.database().name)
    }

    /// Another application behind the same pooler.
    fn client(&self, workspace: &Workspace) -> postgres::Client {
        postgres::Client::connect(&self.url(workspace), postgres::NoTls).expect("a connection")
    }
}

/// Sends events of several days and some of them twice, and reads them in every way.
fn send_and_read(workspace: &Workspace, server: &Server) {
    let events: Vec<Value> = (0..3_000)
        .map(|number| {
            json!({
                "event_id": number.to_string(), "event_type": "t", "session_id": format!("s{}", number % 7),
                "timestamp": 1_795_000_000 - number % 3 * 86_400,
            })
        })
        .collect();
    for batch in events.chunks(500) {
        server.client.batch(batch).expect(202);
    }
    forwarded(server);
    // Known to the database only, and copied through the staging table.
    workspace.database().execute("DELETE FROM hook_events WHERE event_id = '7'");
    workspace.database().execute("UPDATE hook_positions SET position = 0, fingerprint = NULL");
    server.client.event(&event("last")).expect(202);
    forwarded(server);
    eventually("all events are exported", || {
        let lines = server.client.get("/events/export", &[]).expect(200).text;
        if lines.lines().count() == 3_001 { Ok(()) } else { Err(lines.len()) }
    });
    for path in ["/events?limit=1000", "/sessions", "/sessions/s1", "/stats", "/events?event_id=5"]
    {
        server.client.get(path, &[]).expect(200);
    }
}

#[test]
fn a_pooler_of_transactions_gets_every_event_and_keeps_nothing_of_this_program() {
    let workspace = Workspace::postgres();
    let pooler = PgBouncer::start(&workspace, "transaction", 3);
    let server = workspace.server().set("DATABASE_URL", pooler.url(&workspace)).ready().start();
    forwarded(&server);
    let mut connection = server.client.connect();
    let stream = format!("GET /events/stream HTTP/1.0\r\n{}\r\n", server.client.read_header());
    connection.write(stream);
    connection.read_until("event: begin\ndata: {}\n\n");
    let streamed = std::thread::spawn(move || {
        let lines = BufReader::new(connection.into_inner()).lines().map_while(Result::ok);
        let events = lines.filter(|line| line.starts_with("data: {\"event_id\""));
        // The one that was deleted is delivered again, as another row.
        events.take(3_000 + 1).last()
    });
    send_and_read(&workspace, &server);
    let last = streamed.join().expect("a stream").expect("events");
    assert!(
        last.contains("\"event_id\":\"last\"") || last.contains("\"event_id\":\"7\""),
        "{last}"
    );
    assert_eq!(server.client.metric("hooks_storage_errors_total"), 0, "{}", server.log());

    // All connections to the database at the same time.
    let mut clients: Vec<_> = (0..3).map(|_| pooler.client(&workspace)).collect();
    for client in &mut clients {
        client.batch_execute("BEGIN").expect("a transaction");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let messages = client
            .simple_query("SELECT name || '=' || setting FROM pg_settings WHERE source = 'session'")
            .expect("the settings");
        let settings: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .filter(|setting| !setting.starts_with("application_name="))
            .collect();
        assert_eq!(settings, Vec::<String>::new());
        let create = format!("CREATE TABLE of_another_application_{number} (number int)");
        client.batch_execute(&create).expect("a table");
    }
}

#[test]
fn a_session_pool_of_one_or_two_connections_does_not_stop_delivery() {
    for connections in [1, 2] {
        let workspace = Workspace::postgres();
        let pooler = PgBouncer::start(&workspace, "session", connections);
        let server = workspace.server().set("DATABASE_URL", pooler.url(&workspace)).ready().start();
        // A backlog for which the server would use several connections.
        let text = "x".repeat(5_000);
        let events: Vec<Value> = (0..6_000)
            .map(|number| {
                json!({
                    "event_id": number.to_string(), "event_type": "t", "session_id": "s",
                    "data": {"text": text},
                })
            })
            .collect();
        for batch in events.chunks(1_000) {
            server.client.batch(batch).expect(202);
        }
        eventually("everything is forwarded", || {
            when(server.client.health(), |health| health["forwarder"]["lag_events"] == 0)
        });
        assert_eq!(server.client.metric("hooks_storage_errors_total"), 0, "{}", server.log());
        assert_eq!(server.client.metric("hooks_events_stored_total"), 6_000);
    }
}

#[test]
fn short_time_limits_and_closed_idle_connections_cause_no_errors() {
    let workspace = Workspace::postgres();
    let database = &workspace.database().name;
    for limit in ["statement_timeout", "idle_in_transaction_session_timeout"] {
        let set = format!("ALTER DATABASE {database} SET {limit} = '1s'");
        workspace.database().execute(&set);
    }
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1"]);
    let all =
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for id in ["2", "3"] {
        let before = workspace.database().query(&format!("SELECT pid::text {all}"));
        assert!(!before.is_empty(), "a connection is open");
        workspace.database().query(&format!("SELECT pg_terminate_backend(pid)::text {all}"));
        eventually("a connection is opened again", || {
            let now = workspace.database().query(&format!("SELECT pid::text {all}"));
            when(now, |now| !now.is_empty() && now.iter().all(|pid| !before.contains(pid)))
        });
        server.client.event(&event(id)).expect(202);
        forwarded(&server);
    }
    let expected = ["1", "2", "3"];
    let mut found =
        ids(&workspace.settled(&server)).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(server.client.metric("hooks_storage_errors_total"), 0, "{}", server.log());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    server.client.get("/events", &[]).expect(200);
}
