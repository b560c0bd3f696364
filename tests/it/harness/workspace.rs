//! Directory and database of one test, and access to everything that its servers store there.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::eventually::{eventually, when};
use super::postgres::{Cluster, Database};
use super::reaper;
use super::server::{Builder, Server};

/// The storages under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Jsonl,
    Postgres,
}

/// The working directory of one test, and a database if the storage needs one.
pub(crate) struct Workspace {
    directory: TempDir,
    database: Option<Database>,
}

impl Workspace {
    pub(crate) fn new(storage: Storage) -> Self {
        match storage {
            Storage::Jsonl => Self::jsonl(),
            Storage::Postgres => Self::postgres(),
        }
    }

    pub(crate) fn jsonl() -> Self {
        Self { directory: reaper::directory(), database: None }
    }

    /// With a new database in the shared cluster.
    pub(crate) fn postgres() -> Self {
        Self::on(Cluster::shared().database())
    }

    /// Like [`Workspace::postgres`], but the database does not exist until the test creates it: to
    /// the server it is unreachable.
    pub(crate) fn postgres_away() -> Self {
        Self::on(Cluster::shared().future_database())
    }

    pub(crate) fn on(database: Database) -> Self {
        Self { directory: reaper::directory(), database: Some(database) }
    }

    /// A server that stores its events in this workspace.
    pub(crate) fn server(&self) -> Builder {
        let server = Server::builder().directory(self.directory());
        match &self.database {
            Some(database) => server.set("DATABASE_URL", database.url()),
            None => server,
        }
    }

    /// The database, with postgres storage.
    pub(crate) fn try_database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    #[track_caller]
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("postgres storage")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file of jsonl storage.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory().join(".agentic/analytics/events.jsonl")
    }

    /// The journal of postgres storage.
    pub(crate) fn journal(&self) -> PathBuf {
        self.directory().join(".agentic/journal")
    }

    /// The journal files with that extension, oldest first.
    pub(crate) fn journal_files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.journal()).expect("the journal");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        paths.sort();
        paths
    }

    /// The file of rejected events.
    pub(crate) fn rejected_file(&self) -> PathBuf {
        let directory = match self.database {
            Some(_) => self.journal(),
            None => self.directory().join(".agentic/analytics"),
        };
        directory.join("rejected.jsonl")
    }

    /// The entries of `rejected.jsonl`.
    pub(crate) fn rejected(&self) -> Vec<Value> {
        let path = self.rejected_file();
        if path.exists() { read_lines(&path) } else { Vec::new() }
    }

    /// All stored events, normalized for both storages: all fields are present, times are text.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let Some(database) = &self.database else {
            return read_lines(&self.file()).into_iter().map(with_all_fields).collect();
        };
        let migrated = "SELECT 'yes' WHERE to_regclass('hook_positions') IS NOT NULL";
        if database.query(migrated).is_empty() {
            return Vec::new();
        }
        let time = |column: &str| {
            format!("to_char(\"{column}\" AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        };
        let rows = database.query(&format!(
            "SELECT (to_jsonb(hook_events) - 'journal' - 'position' || jsonb_build_object('timestamp', {}, 'received_at', {}))::text
             FROM hook_events ORDER BY received_at",
            time("timestamp"),
            time("received_at")
        ));
        rows.iter().map(|row| serde_json::from_str(row).expect("a row is JSON")).collect()
    }

    /// All stored events, once the forwarder has no backlog.
    #[track_caller]
    pub(crate) fn settled(&self, server: &Server) -> Vec<Value> {
        if self.database.is_some() {
            forwarded(server);
        }
        self.events()
    }
}

/// Waits until the forwarder of a server with postgres storage has no backlog.
#[track_caller]
pub(crate) fn forwarded(server: &Server) {
    eventually("everything is forwarded", || {
        when(server.client.health(), |health| {
            health["database"]["reachable"] == true && health["forwarder"]["lag_events"] == 0
        })
    });
}

/// Waits until PostgreSQL has the events that the server has received so far. Others may follow all the
/// time.
pub(crate) fn forwarded_so_far(server: &Server) {
    let begun = Instant::now();
    eventually("all events received so far are forwarded", || {
        when(server.client.health(), |health| {
            let age = health["forwarder"]["lag_seconds"].as_f64().expect("a number of seconds");
            health["database"]["reachable"] == true && age < begun.elapsed().as_secs_f64()
        })
    });
}

pub(crate) fn with_all_fields(mut event: Value) -> Value {
    for member in agentic_hooks_backend::event::MEMBERS {
        let event = event.as_object_mut().expect("an event is an object");
        event.entry(member.name).or_insert(json!(null));
    }
    event
}

/// The values of a JSON Lines file, which must end with a complete line.
#[track_caller]
pub(crate) fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file of text");
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "{} ends with an incomplete line",
        path.display()
    );
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    text.lines().map(parse).collect()
}
