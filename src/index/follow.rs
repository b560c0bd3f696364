//! Follows the JSON Lines file: what is appended to it, by whomever, becomes rows of the index.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::files::{self, Identity};
use super::writer::{FollowError, Open};
use super::{Shared, schema};
use crate::journal::Appended;
use crate::metrics::Metrics;

/// The least time between two transactions where little is new: for each thousand events that come in a
/// second, but for one at least. Each transaction rewrites pages of every index, and what it writes keeps the
/// disk from those who wait for theirs.
const PASS_INTERVAL: Duration = Duration::from_millis(25);

/// Where much is new, this rests after a transaction as long as that took, again for each thousand events a
/// second. With 10,000 it keeps up; with more it may fall behind, and must not hold up those who wait for an
/// answer.
const REST_MAX: Duration = Duration::from_secs(1);

/// More count as so many thousand events a second.
const THOUSANDS_MAX: f64 = 15.0;

/// The thread's niceness, the most there is: what waits for an answer goes first.
const NICENESS: i32 = 19;

/// How often other programs' lines are looked for, and files that came or went.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// From so many unread bytes on it is far behind: the log tells how it goes, and several blocks share a
/// transaction.
const FAR_BEHIND_BYTES: u64 = 64 << 20;

/// Bytes of lines in a transaction then. Each writes anew the pages that every index has for the sessions
/// of the time, which are as many for a short one.
const TRANSACTION_BYTES: u64 = 8 << 20;

/// How often the log tells.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// How the index gets on.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether everything that was there at some moment since the start is in the index.
    pub ready: bool,
    /// Counts the indexes that were opened; 0 before the first.
    pub(super) generation: u64,
    /// Counts the transactions, so that who follows sees each.
    pub commits: u64,
    /// Bytes of the files that are not in the index.
    pub lag_bytes: u64,
    /// Bytes of the files in all.
    pub bytes: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// The one writer of the index.
pub(super) struct Follower {
    shared: Arc<Shared>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    open: Option<Open>,
    surveyed: Option<Instant>,
    report: Option<Instant>,
    rate: Rate,
}

/// How many events come in.
struct Rate {
    at: Instant,
    records: u64,
    /// A second, of late.
    thousands: f64,
}

impl Rate {
    fn new() -> Self {
        Self { at: Instant::now(), records: 0, thousands: 0.0 }
    }

    /// Takes note of how many there have been by now, but not so soon that a few in a moment would count as
    /// many a second.
    fn update(&mut self, records: u64) {
        let (now, new) = (Instant::now(), records - self.records);
        if now - self.at < PASS_INTERVAL {
            return;
        }
        let thousands = new as f64 / 1000.0 / (now - self.at).as_secs_f64();
        *self = Self { at: now, records, thousands: thousands.min(THOUSANDS_MAX) };
    }
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        status: watch::Sender<Status>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rate = Rate::new();
        Self { shared, status, metrics, open: None, surveyed: None, report: None, rate }
    }

    /// Follows until told to stop. Blocks, so it needs a thread.
    pub(super) fn run(
        mut self,
        runtime: &Handle,
        mut appended: watch::Receiver<Appended>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Of this thread alone, on Linux. Where it is refused, the thread is like any other.
        let _ = rustix::process::nice(NICENESS);
        // Events can be taken the sooner. A writer that ends before it has read its journal ends the process.
        let _ = runtime.block_on(appended.wait_for(|appended| appended.ready));
        loop {
            let begun = Instant::now();
            let pause = match self.pass(&appended, &stop) {
                Ok(()) => SURVEY_INTERVAL,
                Err(error) => {
                    self.failed(&error);
                    RETRY
                }
            };
            runtime.block_on(async {
                let interval = PASS_INTERVAL.mul_f64(self.rate.thousands.max(1.0));
                tokio::time::sleep_until((begun + interval).into()).await;
                let pause = tokio::time::sleep(pause);
                tokio::select! {
                    // Without their senders nobody appends, or waits, any more.
                    Ok(()) = appended.changed(), if self.status.borrow().error.is_none() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = pause => {}
                }
            });
            if *stop.borrow() {
                break;
            }
        }
        let closed = self.open.map(|open| schema::close(open.index, &self.shared.index));
        if let Some(Err(error)) = closed {
            tracing::debug!(%error, "the index was not closed");
        }
    }

    /// Says what is wrong, once for each thing that goes wrong. A damaged index is given up.
    fn failed(&mut self, error: &FollowError) {
        // Takes back what was not committed.
        self.open = None;
        if matches!(error, FollowError::Index(error) if schema::is_damage(error)) {
            self.shared.damaged();
        }
        self.surveyed = None;
        let error = error.to_string();
        self.status.send_modify(|status| {
            if status.error.as_ref() != Some(&error) {
                tracing::error!(%error, "events are stored, but cannot be found yet");
            }
            status.error = Some(error);
        });
    }

    /// Reads all that is new.
    fn pass(
        &mut self,
        appended: &watch::Receiver<Appended>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), FollowError> {
        let current = Identity::of(&self.shared.jsonl)?;
        let known = self.open.as_ref().and_then(|open| open.sources.last());
        let due = self.surveyed.is_none_or(|at| at.elapsed() >= SURVEY_INTERVAL);
        if due || known.map(|source| source.identity) != current {
            self.survey()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let Self { status, metrics, report, rate, .. } = self;
        let mut commit = |open: &mut Open| -> Result<(), FollowError> {
            open.commit()?;
            let (bytes, lag_bytes) = open.size();
            metrics.index_lag_bytes.set(lag_bytes as i64);
            status.send_modify(|status| {
                status.commits += 1;
                (status.bytes, status.lag_bytes) = (bytes, lag_bytes);
            });
            tell(report, bytes, lag_bytes);
            Ok(())
        };
        for at in 0..open.sources.len() {
            while let Some(unread) = open.unread(at)? {
                let is_far_behind = unread.len - unread.position >= FAR_BEHIND_BYTES;
                let mut transaction_bytes = 0;
                if is_far_behind {
                    transaction_bytes = TRANSACTION_BYTES;
                    schema::set_cache(&open.index, true)?;
                }
                let (mut is_any, mut is_stopped) = (false, false);
                unread.each_block(|block| {
                    let begun = Instant::now();
                    open.take_in(at, &block)?;
                    if open.uncommitted_bytes >= transaction_bytes {
                        commit(open)?;
                    }
                    (is_any, is_stopped) = (true, *stop.borrow());
                    if !is_stopped {
                        rate.update(appended.borrow().records);
                        let rest = begun.elapsed().mul_f64(rate.thousands);
                        std::thread::sleep(rest.min(REST_MAX));
                    }
                    Ok::<_, FollowError>(!is_stopped)
                })?;
                if open.uncommitted_bytes > 0 {
                    commit(open)?;
                }
                if is_far_behind {
                    schema::set_cache(&open.index, false)?;
                }
                if is_stopped {
                    return Ok(());
                }
                // What is left is no whole line yet.
                if !is_any {
                    break;
                }
            }
        }
        if self.report.take().is_some() {
            tracing::info!("the index is complete");
        }
        self.status.send_if_modified(|status| {
            let changed = !status.ready || status.error.is_some();
            (status.ready, status.error, status.lag_bytes) = (true, None, 0);
            if changed {
                status.bytes = open.size().0;
            }
            changed
        });
        self.metrics.index_lag_bytes.set(0);
        Ok(())
    }

    /// Finds out which files there are, and opens the index anew if it is not the one that was opened.
    fn survey(&mut self) -> Result<(), FollowError> {
        let path = &self.shared.index;
        let damaged = self.shared.take_damaged();
        let there = Identity::of(path)?;
        if damaged || self.open.as_ref().is_none_or(|open| open.identity != there) {
            // Closed before its files go.
            self.open = None;
            let (index, made) =
                if damaged { (schema::make(path)?, true) } else { schema::open(path)? };
            self.open = Some(Open::new(index, path)?);
            self.status.send_modify(|status| {
                status.generation += 1;
                status.ready &= !made;
            });
        }
        if let Some(open) = &mut self.open {
            open.update_sources(files::survey(&self.shared.jsonl)?)?;
        }
        self.surveyed = Some(Instant::now());
        Ok(())
    }
}

/// Tells, now and then, how a long way gets shorter.
fn tell(last: &mut Option<Instant>, bytes: u64, lag_bytes: u64) {
    if last.map_or(lag_bytes >= FAR_BEHIND_BYTES, |at| at.elapsed() >= REPORT_INTERVAL) {
        *last = Some(Instant::now());
        let percent = (bytes - lag_bytes) * 100 / bytes.max(1);
        tracing::info!(percent, lag_bytes, "building the index; events are taken meanwhile");
    }
}
