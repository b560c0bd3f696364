//! What is done to partitions beside forwarding.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::pipeline::Pipeline;
use crate::event::Timestamp;
use crate::metrics::Metrics;
use crate::postgres::StoreError;

/// How often partitions are looked after.
const INTERVAL: Duration = Duration::from_hours(1);

/// When partitions are made ahead of their day, and dropped.
#[derive(Debug)]
pub(super) struct Maintenance {
    retention_days: Option<u32>,
    next: Instant,
    /// The last day on which events of that day were stored.
    busy_day: Option<i64>,
    /// That day has just begun.
    day_begun: bool,
}

impl Maintenance {
    /// Partitions are dropped after so many days, if after any.
    pub(super) fn new(retention_days: Option<u32>) -> Self {
        Self { retention_days, next: Instant::now(), busy_day: None, day_begun: false }
    }

    /// Whether there is something to do now.
    pub(super) fn is_due(&self) -> bool {
        self.day_begun || Instant::now() >= self.next
    }

    /// Waits until partitions are to be dropped; for ever if none ever are.
    pub(super) async fn due(&self) {
        if self.retention_days.is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next.into()).await;
    }

    /// Takes note of the days of events that were stored.
    pub(super) fn stored(&mut self, days: &BTreeSet<i64>) {
        let today = Timestamp::now().day();
        if self.busy_day != Some(today) && days.contains(&today) {
            self.busy_day = Some(today);
            self.day_begun = true;
        }
    }

    /// Makes tomorrow's partition where events come in day by day, so that no report that reads the
    /// table at midnight holds up delivery; and drops old partitions. Where something is in the way,
    /// events go on all the same.
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
            match pipeline.make_day(today + 1).await {
                Err(error) if error.is_refusal() => tracing::warn!(
                    %error, "tomorrow's partition could not be made; trying again in an hour"
                ),
                made => made?,
            }
        }
        if let Some(days) = self.retention_days.filter(|_| hour_is_over) {
            match pipeline.drop_expired(days).await {
                Err(error) if error.is_refusal() => tracing::warn!(
                    %error, "old partitions could not be dropped; trying again in an hour"
                ),
                dropped => {
                    let counter = metrics.retention_deleted.with_label_values(&["partition"]);
                    counter.inc_by(dropped? as u64);
                }
            }
        }
        Ok(())
    }
}
