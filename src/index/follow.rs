//! The follower: indexes what is appended to the JSON Lines file, by this server or another program.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::files::{self, FileIdentity};
use super::unread::{Block, Unread};
use super::writer::{FileState, FollowError, IndexWriter};
use super::{SharedState, schema};
use crate::journal::Appended;

/// Minimum time between the starts of two passes, at up to 1,000 events/s; proportionally longer at
/// higher rates. Each transaction rewrites pages of every index, and these writes delay the journal's
/// fsync.
const PASS_INTERVAL: Duration = Duration::from_millis(25);

/// Maximum pause after a block of lines. The pause is the time that the block took, multiplied by the
/// rate in thousands of events/s. The follower keeps up with 10,000 events/s; at higher rates it falls
/// behind rather than delay requests.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Rate, in thousands of events/s, above which intervals and pauses do not grow further.
const THOUSANDS_MAX: f64 = 15.0;

/// Niceness of the follower's thread: the lowest priority, so that requests are served first.
const NICENESS: i32 = 19;

/// Interval at which the files are listed again, and read for lines that other programs appended.
const FILES_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Unread bytes from which the follower is far behind: it logs its progress, and several blocks share a
/// transaction.
const FAR_BEHIND_BYTES: u64 = 64 << 20;

/// Bytes of lines in a transaction when far behind. A transaction rewrites the index pages of all
/// sessions in its lines. Short transactions have nearly as many sessions as long ones, so fewer and
/// longer ones write less.
const TRANSACTION_BYTES: u64 = 8 << 20;

/// Interval at which progress is logged when far behind.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// State of the index: lag and errors.
#[derive(Clone, Debug, Default)]
pub struct IndexStatus {
    /// True if the index has all events, except for the newest lines of the JSON Lines file.
    pub ready: bool,
    /// The number of times that an index was opened; 0 before the first.
    pub(super) generation: u64,
    /// The number of transactions, so that a watcher sees each.
    pub commits: u64,
    /// Bytes of the files that are not in the index.
    pub lag_bytes: u64,
    /// Total bytes of the files.
    pub bytes: u64,
    /// The error of the last attempt, if it failed.
    pub error: Option<String>,
    /// The files that the index is complete for, and their lengths.
    seen: Arc<[(FileIdentity, u64)]>,
}

impl IndexStatus {
    /// Compares the index with the files as they are now. Other programs may have changed them since the
    /// follower last looked.
    pub(super) fn compare(&mut self, jsonl: &Path) -> io::Result<()> {
        // Until the index was complete, its lag is that of the last transaction.
        if !self.ready && self.error.is_none() {
            return Ok(());
        }
        let found = files::list(jsonl)?;
        let listed: HashSet<FileIdentity> = found.iter().map(|(identity, _)| *identity).collect();
        let seen: HashMap<FileIdentity, u64> = self.seen.iter().copied().collect();
        self.ready = self.error.is_none() && seen.keys().all(|identity| listed.contains(identity));
        (self.bytes, self.lag_bytes) = (0, 0);
        for (identity, path) in &found {
            let len = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            let seen = seen.get(identity).copied();
            let is_truncated = seen.is_some_and(|seen| len < seen);
            // A new JSON Lines file has new events only.
            let is_old = seen.is_none() && path != jsonl && len > 0;
            self.ready &= !is_truncated && !is_old;
            self.bytes += len;
            self.lag_bytes += len - seen.filter(|_| !is_truncated).unwrap_or(0);
        }
        Ok(())
    }
}

/// The thread that writes the index.
pub(super) struct Follower {
    shared: Arc<SharedState>,
    writer: Option<IndexWriter>,
    progress: IndexProgress,
    files_updated: Option<Instant>,
    /// The JSON Lines file when the list of files was last updated.
    current: Option<FileIdentity>,
    rate: Rate,
}

impl Follower {
    pub(super) fn new(shared: Arc<SharedState>, status: watch::Sender<IndexStatus>) -> Self {
        let progress = IndexProgress { status, reported: None };
        Self {
            shared,
            writer: None,
            progress,
            files_updated: None,
            current: None,
            rate: Rate::new(),
        }
    }

    /// Indexes until `stop` is true. Blocks, so it needs a dedicated thread.
    pub(super) fn run(
        mut self,
        runtime: &Handle,
        mut appended: watch::Receiver<Appended>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Applies to this thread only, on Linux. An error leaves the thread at normal priority.
        let _ = rustix::process::nice(NICENESS);
        // Waits until the journal has filled its dedup window, so that both do not compete for the disk
        // before events are accepted. An error means that the writer has ended, which ends the process.
        let _ = runtime.block_on(appended.wait_for(|appended| appended.ready));
        loop {
            let begun = Instant::now();
            let pause = match self.pass(&appended, &stop) {
                Ok(()) => FILES_INTERVAL,
                Err(error) => {
                    self.failed(&error);
                    RETRY_INTERVAL
                }
            };
            let is_healthy = self.progress.status.borrow().error.is_none();
            runtime.block_on(async {
                let interval = PASS_INTERVAL.mul_f64(self.rate.thousands.max(1.0));
                tokio::time::sleep_until((begun + interval).into()).await;
                let pause = tokio::time::sleep(pause);
                tokio::select! {
                    // An error means that the writer has ended, and nothing more is appended.
                    Ok(()) = appended.changed(), if is_healthy => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = pause => {}
                }
            });
            if *stop.borrow() {
                break;
            }
        }
        let closed = self.writer.map(|writer| schema::close(writer.index, &self.shared.index));
        if let Some(Err(error)) = closed {
            tracing::debug!(%error, "closing the index failed");
        }
    }

    /// Closes the index after an error, and marks it for a rebuild if it is damaged.
    fn failed(&mut self, error: &FollowError) {
        // Rolls back the open transaction.
        self.writer = None;
        if matches!(error, FollowError::Index(error) if schema::is_damage(error)) {
            self.shared.damaged();
        }
        self.files_updated = None;
        self.progress.failed(error.to_string());
    }

    /// Indexes everything new.
    pub(super) fn pass(
        &mut self,
        appended: &watch::Receiver<Appended>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), FollowError> {
        self.update_files_if_due()?;
        let mut at = 0;
        while !*stop.borrow() {
            let Some(writer) = self.writer.as_mut().filter(|writer| at < writer.sources.len())
            else {
                break;
            };
            match writer.check(at)? {
                FileState::Indexed => at += 1,
                FileState::Longer(unread) => {
                    if !self.index(at, unread, appended, stop)? {
                        // The rest is not a whole line yet.
                        at += 1;
                    }
                }
                FileState::Rewritten => {
                    self.progress.incomplete(writer);
                    // The removed events may be in a file that was copied from this one.
                    self.update_files()?;
                    at = 0;
                }
            }
        }
        if let Some(writer) = &self.writer
            && !*stop.borrow()
        {
            self.progress.complete(writer);
        }
        Ok(())
    }

    /// Indexes the unread part of a file; returns false if it has no whole line.
    fn index(
        &mut self,
        at: usize,
        unread: Unread,
        appended: &watch::Receiver<Appended>,
        stop: &watch::Receiver<bool>,
    ) -> Result<bool, FollowError> {
        let Self { writer: Some(writer), progress, rate, .. } = self else { return Ok(false) };
        let is_far_behind = unread.len - unread.position >= FAR_BEHIND_BYTES;
        let transaction_bytes = if is_far_behind { TRANSACTION_BYTES } else { 0 };
        if is_far_behind {
            schema::set_cache(&writer.index, true)?;
        }
        let mut has_lines = false;
        unread.each_block(|block: Block| {
            let begun = Instant::now();
            writer.insert(at, &block)?;
            if writer.uncommitted_bytes >= transaction_bytes {
                progress.commit(writer)?;
            }
            has_lines = true;
            let is_stopped = *stop.borrow();
            if !is_stopped {
                rate.update(appended.borrow().records);
                let pause = begun.elapsed().mul_f64(rate.thousands);
                std::thread::sleep(pause.min(PAUSE_MAX));
            }
            Ok::<_, FollowError>(!is_stopped)
        })?;
        if writer.uncommitted_bytes > 0 {
            progress.commit(writer)?;
        }
        if is_far_behind {
            schema::set_cache(&writer.index, false)?;
        }
        Ok(has_lines)
    }

    /// Updates the list of files if it is time, or if the JSON Lines file was rotated or deleted.
    fn update_files_if_due(&mut self) -> Result<(), FollowError> {
        let is_due = self.files_updated.is_none_or(|at| at.elapsed() >= FILES_INTERVAL);
        if is_due || FileIdentity::of(&self.shared.jsonl)? != self.current {
            self.update_files()?;
        }
        Ok(())
    }

    /// Updates the list of files. Opens the index if it is not open, was replaced, or is damaged.
    fn update_files(&mut self) -> Result<(), FollowError> {
        let path = &self.shared.index;
        let is_damaged = self.shared.take_damaged();
        let identity = FileIdentity::of(path)?;
        let is_open = self.writer.as_ref().is_some_and(|writer| writer.identity == identity);
        if is_damaged || (!is_open && self.writer.is_some()) {
            // Nothing is indexed any more.
            self.progress.status.send_modify(|status| status.seen = Arc::default());
        }
        if is_damaged || !is_open {
            // Close the connection before the files are deleted.
            self.writer = None;
            let (index, is_new) =
                if is_damaged { (schema::make(path)?, true) } else { schema::open(path)? };
            self.writer = Some(IndexWriter::new(index, path)?);
            self.progress.status.send_modify(|status| {
                status.generation += 1;
                status.ready &= !is_new;
            });
        }
        if let Some(writer) = &mut self.writer {
            let found = files::list(&self.shared.jsonl)?;
            let newest = found.last().filter(|(_, path)| *path == self.shared.jsonl);
            self.current = newest.map(|(identity, _)| *identity);
            if writer.update_sources(found, &self.shared.jsonl)? {
                self.progress.incomplete(writer);
            }
        }
        self.files_updated = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
impl Follower {
    /// Makes the next pass update the list of files.
    pub(super) fn update_files_next(&mut self) {
        self.files_updated = None;
    }

    pub(super) fn into_writer(self) -> Option<IndexWriter> {
        self.writer
    }
}

/// Publishes and logs the state of the index.
struct IndexProgress {
    status: watch::Sender<IndexStatus>,
    /// Time of the last log message; `None` unless far behind.
    reported: Option<Instant>,
}

impl IndexProgress {
    /// Commits the transaction and publishes the new lag.
    fn commit(&mut self, writer: &mut IndexWriter) -> Result<(), FollowError> {
        writer.commit()?;
        let (bytes, lag_bytes) = writer.size();
        self.status.send_modify(|status| {
            status.commits += 1;
            (status.bytes, status.lag_bytes) = (bytes, lag_bytes);
            // It can be written again, however much is left to do.
            status.error = None;
        });
        let is_due = self.reported.map_or(lag_bytes >= FAR_BEHIND_BYTES, |reported| {
            reported.elapsed() >= REPORT_INTERVAL
        });
        if is_due {
            self.reported = Some(Instant::now());
            let percent = (bytes - lag_bytes) * 100 / bytes.max(1);
            tracing::info!(percent, lag_bytes, "building the index; events are accepted meanwhile");
        }
        Ok(())
    }

    /// Publishes that the index lacks events of files that are not the newest.
    fn incomplete(&self, writer: &IndexWriter) {
        let (bytes, lag_bytes) = writer.size();
        self.status.send_modify(|status| {
            status.ready = false;
            (status.bytes, status.lag_bytes) = (bytes, lag_bytes);
        });
    }

    /// Publishes that the index has every whole line of the files.
    fn complete(&mut self, writer: &IndexWriter) {
        let seen = writer.sources.iter().map(|source| (source.identity, source.seen_len));
        let seen: Arc<[_]> = seen.collect();
        if self.reported.take().is_some() {
            tracing::info!("the index is complete");
        }
        self.status.send_if_modified(|status| {
            let changed = !status.ready || status.error.is_some();
            (status.ready, status.error, status.lag_bytes) = (true, None, 0);
            status.seen = seen;
            if changed {
                status.bytes = writer.size().0;
            }
            changed
        });
    }

    /// Publishes an error; logs it unless it is the same as before.
    fn failed(&self, error: String) {
        self.status.send_modify(|status| {
            if status.error.as_ref() != Some(&error) {
                tracing::error!(%error, "events are stored, but not found by queries yet");
            }
            status.error = Some(error);
        });
    }
}

/// The recent rate of events.
struct Rate {
    at: Instant,
    records: u64,
    /// Thousands of events/s.
    thousands: f64,
}

impl Rate {
    fn new() -> Self {
        Self { at: Instant::now(), records: 0, thousands: 0.0 }
    }

    /// Updates the rate from the total number of records. Ignored if the last update is too recent, so
    /// that a few events within a moment do not count as a high rate.
    fn update(&mut self, records: u64) {
        let (now, new) = (Instant::now(), records - self.records);
        if now - self.at < PASS_INTERVAL {
            return;
        }
        let thousands = new as f64 / 1000.0 / (now - self.at).as_secs_f64();
        *self = Self { at: now, records, thousands: thousands.min(THOUSANDS_MAX) };
    }
}
