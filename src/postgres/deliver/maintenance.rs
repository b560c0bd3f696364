//! Creation and retention of partitions, between batches.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::pipeline::Pipeline;
use crate::event::Timestamp;
use crate::metrics::Metrics;
use crate::postgres::StoreError;

/// Interval between two runs.
const INTERVAL: Duration = Duration::from_hours(1);

/// Schedules when partitions are created ahead of their day, and when they are dropped.
#[derive(Debug)]
pub(super) struct Maintenance {
    retention_days: Option<u32>,
    next: Instant,
    /// The last day on which events of that day were stored.
    busy_day: Option<i64>,
    /// The first events of that day were stored since the last run.
    day_begun: bool,
}

impl Maintenance {
    /// Partitions are dropped after `retention_days`; never if `None`.
    pub(super) fn new(retention_days: Option<u32>) -> Self {
        Self { retention_days, next: Instant::now(), busy_day: None, day_begun: false }
    }

    /// Returns whether a run is due.
    pub(super) fn is_due(&self) -> bool {
        self.day_begun || Instant::now() >= self.next
    }

    /// Waits until partitions are to be dropped; for ever without retention.
    pub(super) async fn due(&self) {
        if self.retention_days.is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next.into()).await;
    }

    /// Records the days of events that were stored.
    pub(super) fn stored(&mut self, days: &BTreeSet<i64>) {
        let today = Timestamp::now().day();
        if self.busy_day != Some(today) && days.contains(&today) {
            self.busy_day = Some(today);
            self.day_begun = true;
        }
    }

    /// Creates tomorrow's partition if events of today arrive, so that a report that reads the table at
    /// midnight does not block delivery; and drops old partitions. A failure does not stop delivery.
    pub(super) async fn run(
        &mut self,
        pipeline: &mut Pipeline,
        metrics: &Metrics,
    ) -> Result<(), StoreError> {
        let hour_is_over = Instant::now() >= self.next;
        if hour_is_over {
            self.next = Instant::now() + INTERVAL;
        }
        let day_begun = std::mem::take(&mut self.day_begun);
        let today = Timestamp::now().day();
        if day_begun || hour_is_over && self.busy_day == Some(today) {
            let created = pipeline.create_day(today + 1).await;
            unless_rejected(created, "tomorrow's partition could not be created")?;
        }
        if hour_is_over {
            let deleted = pipeline.delete_expired_receipt_ids().await;
            unless_rejected(deleted, "old IDs could not be deleted from hook_receipt_ids")?;
        }
        if let Some(days) = self.retention_days.filter(|_| hour_is_over) {
            let dropped = pipeline.drop_expired(days).await;
            let dropped = unless_rejected(dropped, "old partitions could not be dropped")?;
            let counter = metrics.retention_deleted.with_label_values(&["partition"]);
            counter.inc_by(dropped.unwrap_or_default() as u64);
        }
        Ok(())
    }
}

/// Logs a rejection by the database, which does not stop delivery, and returns `None` for it.
fn unless_rejected<T>(
    outcome: Result<T, StoreError>,
    failure: &str,
) -> Result<Option<T>, StoreError> {
    match outcome {
        Err(error) if error.is_rejection() => {
            tracing::warn!(%error, "{failure}; retrying in an hour");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}
