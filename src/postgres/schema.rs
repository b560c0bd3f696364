//! The tables and their migrations.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::StoreError;
use super::columns::{columns, sql_type};
use crate::event::{ColumnKind, PromotedColumn};

/// Key of the advisory lock that every change of the schema takes, so that servers may start at the same
/// time: "hooks" in ASCII.
const ADVISORY_LOCK: i64 = 0x68_6f_6f_6b_73;

/// Time limits of a change of the schema, for its transaction only: a pooler gives the connection to others.
pub(super) const LIMITS: &str =
    "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '15s'";

/// Returns the statements that begin a change of the schema, in a transaction that no other server's change overlaps.
pub(super) fn begin() -> String {
    format!("BEGIN; {LIMITS}; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
}

/// Migrations in order. Each is applied once, in a transaction. Never change a released one.
const MIGRATIONS: [&str; 2] = [
    include_str!("migrations/0001_hook_events.sql"),
    include_str!("migrations/0002_hook_receipt_ids.sql"),
];

/// Number of a table's pages that share bloom filters in the index of ids: some 900 rows.
pub(super) const IDS_PAGES: usize = 64;

/// First version of PostgreSQL with bloom filters in BRIN.
const IDS_VERSION_MIN: i32 = 140_000;

/// Returns the statement that creates the index of ids: bloom filters for ranges of pages, because a
/// B-tree of ids makes an insert 10 to 20 % slower. A search for an id reads all filters, 3 bytes for each
/// row. `id_filters` fills them; `read::sql` explains the collation.
///
/// The filters are sized for 960 events and half as many tool uses; three pairs fit a page. Where rows
/// are so small that a range has twice as many, 5 % of the ranges are false positives.
fn ids_index() -> String {
    format!(
        "CREATE INDEX hook_events_ids ON hook_events USING brin (\
         event_id COLLATE \"POSIX\" text_bloom_ops(n_distinct_per_range = 960, false_positive_rate = 0.001), \
         tool_use_id COLLATE \"POSIX\" text_bloom_ops(n_distinct_per_range = 480, false_positive_rate = 0.001)) \
         WITH (pages_per_range = {IDS_PAGES})"
    )
}

/// Migrates the schema, and checks that it has the columns that rows are encoded for.
pub(super) async fn migrate(client: &Client) -> Result<(), StoreError> {
    if !changes(client).await?.is_empty() {
        client.batch_execute(&begin()).await?;
        // Another server may have done it while this one waited for the lock.
        let changes = changes(client).await?;
        for statement in &changes {
            client.batch_execute(statement).await?;
        }
        client.batch_execute("COMMIT").await?;
        if !changes.is_empty() {
            tracing::info!(version = MIGRATIONS.len(), "database schema migrated");
        }
    }
    check_columns(client).await
}

async fn check_encoding(client: &Client) -> Result<(), StoreError> {
    let encoding: String = client.query_typed_one("SHOW server_encoding", &[]).await?.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::SchemaMismatch(format!(
        "its encoding is {encoding}, and events need UTF8 (CREATE DATABASE ... ENCODING 'UTF8' \
         TEMPLATE template0)"
    )))
}

/// Returns the statements that bring the schema to this program's version. Servers of several versions may use a
/// database, but none that is older than its schema.
pub(super) async fn changes(client: &Client) -> Result<Vec<String>, StoreError> {
    check_encoding(client).await?;
    let applied = version(client).await?;
    if applied > MIGRATIONS.len() {
        return Err(StoreError::SchemaMismatch(format!(
            "it has version {applied}, and this program ({}) knows versions up to {}: a newer hooks-backend has \
             migrated it, upgrade this one",
            env!("CARGO_PKG_VERSION"),
            MIGRATIONS.len()
        )));
    }
    let mut changes = Vec::new();
    if applied < MIGRATIONS.len() {
        changes.push(
            "CREATE TABLE IF NOT EXISTS hook_schema_versions (
    version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
                .to_owned(),
        );
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(applied) {
        changes.push((*migration).trim_end().trim_end_matches(';').to_owned());
        changes.push(format!("INSERT INTO hook_schema_versions VALUES ({})", at + 1));
    }
    // On tables with rows it would block writers.
    if applied == 0 && server_version(client).await? >= IDS_VERSION_MIN {
        changes.push(ids_index());
    }
    changes.extend(columns_to_add(client).await?);
    Ok(changes)
}

/// Returns the statement that adds the promoted columns that the migrations do not create and the table does not
/// have yet. They are null in existing rows, so this changes the catalog only.
async fn columns_to_add(client: &Client) -> Result<Option<String>, StoreError> {
    let existing = column_types(client).await?;
    let is_migrated = |name: &str| {
        let is_definition = |line: &str| line.split_whitespace().next() == Some(name);
        MIGRATIONS.iter().any(|migration| migration.lines().any(is_definition))
    };
    let is_missing = |column: &PromotedColumn| {
        !is_migrated(column.name()) && !existing.contains_key(column.name())
    };
    let additions = PromotedColumn::ALL.into_iter().filter(is_missing).map(|column| {
        let collation = if column.kind() == ColumnKind::Text { " COLLATE \"C\"" } else { "" };
        format!("ADD COLUMN IF NOT EXISTS {} {}{collation}", column.name(), sql_type(column))
    });
    let additions: Vec<_> = additions.collect();
    let is_any = !additions.is_empty();
    Ok(is_any.then(|| format!("ALTER TABLE hook_events {}", additions.join(", "))))
}

/// Logs a warning if there is no index of ids, with the statement that creates it.
pub(super) async fn check_ids_index(client: &Client) -> Result<(), StoreError> {
    let select = "SELECT to_regclass('hook_events_ids') IS NOT NULL";
    if client.query_typed_one(select, &[]).await?.get(0) {
        return Ok(());
    }
    if server_version(client).await? < IDS_VERSION_MIN {
        tracing::warn!(
            "a query by event_id or tool_use_id without session_id scans all events: its index needs \
             PostgreSQL 14 or newer"
        );
    } else {
        tracing::warn!(
            statement = %ids_index(),
            "a query by event_id or tool_use_id without session_id scans all events, because the tables \
             are older than its index; this statement creates it, and blocks delivery for a few \
             seconds for each million events"
        );
    }
    Ok(())
}

async fn server_version(client: &Client) -> Result<i32, StoreError> {
    let select = "SELECT current_setting('server_version_num')::int";
    Ok(client.query_typed_one(select, &[]).await?.get(0))
}

async fn version(client: &Client) -> Result<usize, StoreError> {
    // After a wait for an advisory lock, `to_regclass` would still say that the table does not exist: a backend
    // reads the invalidations of its caches when it locks a table, as this query does.
    let select = "SELECT EXISTS (SELECT FROM pg_class \
                  WHERE relname = 'hook_schema_versions' AND pg_table_is_visible(oid))";
    let exists: bool = client.query_typed_one(select, &[]).await?.get(0);
    if !exists {
        return Ok(0);
    }
    let version: i32 = client
        .query_typed_one("SELECT coalesce(max(version), 0) FROM hook_schema_versions", &[])
        .await?
        .get(0);
    Ok(usize::try_from(version).unwrap_or(0))
}

/// Checks the table's columns, because an altered table would reject every row.
async fn check_columns(client: &Client) -> Result<(), StoreError> {
    let found = column_types(client).await?;
    for (column, expected) in columns() {
        let actual = found.get(column).map_or("missing", String::as_str);
        if actual != expected {
            return Err(StoreError::SchemaMismatch(format!(
                "column {column} of table hook_events should have type {expected}, but is {actual}"
            )));
        }
    }
    Ok(())
}

/// Returns the type of each column of the table.
async fn column_types(client: &Client) -> Result<HashMap<String, String>, StoreError> {
    let select = "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
         WHERE attrelid = to_regclass('hook_events') AND attnum > 0 AND NOT attisdropped";
    let rows = client.query_typed(select, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
