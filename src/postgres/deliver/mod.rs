//! The forwarder: journal to store, in order, each record exactly once.

mod expansion;
mod maintenance;
mod pipeline;
mod rows;
mod status;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::maintenance::Maintenance;
use self::pipeline::{LANES, Pipeline};
pub use self::rows::Rows;
pub use self::status::Status;
use self::transaction::{Delivered, Postgres, StoredPosition};
use crate::journal::{Appended, Reader};
use crate::metrics::{DatabaseProblem, Metrics};
use crate::postgres::id_filters::Summaries;
use crate::postgres::{Address, StoreError};
use crate::rejected::{Durability, Entry, RejectedFile};

/// Bytes of journal in one transaction: about 10,000 small events. Halved after a failure, so that
/// a database that cannot take so many within its time limits still gets on.
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_BYTES_MIN: usize = 64 << 10;

/// Pause after a failure; doubles from the one to the other.
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
    status: watch::Sender<Status>,
    stop: watch::Receiver<bool>,
    maintenance: Maintenance,
    summaries: Arc<Summaries>,
    batch_bytes: usize,
    /// Up to this position one transaction follows the other: after a failure, which two that waited
    /// for each other's rows may have been.
    one_by_one_until: u64,
}

/// Why a session with the database ended.
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
    /// A forwarder that ends when `stop` turns true and everything is stored, and that drops
    /// partitions after `retention_days`.
    pub fn new(
        reader: Reader,
        appended: watch::Receiver<Appended>,
        database: Address,
        rejected: Arc<RejectedFile>,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
        retention_days: Option<u32>,
    ) -> Self {
        let status = watch::Sender::new(Status { position: reader.start(), ..Status::default() });
        let summaries = Arc::new(Summaries::new(database.clone()));
        Self {
            reader,
            appended,
            database,
            rejected,
            metrics,
            status,
            stop,
            maintenance: Maintenance::new(retention_days),
            summaries,
            batch_bytes: BATCH_BYTES_MAX,
            one_by_one_until: 0,
        }
    }

    /// Follows how it gets on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Forwards until told to stop. Failures are reported and tried again, without end.
    pub async fn run(mut self) {
        // A writer that ends before it has read its journal ends the process.
        let _ = self.appended.wait_for(|appended| appended.ready).await;
        self.count_backlog(self.reader.start()).await;
        let nothing_left = {
            let (mut stop, status) = (self.stop.clone(), self.status.subscribe());
            let appended = self.appended.clone();
            async move {
                // Without its sender nobody waits for more either.
                let _ = stop.wait_for(|stop| *stop).await;
                if status.borrow().lag_events(*appended.borrow()) > 0 {
                    std::future::pending::<()>().await;
                }
            }
        };
        let summaries = self.summaries.clone();
        tokio::select! {
            () = self.sessions() => {}
            () = nothing_left => {}
            () = summaries.run() => {}
        }
    }

    /// One session after the other, until one ends well.
    async fn sessions(&mut self) {
        let mut pause = RETRY_FIRST;
        loop {
            let Err(error) = self.session().await else { return };
            let was_connected = self.status.borrow().connected;
            if was_connected {
                pause = RETRY_FIRST;
            }
            self.report(&error);
            self.note_oldest().await;
            if !matches!(error, SessionError::Store(StoreError::Moved)) {
                self.metrics.storage_errors.inc();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Says what is wrong, once for each thing that goes wrong.
    fn report(&self, error: &SessionError) {
        self.metrics.database_up.set(0);
        self.metrics.set_database_problem(Some(error.problem()));
        let error = error.to_string();
        self.status.send_modify(|status| {
            if status.error.as_ref() != Some(&error) {
                tracing::error!(%error, "events are kept in the journal, not yet in the database");
            }
            status.connected = false;
            status.error = Some(error);
        });
    }

    /// One pipeline's life. Ends well only when all is stored and no more is to come.
    async fn session(&mut self) -> Result<(), SessionError> {
        let mut pipeline = Pipeline::connect(&self.database).await?;
        let (mut position, journal) = self.resume(pipeline.idle().await?).await?;
        // A database that went back needs again what it had; nothing of that may make room now.
        self.reader.trim(position)?;
        // What stands before it has been read, and is stored or on its way.
        let mut read_to = position;
        self.metrics.database_up.set(1);
        self.metrics.set_database_problem(None);
        self.count_backlog(position).await;
        self.status.send_modify(|status| {
            tracing::info!(
                lag_events = status.lag_events(*self.appended.borrow()),
                "database connected"
            );
            status.connected = true;
            status.error = None;
        });
        loop {
            if pipeline.is_empty() {
                self.maintenance.run(&mut pipeline, &self.metrics).await?;
            }
            while self.reads_on(&pipeline, position, read_to) {
                let (reader, bytes_max) = (self.reader.clone(), self.batch_bytes);
                let read = move || {
                    reader.read(read_to, bytes_max).map(|chunk| Rows::encode(chunk, journal))
                };
                let rows = blocking(read).await?;
                if rows.chunk().is_empty() {
                    break;
                }
                report_missing(read_to, &rows);
                while !pipeline.is_empty() && pipeline.lacks_days(&rows) {
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
            pipeline.rest();
            let store = pipeline.idle().await?;
            tokio::select! {
                () = store.closed() => return Err(SessionError::Closed),
                Ok(_) = self.appended.wait_for(|appended| appended.end > position) => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = self.maintenance.due() => {}
            }
        }
    }

    /// Whether to read another batch now. Beside others only if it would be a full one: small
    /// transactions side by side cost more than they bring.
    fn reads_on(&self, pipeline: &Pipeline, position: u64, read_to: u64) -> bool {
        let unread = self.appended.borrow().end.saturating_sub(read_to);
        pipeline.is_empty()
            || pipeline.len() < LANES
                && unread >= self.batch_bytes as u64
                && position >= self.one_by_one_until
                && !self.maintenance.is_due()
    }

    /// Where to go on. What stands before it has been stored; if that cannot be known for certain,
    /// everything the journal has is delivered again, and the table's key sorts out what it had. Also
    /// returns the journal's number in the database.
    async fn resume(&self, store: &Postgres) -> Result<(u64, i32), SessionError> {
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
                    "the database knows another journal by this one's name (a copy, a restored \
                     backup, or deleted segments); delivering again all that this one has, as a \
                     new journal"
                );
                self.metrics.journal_missing_bytes.inc_by(start.saturating_sub(position));
                self.reader.renew_id()?;
            }
            None => {}
        }
        let journal = store.begin(&self.reader.id(), start).await?;
        Ok((start, journal))
    }

    /// Commits the oldest batch: returns the position after it.
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
                set_aside(rejected, rows, delivered)
            })
            .await;
        let (rows, delivered) = match committed {
            Ok(Some(committed)) => committed,
            Ok(None) => return Ok(position),
            Err(error) => {
                self.batch_bytes = (self.batch_bytes / 2).max(BATCH_BYTES_MIN);
                self.one_by_one_until = read_to;
                return Err(error.into());
            }
        };
        self.batch_bytes = (self.batch_bytes * 2).min(BATCH_BYTES_MAX);
        self.maintenance.stored(rows.days());
        self.summaries.stored(rows.days(), delivered.stored);
        let next = rows.chunk().next;
        let metrics = &self.metrics;
        metrics.events_stored.inc_by(delivered.stored as u64);
        metrics.journal_missing_bytes.inc_by(rows.chunk().missing);
        let reasons = [
            (&metrics.events_duplicate, "store", delivered.duplicates),
            (&metrics.events_rejected, "store", delivered.refused.len() + rows.unstorable_len()),
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
            // Nobody will ever count the records that are missing as stored.
            self.count_backlog(next).await;
        }
        if let Err(error) = self.reader.trim(next) {
            tracing::warn!(%error, "a delivered segment could not be deleted; trying again later");
        }
        Ok(next)
    }

    /// Finds out how old the oldest waiting event is, while none is being delivered.
    async fn note_oldest(&self) {
        let (reader, position) = (self.reader.clone(), self.status.borrow().position);
        let read = move || reader.read(position, BATCH_BYTES_MIN);
        let rows = blocking(move || read().map(|chunk| Rows::encode(chunk, 0))).await;
        if let Some(oldest) = rows.ok().and_then(|rows| rows.oldest()) {
            self.status.send_modify(|status| status.oldest = Some(oldest));
        }
    }

    /// Sets the status to what is stored if everything before `position` is.
    async fn count_backlog(&self, position: u64) {
        // The end and the count belong together, so what is appended meanwhile changes nothing.
        let appended = *self.appended.borrow();
        let reader = self.reader.clone();
        // Bytes can be read, and so be stored, a moment before it is told that they were appended.
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

fn report_missing(position: u64, rows: &Rows) {
    if rows.chunk().missing > 0 {
        tracing::error!(
            position,
            bytes = rows.chunk().missing,
            "the journal lacks a part that was to be forwarded: a segment was deleted or cut"
        );
    }
}

/// Writes down what is not going to be stored.
fn set_aside(rejected: &RejectedFile, rows: &Rows, delivered: &Delivered) -> std::io::Result<()> {
    if delivered.refused.is_empty() && rows.faulty_len() == 0 {
        return Ok(());
    }
    let mut refused = delivered.refused.iter().peekable();
    let mut all: Vec<(&[u8], String)> = Vec::new();
    // Both in the order of the journal.
    for (row, original) in rows.originals().enumerate() {
        if let Some((_, reason)) = refused.next_if(|(refused, _)| *refused == row) {
            all.push((original, reason.clone()));
        }
    }
    all.extend(rows.faulty());
    tracing::warn!(
        events = all.len(), file = %rejected.path().display(), first = %all[0].1,
        "events that cannot be stored were set aside"
    );
    let entries = all.iter().map(|(original, error)| Entry { field: None, error, original });
    rejected.append(entries, Durability::Synced)?;
    Ok(())
}

/// Runs what blocks on the disk or the processor away from the network's threads. A panic there is
/// one here, and ends the process: to try again would be to meet the same bug for ever.
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
    async fn a_panic_away_from_the_network_ends_the_forwarder() {
        let _ = super::blocking(|| -> std::io::Result<()> { panic!("a bug") }).await;
    }
}
