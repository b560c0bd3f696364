//! The tables, their migrations, and the partitions that are made day by day.

use std::collections::{BTreeSet, HashSet};

use tokio_postgres::Client;

use super::StoreError;
use super::rows::COLUMNS;
use crate::event::{Timestamp, civil};

/// Taken for every change of the schema, so that many servers may start at once: "hooks" in ASCII.
const ADVISORY_LOCK: i64 = 0x68_6f_6f_6b_73;

/// Days that get a partition of their own, before and after today. Beyond them events go to the
/// default partition, so that nobody can make partitions without end.
const DAYS_BACK: i64 = 400;
const DAYS_AHEAD: i64 = 2;

/// Each is applied once, in order, in a transaction. Never change one that was released.
const MIGRATIONS: [&str; 2] = [
    r#"
CREATE TABLE hook_events (
    session_id   text COLLATE "C" NOT NULL,
    event_id     text COLLATE "C" NOT NULL,
    "timestamp"  timestamptz NOT NULL,
    event_type   text COLLATE "C" NOT NULL,
    workflow_id  text COLLATE "C",
    phase_id     text COLLATE "C",
    milestone_id text COLLATE "C",
    data         jsonb NOT NULL,
    received_at  timestamptz NOT NULL,
    agent        text COLLATE "C",
    tool_name    text COLLATE "C",
    tool_use_id  text COLLATE "C",
    duration_ms  double precision,
    extra        jsonb,
    PRIMARY KEY (session_id, event_id, "timestamp")
) PARTITION BY RANGE ("timestamp");
CREATE TABLE hook_events_default PARTITION OF hook_events DEFAULT;
CREATE INDEX hook_events_timestamp ON hook_events ("timestamp");
CREATE INDEX hook_events_event_type ON hook_events (event_type, "timestamp");
CREATE INDEX hook_events_workflow ON hook_events (workflow_id, "timestamp")
    WHERE workflow_id IS NOT NULL;
CREATE TABLE hook_positions (
    journal_id  uuid PRIMARY KEY,
    position    bigint NOT NULL,
    fingerprint bigint,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE hook_positions IS
    'How far each server''s journal has been forwarded; written with the rows it stands for.';
"#,
    r#"
ALTER TABLE hook_events
    ADD COLUMN input_tokens      bigint,
    ADD COLUMN output_tokens     bigint,
    ADD COLUMN cost_usd          double precision,
    ADD COLUMN subagent_id       text COLLATE "C",
    ADD COLUMN parent_session_id text COLLATE "C";
"#,
];

/// Brings the schema up to date, and checks that it is the one that rows are encoded for.
pub(super) async fn migrate(client: &Client) -> Result<(), StoreError> {
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await?.get(0);
    if encoding != "UTF8" {
        return Err(StoreError::Shape(format!(
            "its encoding is {encoding}, and events need UTF8 (CREATE DATABASE ... ENCODING 'UTF8' \
             TEMPLATE template0)"
        )));
    }
    if version(client).await? < MIGRATIONS.len() {
        client
            .batch_execute(&format!(
                "BEGIN; SELECT pg_advisory_xact_lock({ADVISORY_LOCK});
                 CREATE TABLE IF NOT EXISTS hook_schema_versions (
                     version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            ))
            .await?;
        // Another server may have done it while this one waited for the lock.
        let applied = version(client).await?;
        for (at, migration) in MIGRATIONS.iter().enumerate().skip(applied) {
            client.batch_execute(migration).await?;
            let version = at + 1;
            client
                .batch_execute(&format!("INSERT INTO hook_schema_versions VALUES ({version})"))
                .await?;
            tracing::info!(version, "database schema migrated");
        }
        client.batch_execute("COMMIT").await?;
    }
    check_columns(client).await
}

async fn version(client: &Client) -> Result<usize, StoreError> {
    let exists: bool = client
        .query_one("SELECT to_regclass('hook_schema_versions') IS NOT NULL", &[])
        .await?
        .get(0);
    if !exists {
        return Ok(0);
    }
    let version: i32 = client
        .query_one("SELECT coalesce(max(version), 0) FROM hook_schema_versions", &[])
        .await?
        .get(0);
    Ok(usize::try_from(version).unwrap_or(0))
}

/// A table that someone altered would refuse every row for its content, so it is refused first.
async fn check_columns(client: &Client) -> Result<(), StoreError> {
    let found = client
        .query(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
             WHERE attrelid = to_regclass('hook_events') AND attnum > 0 AND NOT attisdropped",
            &[],
        )
        .await?;
    for (column, expected) in COLUMNS {
        let actual = found.iter().find(|row| row.get::<_, &str>(0) == column);
        let actual = actual.map_or("missing", |row| row.get::<_, &str>(1));
        if actual != expected {
            return Err(StoreError::Shape(format!(
                "column {column} of table hook_events should be of type {expected}, and is {actual}"
            )));
        }
    }
    Ok(())
}

/// The days that have a partition.
pub(super) async fn days(client: &Client) -> Result<HashSet<i64>, StoreError> {
    let rows = client
        .query(
            "SELECT (to_date(right(relname, 8), 'YYYYMMDD') - date '1970-01-01')
             FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = 'hook_events'::regclass AND relname ~ '^hook_events_[0-9]{8}$'",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| i64::from(row.get::<_, i32>(0))).collect())
}

/// The partitions that these days lack and may have.
pub(super) fn missing_days(
    known: &HashSet<i64>,
    days: &BTreeSet<i64>,
) -> impl Iterator<Item = i64> {
    let today = Timestamp::now().day();
    let wanted = days.range(today - DAYS_BACK..=today + DAYS_AHEAD);
    wanted.copied().filter(|day| !known.contains(day))
}

/// Makes the partitions that these days lack and may have.
pub(super) async fn make_days(
    client: &Client,
    known: &mut HashSet<i64>,
    days: &BTreeSet<i64>,
) -> Result<(), StoreError> {
    for day in missing_days(known, days).collect::<Vec<_>>() {
        make_day(client, day).await?;
        known.insert(day);
    }
    Ok(())
}

/// Drops the partitions whose last moment is that many whole days ago; returns how many.
pub(super) async fn drop_expired(
    client: &Client,
    known: &mut HashSet<i64>,
    retention_days: u32,
) -> Result<usize, StoreError> {
    let oldest_kept = Timestamp::now().day() - i64::from(retention_days);
    let expired: Vec<i64> = known.iter().copied().filter(|day| *day < oldest_kept).collect();
    for &day in &expired {
        let (name, _) = partition(day);
        client.batch_execute(&format!("DROP TABLE IF EXISTS {name}")).await?;
        tracing::info!(partition = name, "dropped after RETENTION_DAYS");
        known.remove(&day);
    }
    Ok(expired.len())
}

/// A day's partition: its name, and when the day begins.
fn partition(day: i64) -> (String, String) {
    let (year, month, day) = civil(day);
    (
        format!("hook_events_{year:04}{month:02}{day:02}"),
        format!("{year:04}-{month:02}-{day:02} 00:00:00+00"),
    )
}

/// Makes one day's partition, and moves what the default partition has of that day. Attaching
/// blocks no one who reads or writes other partitions, as `PARTITION OF` would.
async fn make_day(client: &Client, day: i64) -> Result<(), StoreError> {
    let ((name, from), (_, to)) = (partition(day), partition(day + 1));
    client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
    let exists: bool =
        client.query_one(&format!("SELECT to_regclass('{name}') IS NOT NULL"), &[]).await?.get(0);
    if !exists {
        client
            .batch_execute(&format!(
                "LOCK TABLE hook_events_default IN ACCESS EXCLUSIVE MODE;
                 CREATE TABLE {name} (LIKE hook_events INCLUDING ALL);
                 WITH moved AS (
                     DELETE FROM hook_events_default
                     WHERE \"timestamp\" >= '{from}' AND \"timestamp\" < '{to}' RETURNING *)
                 INSERT INTO {name} SELECT * FROM moved;
                 ALTER TABLE hook_events ATTACH PARTITION {name}
                     FOR VALUES FROM ('{from}') TO ('{to}')"
            ))
            .await?;
        tracing::info!(partition = name, "partition made");
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}
