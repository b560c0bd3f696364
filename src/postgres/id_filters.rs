//! What the index of ids knows.
//!
//! For each range of a table's pages the index has bloom filters of the ids in it. PostgreSQL fills them
//! when it vacuums, or in the minute after a range if it is asked to (`autosummarize`, which forgets what is too
//! much for it). A range without a filter is looked through for every id; a row that comes to a range with
//! one rewrites that filter, which costs more than the row. So ranges get theirs here, soon after they are
//! full; the last ones of a day once the day is over and nothing comes for it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Client;

use super::error::{CONNECT_TIMEOUT, StoreError, within};
use super::{Address, schema};
use crate::event::Timestamp;
use crate::metrics::DatabaseProblem;

/// How often ranges are looked for.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a table may take: some ten million rows.
const TABLE_TIMEOUT: Duration = Duration::from_mins(1);

/// New rows of a day for which its ranges are looked at, while the day lasts.
const ROWS_MIN: usize = 5_000;

/// Waiting for a lock longer than `deadlock_timeout` (1 s) would end a vacuum of that table, which fills
/// the ranges as well.
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '500ms'; \
     SET client_min_messages = warning";

/// What has no filters yet, and the filling of them.
#[derive(Debug)]
pub(super) struct Summaries {
    address: Address,
    /// By its number; without one the default partition, which counts as a day that is over.
    days: Mutex<BTreeMap<Option<i64>, Day>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Day {
    /// Rows that have come since its ranges were looked at.
    rows: usize,
    /// None of them since the last interval began.
    is_quiet: bool,
}

/// Which ranges of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    /// Those that no row will come to any more.
    Full,
    All,
}

impl Summaries {
    /// Of the tables in that database. Connects when there is something to do.
    pub(super) fn new(address: Address) -> Self {
        Self { address, days: Mutex::default() }
    }

    /// Takes note that about so many rows of these days were stored.
    pub(super) fn stored(&self, days: &BTreeSet<i64>, rows: usize) {
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        for day in days {
            let day = known.entry(schema::has_partition(*day).then_some(*day)).or_default();
            *day = Day { rows: day.rows + rows, is_quiet: false };
        }
    }

    /// Fills filters, without end. What fails is tried again.
    pub(super) async fn run(&self) {
        let mut has_warned = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let due = self.take_due(Timestamp::now().day());
            let Err(error) = self.fill(&due).await else { continue };
            if error.problem() == DatabaseProblem::Rights
                && !std::mem::replace(&mut has_warned, true)
            {
                tracing::warn!(%error, "the index of ids is not kept up to date: looking for an id takes longer");
            } else {
                // A vacuum has the lock, or the database is away, which the forwarder reports.
                tracing::debug!(%error, "the index of ids is not up to date; trying again");
            }
            let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
            for (day, _) in due {
                days.entry(day).or_default().rows += ROWS_MIN;
            }
        }
    }

    fn take_due(&self, today: i64) -> Vec<(Option<i64>, Ranges)> {
        let mut due = Vec::new();
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        days.retain(|number, day| {
            let is_over = number.is_none_or(|number| number < today) && day.is_quiet;
            if is_over {
                due.push((*number, Ranges::All));
            } else if day.rows >= ROWS_MIN {
                due.push((*number, Ranges::Full));
                day.rows = 0;
            }
            day.is_quiet = true;
            !is_over
        });
        due
    }

    async fn fill(&self, due: &[(Option<i64>, Ranges)]) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        let client = within(CONNECT_TIMEOUT, self.address.connect(SESSION)).await?;
        for &(day, ranges) in due {
            let table = match day {
                Some(day) => schema::partition(day).0,
                None => "hook_events_default".to_owned(),
            };
            let filled = within(TABLE_TIMEOUT, fill_table(&client, &table, ranges)).await?;
            tracing::debug!(table, filled, "ranges got filters of ids");
        }
        Ok(())
    }
}

/// Fills what is not filled of a table; returns how many ranges. Does nothing where there is no index.
async fn fill_table(client: &Client, table: &str, ranges: Ranges) -> Result<i64, StoreError> {
    let pages = schema::IDS_PAGES;
    let filled = match ranges {
        Ranges::All => "brin_summarize_new_values(indexrelid)::bigint".to_owned(),
        // Transactions side by side fill the last pages, and the table grows by many at once.
        Ranges::Full => format!(
            "(SELECT sum(brin_summarize_range(indexrelid, page))
              FROM generate_series(0, pg_relation_size(indrelid)
                  / current_setting('block_size')::int - 3 * {pages}, {pages}) AS page)"
        ),
    };
    let select = format!(
        "SELECT coalesce({filled}, 0) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid
         WHERE inhparent = to_regclass('hook_events_ids') AND indrelid = to_regclass('{table}')"
    );
    let row = client.query_opt(&select, &[]).await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day's last ranges would cost every row that comes to them.
    #[test]
    fn a_day_is_done_when_it_is_over_and_quiet() {
        let address = Address::parse("postgres://localhost/none").expect("an address");
        let summaries = Summaries::new(address);
        let (yesterday, today) = (Timestamp::now().day() - 1, Timestamp::now().day());
        summaries.stored(&BTreeSet::from([yesterday, today]), 10);
        assert_eq!(summaries.take_due(today), []);
        assert_eq!(summaries.take_due(today), [(Some(yesterday), Ranges::All)]);
        assert_eq!(summaries.take_due(today), []);
        summaries.stored(&BTreeSet::from([yesterday, today]), ROWS_MIN);
        let full = |day| (Some(day), Ranges::Full);
        assert_eq!(summaries.take_due(today), [yesterday, today].map(full));
        assert_eq!(summaries.take_due(today), [(Some(yesterday), Ranges::All)]);
        assert_eq!(summaries.take_due(today + 1), [(Some(today), Ranges::All)]);
        assert_eq!(summaries.take_due(today + 1), []);
        summaries.stored(&BTreeSet::from([0, i64::from(i32::MAX)]), 10);
        assert_eq!(summaries.take_due(today), []);
        assert_eq!(summaries.take_due(today), [(None, Ranges::All)]);
    }
}
