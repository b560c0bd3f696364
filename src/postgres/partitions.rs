//! The partitions of `hook_events`: one for each day, and a default one.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use tokio_postgres::Client;

use super::StoreError;
use super::schema::{self, LIMITS};
use crate::event::{Timestamp, civil};

/// Days before and after today that get a partition. Events of other days go to the default partition, so
/// that clients cannot cause any number of partitions.
const DAYS_BACK: i64 = 400;
const DAYS_AHEAD: i64 = 2;

/// Returns the days that have a partition; none without the table.
pub(super) async fn days(client: &Client) -> Result<HashSet<i64>, StoreError> {
    let rows = client
        .query_typed(
            "SELECT (to_date(right(relname, 8), 'YYYYMMDD') - date '1970-01-01')
             FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = to_regclass('hook_events') AND relname ~ '^hook_events_[0-9]{8}$'",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| i64::from(row.get::<_, i32>(0))).collect())
}

/// Returns the days that have no partition and may have one.
pub(super) fn missing_days(
    known: &HashSet<i64>,
    days: &BTreeSet<i64>,
) -> impl Iterator<Item = i64> {
    days.range(days_with_partition()).copied().filter(|day| !known.contains(day))
}

fn days_with_partition() -> RangeInclusive<i64> {
    let today = Timestamp::now().day();
    today - DAYS_BACK..=today + DAYS_AHEAD
}

/// Returns whether events of that day go to the day's partition, not to the default one.
pub(super) fn has_partition(day: i64) -> bool {
    days_with_partition().contains(&day)
}

/// Creates the missing partitions of these days.
pub(super) async fn create_days(
    client: &Client,
    known: &mut HashSet<i64>,
    days: &BTreeSet<i64>,
) -> Result<(), StoreError> {
    for day in missing_days(known, days).collect::<Vec<_>>() {
        create_day(client, day).await?;
        known.insert(day);
    }
    Ok(())
}

/// Drops the partitions that ended at least this number of days ago. Returns how many were dropped.
pub(super) async fn drop_expired(
    client: &Client,
    known: &mut HashSet<i64>,
    retention_days: u32,
) -> Result<usize, StoreError> {
    let oldest_kept = Timestamp::now().day() - i64::from(retention_days);
    let expired: Vec<i64> = known.iter().copied().filter(|day| *day < oldest_kept).collect();
    for &day in &expired {
        let (name, _) = partition(day);
        // Statements that are sent together are one transaction.
        client.batch_execute(&format!("{LIMITS}; DROP TABLE IF EXISTS {name}")).await?;
        tracing::info!(partition = name, "partition dropped after RETENTION_DAYS");
        known.remove(&day);
    }
    Ok(expired.len())
}

/// The name of a day's partition, and the time at which the day begins.
pub(super) fn partition(day: i64) -> (String, String) {
    let (year, month, day) = civil(day);
    (
        format!("hook_events_{year:04}{month:02}{day:02}"),
        format!("{year:04}-{month:02}-{day:02} 00:00:00+00"),
    )
}

/// Returns the statements that create one day's partition, and move the day's events from the default partition to
/// it. Attaching a table does not block readers and writers of other partitions, as `PARTITION OF` would. The
/// partitioned table is locked first, as other statements that change it do (a deadlock otherwise).
pub(super) fn creation(day: i64) -> [String; 5] {
    let ((name, from), (_, to)) = (partition(day), partition(day + 1));
    [
        "LOCK TABLE ONLY hook_events IN SHARE UPDATE EXCLUSIVE MODE".to_owned(),
        "LOCK TABLE hook_events_default IN ACCESS EXCLUSIVE MODE".to_owned(),
        format!("CREATE TABLE {name} (LIKE hook_events INCLUDING ALL)"),
        format!(
            "WITH moved AS (DELETE FROM hook_events_default \
             WHERE \"timestamp\" >= '{from}' AND \"timestamp\" < '{to}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved"
        ),
        format!(
            "ALTER TABLE hook_events ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')"
        ),
    ]
}

async fn create_day(client: &Client, day: i64) -> Result<(), StoreError> {
    let (name, _) = partition(day);
    client.batch_execute(&schema::begin()).await?;
    let exists: bool = client
        .query_typed_one(&format!("SELECT to_regclass('{name}') IS NOT NULL"), &[])
        .await?
        .get(0);
    if !exists {
        for statement in creation(day) {
            client.batch_execute(&statement).await?;
        }
        tracing::info!(partition = name, "partition created");
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}
