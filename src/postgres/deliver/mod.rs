//! The forwarder: delivers the journal to PostgreSQL, in order. A record may be delivered again after a
//! failure; it is stored once.

mod expansion;
mod maintenance;
mod pipeline;
mod receipt_ids;
mod rows;
mod status;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::maintenance::Maintenance;
use self::pipeline::{Pipeline, TRANSACTIONS_MAX};
pub use self::rows::CopyRows;
pub use self::status::ForwarderStatus;
use self::transaction::{Delivered, DeliveryConnection, StoredPosition};
use crate::journal::{Appended, Reader};
use crate::metrics::{DatabaseProblem, Metrics};
use crate::postgres::id_filters::IdFilters;
use crate::postgres::{Address, StoreError};
use crate::rejected::{Durability, RejectedEntry, RejectedFile};

/// Maximum bytes of the journal in one transaction: about 10,000 small events. It is halved after a
/// failure, so that a slow database can store a batch within the time limits.
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_BYTES_MIN: usize = 64 << 10;

/// Backoff after a failure: doubles from the first to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Forwards a journal of segments to PostgreSQL.
#[derive(Debug)]
pub struct Forwarder {
    reader: Reader,
    appended: watch::Receiver<Appended>,
    database: Address,
    rejected: Arc<RejectedFile>,
    metrics: Arc<Metrics>,
    status: watch::Sender<ForwarderStatus>,
    stop: watch::Receiver<bool>,
    maintenance: Maintenance,
    id_filters: Arc<IdFilters>,
    batch_bytes: usize,
    /// True if a batch was committed since the last failure.
    has_committed: bool,
    /// Up to this position there is only one transaction at a time. Set after a failure, which may have
    /// been a deadlock between two transactions.
    sequential_until: u64,
}

/// Why a session with the database failed.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] std::io::Error),
    #[error("the database closed the connection")]
    Closed,
}

impl SessionError {
    fn problem(&self) -> DatabaseProblem {
        match self {
            Self::Store(error) => error.problem(),
            Self::Journal(_) => DatabaseProblem::Other,
            Self::Closed => DatabaseProblem::Unreachable,
        }
    }
}

impl Forwarder {
    /// A forwarder that ends once `stop` is true and everything is stored. It drops partitions after
    /// `retention_days`.
    pub fn new(
        reader: Reader,
        appended: watch::Receiver<Appended>,
        database: Address,
        rejected: Arc<RejectedFile>,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
        retention_days: Option<u32>,
    ) -> Self {
        let status = watch::Sender::new(ForwarderStatus {
            position: reader.start(),
            ..ForwarderStatus::default()
        });
        let id_filters = Arc::new(IdFilters::new(database.clone()));
        Self {
            reader,
            appended,
            database,
            rejected,
            metrics,
            status,
            stop,
            maintenance: Maintenance::new(retention_days),
            id_filters,
            batch_bytes: BATCH_BYTES_MAX,
            has_committed: false,
            sequential_until: 0,
        }
    }

    /// Progress of the forwarder.
    pub fn status(&self) -> watch::Receiver<ForwarderStatus> {
        self.status.subscribe()
    }

    /// Forwards until it is stopped. Failures are reported and retried with backoff, for ever.
    pub async fn run(mut self) {
        // An error means that the journal's writer has ended, which ends the process.
        let _ = self.appended.wait_for(|appended| appended.ready).await;
        self.count_backlog(self.reader.start()).await;
        let nothing_left = {
            let (mut stop, status) = (self.stop.clone(), self.status.subscribe());
            let appended = self.appended.clone();
            async move {
                // An error means that the sender is gone, which is a request to stop as well.
                let _ = stop.wait_for(|stop| *stop).await;
                if status.borrow().lag_events(*appended.borrow()) > 0 {
                    std::future::pending::<()>().await;
                }
            }
        };
        let id_filters = self.id_filters.clone();
        tokio::select! {
            () = self.sessions() => {}
            () = nothing_left => {}
            () = id_filters.run() => {}
        }
    }

    /// Runs one session after another. Returns when a session ends without an error, which is only when
    /// the forwarder was stopped.
    async fn sessions(&mut self) {
        let mut pause = RETRY_FIRST;
        loop {
            let Err(error) = self.session().await else { return };
            if matches!(error, SessionError::Closed) {
                // The database, or a pooler, closes connections that were not used for a while.
                tracing::debug!("the idle database connection was closed; opening another");
                tokio::time::sleep(RETRY_FIRST).await;
                continue;
            }
            // A connection alone is no progress: the database may refuse every row.
            if std::mem::take(&mut self.has_committed) {
                pause = RETRY_FIRST;
            }
            self.report(&error);
            self.note_oldest().await;
            if !matches!(error, SessionError::Store(StoreError::PositionChanged)) {
                self.metrics.storage_errors.inc();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Reports that events are delivered.
    fn report_connected(&self) {
        self.metrics.database_up.set(1);
        self.metrics.set_database_problem(None);
        self.status.send_if_modified(|status| {
            let is_new = !status.connected;
            if is_new {
                let lag_events = status.lag_events(*self.appended.borrow());
                tracing::info!(lag_events, "database connected");
            }
            (status.connected, status.error) = (true, None);
            is_new
        });
    }

    /// Reports a failure. Logs the same one only once, until a batch is committed.
    fn report(&self, error: &SessionError) {
        self.metrics.database_up.set(0);
        self.metrics.set_database_problem(Some(error.problem()));
        let error = error.to_string();
        self.status.send_modify(|status| {
            if status.error.as_ref() != Some(&error) {
                tracing::error!(%error, "delivery to the database failed; events stay in the journal");
            }
            status.connected = false;
            status.error = Some(error);
        });
    }

    /// Delivers over one set of connections. Returns `Ok` when the forwarder was stopped and everything
    /// is stored.
    async fn session(&mut self) -> Result<(), SessionError> {
        let mut pipeline = Pipeline::connect(&self.database).await?;
        let (mut position, journal) = self.resume(pipeline.idle().await?).await?;
        // If the database was restored from a backup, its position is lower than before. The segments
        // after it must be kept from now on, also from the writer when it needs space.
        self.reader.delete_delivered(position)?;
        // Records between `position` and `read_to` are in the pipeline.
        let mut read_to = position;
        self.count_backlog(position).await;
        // After a failure, only a commit shows that it is over.
        if self.status.borrow().error.is_none()
            || self.status.borrow().position >= self.reader.end()
        {
            self.report_connected();
        }
        loop {
            if pipeline.is_empty() {
                self.maintenance.run(&mut pipeline, &self.metrics).await?;
            }
            while self.should_read(&mut pipeline, position, read_to) {
                let (reader, bytes_max) = (self.reader.clone(), self.batch_bytes);
                let read = move || {
                    reader.read(read_to, bytes_max).map(|chunk| CopyRows::encode(chunk, journal))
                };
                let rows = blocking(read).await?;
                if rows.chunk().is_empty() {
                    break;
                }
                report_missing(read_to, &rows);
                while !pipeline.is_empty() && pipeline.needs_partitions(&rows) {
                    position = self.commit(&mut pipeline, position, read_to).await?;
                }
                read_to = rows.chunk().next;
                pipeline.push(rows).await?;
            }
            if !pipeline.is_empty() {
                position = self.commit(&mut pipeline, position, read_to).await?;
                continue;
            }
            if *self.stop.borrow() {
                return Ok(());
            }
            self.status.send_modify(|status| status.oldest = None);
            pipeline.close_extra_connections();
            let store = pipeline.idle().await?;
            tokio::select! {
                () = store.closed() => return Err(SessionError::Closed),
                Ok(_) = self.appended.wait_for(|appended| appended.end > position) => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = self.maintenance.due() => {}
            }
        }
    }

    /// Returns whether to read another batch now. While others are in the pipeline, only a full batch is
    /// read: small concurrent transactions are slower than larger ones.
    fn should_read(&self, pipeline: &mut Pipeline, position: u64, read_to: u64) -> bool {
        let unread = self.appended.borrow().end.saturating_sub(read_to);
        pipeline.is_empty()
            || pipeline.len() < TRANSACTIONS_MAX
                && unread >= self.batch_bytes as u64
                && position >= self.sequential_until
                && !self.maintenance.is_due()
                && pipeline.has_idle()
    }

    /// Returns the position from which to deliver, and the journal's number in the database. Everything
    /// before the position is stored. If that is uncertain, the whole journal is delivered again; rows
    /// whose primary key exists are not inserted twice.
    async fn resume(&self, store: &DeliveryConnection) -> Result<(u64, i32), SessionError> {
        let start = self.reader.start();
        match store.position(&self.reader.id()).await? {
            Some(StoredPosition { position, fingerprint: None, journal }) if position == start => {
                return Ok((position, journal));
            }
            Some(StoredPosition { position, fingerprint, journal }) => {
                let reader = self.reader.clone();
                let found = blocking(move || reader.fingerprint(position)).await?;
                if found.is_some() && found == fingerprint {
                    return Ok((position, journal));
                }
                tracing::warn!(
                    position,
                    start,
                    end = self.reader.end(),
                    "the database has another journal with the same id (a copy, a restored backup, or \
                     deleted segments); delivering all events of this one again, as a new journal"
                );
                self.metrics.journal_missing_bytes.inc_by(start.saturating_sub(position));
                self.reader.renew_id()?;
            }
            None => {}
        }
        let journal = store.begin(&self.reader.id(), start).await?;
        Ok((start, journal))
    }

    /// Commits the oldest batch, and returns the position after it.
    async fn commit(
        &mut self,
        pipeline: &mut Pipeline,
        position: u64,
        read_to: u64,
    ) -> Result<u64, SessionError> {
        self.status.send_modify(|status| status.oldest = pipeline.oldest().or(status.oldest));
        let rejected = &self.rejected;
        let committed = pipeline
            .commit(&self.reader.id(), position, |rows, delivered| {
                record_rejected(rejected, rows, delivered)
            })
            .await;
        let (rows, delivered) = match committed {
            Ok(Some(committed)) => committed,
            Ok(None) => return Ok(position),
            Err(error) => {
                self.batch_bytes = (self.batch_bytes / 2).max(BATCH_BYTES_MIN);
                self.sequential_until = read_to;
                return Err(error.into());
            }
        };
        self.batch_bytes = (self.batch_bytes * 2).min(BATCH_BYTES_MAX);
        self.has_committed = true;
        self.report_connected();
        self.maintenance.stored(rows.days());
        self.id_filters.stored(rows.days(), delivered.stored);
        let next = rows.chunk().next;
        let metrics = &self.metrics;
        metrics.events_stored.inc_by(delivered.stored as u64);
        metrics.journal_missing_bytes.inc_by(rows.chunk().missing);
        let reasons = [
            (&metrics.events_duplicate, "store", delivered.duplicates),
            (&metrics.events_rejected, "store", delivered.rejected.len() + rows.unstorable_len()),
            (&metrics.events_rejected, "damaged", rows.damaged_len()),
        ];
        for (counter, reason, count) in reasons {
            counter.with_label_values(&[reason]).inc_by(count as u64);
        }
        let records = (rows.len() + rows.faulty_len()) as i64;
        self.status.send_modify(|status| {
            status.position = next;
            status.records += records;
        });
        if rows.chunk().missing > 0 {
            // The missing records will never be counted as stored.
            self.count_backlog(next).await;
        }
        if let Err(error) = self.reader.delete_delivered(next) {
            tracing::warn!(%error, "a delivered segment could not be deleted; retrying later");
        }
        Ok(next)
    }

    /// Reads the time of the oldest event that is not stored, for the lag in seconds, after a session has
    /// failed. During a session the pipeline knows it.
    async fn note_oldest(&self) {
        let (reader, position) = (self.reader.clone(), self.status.borrow().position);
        let read = move || reader.read(position, BATCH_BYTES_MIN);
        let rows = blocking(move || read().map(|chunk| CopyRows::encode(chunk, 0))).await;
        if let Some(oldest) = rows.ok().and_then(|rows| rows.oldest()) {
            self.status.send_modify(|status| status.oldest = Some(oldest));
        }
    }

    /// Sets the status as if everything before `position` is stored.
    async fn count_backlog(&self, position: u64) {
        // Read together, the end and the count are consistent even while events are appended.
        let appended = *self.appended.borrow();
        let reader = self.reader.clone();
        // The journal lets the forwarder read records before it publishes their end in `appended`. So
        // `position` can be after `appended.end` for a moment.
        let (start, end) = (position.min(appended.end), position.max(appended.end));
        let count = move || reader.records_between(start, end);
        let between = blocking(count).await.unwrap_or(0) as i64;
        let backlog = if position <= appended.end { between } else { -between };
        self.status.send_modify(|status| {
            status.position = position;
            status.records = appended.records as i64 - backlog;
        });
    }
}

fn report_missing(position: u64, rows: &CopyRows) {
    if rows.chunk().missing > 0 {
        tracing::error!(
            position,
            bytes = rows.chunk().missing,
            "the journal lacks records that were not delivered yet: a segment was deleted or truncated"
        );
    }
}

/// Appends the events that will not be stored to `rejected.jsonl`.
fn record_rejected(
    rejected: &RejectedFile,
    rows: &CopyRows,
    delivered: &Delivered,
) -> std::io::Result<()> {
    if delivered.rejected.is_empty() && rows.faulty_len() == 0 {
        return Ok(());
    }
    let mut rejected_rows = delivered.rejected.iter().peekable();
    let mut all: Vec<(&[u8], String)> = Vec::new();
    // Both are in the order of the journal.
    for (row, original) in rows.originals().enumerate() {
        if let Some((_, reason)) = rejected_rows.next_if(|(rejected, _)| *rejected == row) {
            all.push((original, reason.clone()));
        }
    }
    all.extend(rows.faulty());
    tracing::warn!(
        events = all.len(), file = %rejected.path().display(), first = %all[0].1,
        "events that cannot be stored were written to the file"
    );
    let entries =
        all.iter().map(|(original, error)| RejectedEntry { field: None, error, original });
    rejected.append(entries, Durability::Synced)?;
    Ok(())
}

/// Runs blocking work on a thread for blocking work. If it panics, this panics too, and the process ends:
/// a retry would run into the same bug.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn panic_in_blocking_work_ends_the_forwarder() {
        let _ = super::blocking(|| -> std::io::Result<()> { panic!("a bug") }).await;
    }
}
