//! Fills the bloom filters of the index of ids.
//!
//! For each range of a table's pages, the index has bloom filters of the ids in it. PostgreSQL fills them
//! during a vacuum, or with `autosummarize` within a minute, which skips ranges when there are too many. A
//! search for an id scans every range without a filter. An insert into a range that has one rewrites the
//! filter, which costs more than the insert itself. So each range gets its filter here, soon after it is
//! full, and the last ranges of a day once the day is over and no more events arrive for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Client;

use super::error::{CONNECT_TIMEOUT, StoreError, within};
use super::{Address, partitions, schema};
use crate::event::Timestamp;
use crate::metrics::DatabaseProblem;

/// Interval between two searches for ranges without filters.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for one table, enough for some ten million rows.
const TABLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Minimum number of new rows before the ranges of a current day are filled.
const ROWS_MIN: usize = 5_000;

/// Begins the transaction for a table. To wait for a lock longer than `deadlock_timeout` (1 s) would cancel an
/// autovacuum of that table, which fills the ranges as well.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '500ms'";

/// The days whose ranges still need filters.
#[derive(Debug)]
pub(super) struct IdFilters {
    address: Address,
    /// By number of the day. `None` is the default partition, which counts as a day that is over.
    days: Mutex<BTreeMap<Option<i64>, PendingDay>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PendingDay {
    /// Number of rows inserted since the ranges were last filled.
    rows: usize,
    /// No rows were inserted in the last interval.
    is_quiet: bool,
}

/// Which ranges of a day to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageRanges {
    /// Ranges that get no more rows.
    Full,
    /// All ranges.
    All,
}

impl IdFilters {
    /// Filters of the tables in that database. Connects when there are filters to fill.
    pub(super) fn new(address: Address) -> Self {
        Self { address, days: Mutex::default() }
    }

    /// Records that about this number of rows of these days were stored.
    pub(super) fn stored(&self, days: &BTreeSet<i64>, rows: usize) {
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        for day in days {
            let day = known.entry(partitions::has_partition(*day).then_some(*day)).or_default();
            *day = PendingDay { rows: day.rows + rows, is_quiet: false };
        }
    }

    /// Fills filters, for ever. Retries after failures.
    pub(super) async fn run(&self) {
        let mut has_warned = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let due = self.take_due(Timestamp::now().day());
            let Err(error) = self.fill(&due).await else { continue };
            if error.problem() == DatabaseProblem::Rights
                && !std::mem::replace(&mut has_warned, true)
            {
                tracing::warn!(%error, "the index of ids cannot be updated: queries by id take longer");
            } else {
                // A vacuum holds the lock, or the database is unreachable, which the forwarder reports.
                tracing::debug!(%error, "the index of ids is not up to date; retrying");
            }
            let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
            for (day, _) in due {
                days.entry(day).or_default().rows += ROWS_MIN;
            }
        }
    }

    fn take_due(&self, today: i64) -> Vec<(Option<i64>, PageRanges)> {
        let mut due = Vec::new();
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        days.retain(|number, day| {
            let is_over = number.is_none_or(|number| number < today) && day.is_quiet;
            if is_over {
                due.push((*number, PageRanges::All));
            } else if day.rows >= ROWS_MIN {
                due.push((*number, PageRanges::Full));
                day.rows = 0;
            }
            day.is_quiet = true;
            !is_over
        });
        due
    }

    async fn fill(&self, due: &[(Option<i64>, PageRanges)]) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        let client = within(CONNECT_TIMEOUT, self.address.connect()).await?;
        for &(day, ranges) in due {
            let table = match day {
                Some(day) => partitions::partition(day).0,
                None => "hook_events_default".to_owned(),
            };
            let filled = within(TABLE_TIMEOUT, fill_table(&client, &table, ranges)).await?;
            tracing::debug!(table, filled, "filled filters of ids");
        }
        Ok(())
    }
}

/// Fills the filters of a table. Returns the number of ranges; 0 if the table has no index of ids.
async fn fill_table(client: &Client, table: &str, ranges: PageRanges) -> Result<i64, StoreError> {
    let pages = schema::IDS_PAGES;
    let filled = match ranges {
        PageRanges::All => "brin_summarize_new_values(indexrelid)::bigint".to_owned(),
        // Concurrent transactions fill the last pages, and the table grows by several pages at a time.
        PageRanges::Full => format!(
            "(SELECT sum(brin_summarize_range(indexrelid, page))
              FROM generate_series(0, pg_relation_size(indrelid)
                  / current_setting('block_size')::int - 3 * {pages}, {pages}) AS page)"
        ),
    };
    let select = format!(
        "SELECT coalesce({filled}, 0) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid
         WHERE inhparent = to_regclass('hook_events_ids') AND indrelid = to_regclass('{table}')"
    );
    client.batch_execute(BEGIN).await?;
    let row = client.query_typed_opt(&select, &[]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters of ranges that still get rows would slow down the inserts.
    #[test]
    fn all_ranges_of_a_day_are_filled_once_it_is_over_and_quiet() {
        let address = Address::parse("postgres://localhost/none").expect("an address");
        let filters = IdFilters::new(address);
        let (yesterday, today) = (Timestamp::now().day() - 1, Timestamp::now().day());
        filters.stored(&BTreeSet::from([yesterday, today]), 10);
        assert_eq!(filters.take_due(today), []);
        assert_eq!(filters.take_due(today), [(Some(yesterday), PageRanges::All)]);
        assert_eq!(filters.take_due(today), []);
        filters.stored(&BTreeSet::from([yesterday, today]), ROWS_MIN);
        let full = |day| (Some(day), PageRanges::Full);
        assert_eq!(filters.take_due(today), [yesterday, today].map(full));
        assert_eq!(filters.take_due(today), [(Some(yesterday), PageRanges::All)]);
        assert_eq!(filters.take_due(today + 1), [(Some(today), PageRanges::All)]);
        assert_eq!(filters.take_due(today + 1), []);
        filters.stored(&BTreeSet::from([0, i64::from(i32::MAX)]), 10);
        assert_eq!(filters.take_due(today), []);
        assert_eq!(filters.take_due(today), [(None, PageRanges::All)]);
    }
}
