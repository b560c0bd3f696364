//! State that the writer publishes to the rest of the server.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::AppendError;

/// Time for which the server reports a failed append as "cannot accept events". After that only another
/// append can find out, so the health endpoint must not keep senders away any longer.
const BLOCKED_FOR: Duration = Duration::from_secs(10);

/// Called after each group commit with the time that write and fsync took, and the number of records.
pub struct SyncObserver(pub Box<dyn Fn(Duration, usize) + Send + Sync>);

impl std::fmt::Debug for SyncObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncObserver")
    }
}

/// The durable end of the journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Appended {
    /// True once the writer has filled the dedup window and accepts records.
    pub ready: bool,
    /// Position after the newest durable record.
    pub end: u64,
    /// Number of records made durable since the process started.
    pub records: u64,
}

#[derive(Debug)]
pub(super) struct State {
    /// Error and time of the last append, if it failed.
    blocked: watch::Sender<Option<(AppendError, Instant)>>,
    pub(super) appended: watch::Sender<Appended>,
    pub(super) sync_observer: SyncObserver,
}

impl State {
    pub(super) fn new(sync_observer: SyncObserver) -> Self {
        Self {
            blocked: watch::Sender::new(None),
            appended: watch::Sender::new(Appended::default()),
            sync_observer,
        }
    }

    pub(super) fn blocked(&self) -> Option<AppendError> {
        let blocked = self.blocked.borrow();
        let (error, at) = blocked.as_ref()?;
        (at.elapsed() < BLOCKED_FOR).then(|| error.clone())
    }

    /// Records the outcome of an append; logs it if it differs from the one before.
    pub(super) fn set_blocked(&self, error: Option<AppendError>) {
        self.blocked.send_if_modified(|blocked| {
            let before = blocked.as_ref().map(|(error, _)| error);
            let changed = before != error.as_ref();
            match &error {
                Some(error) if changed => tracing::error!(%error, "cannot accept events"),
                None if changed => tracing::info!("accepting events again"),
                _ => {}
            }
            *blocked = error.map(|error| (error, Instant::now()));
            changed
        });
    }
}
