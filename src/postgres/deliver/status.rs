//! Progress of the forwarder, for health checks, metrics and streams.

use crate::event::Timestamp;
use crate::journal::Appended;

/// Progress of the forwarder: position and lag.
#[derive(Clone, Debug, Default)]
pub struct ForwarderStatus {
    /// Whether the database is connected.
    pub connected: bool,
    /// Why it is not connected, or why the last batch failed.
    pub error: Option<String>,
    /// Position up to which the journal is stored.
    pub position: u64,
    /// Number of stored records among those in [`Appended::records`]; negative while older ones wait.
    pub records: i64,
    /// Time at which the oldest event that is not stored was received.
    pub oldest: Option<Timestamp>,
}

impl ForwarderStatus {
    /// Number of events in the journal that are not stored yet.
    pub fn lag_events(&self, appended: Appended) -> u64 {
        u64::try_from(appended.records as i64 - self.records).unwrap_or(0)
    }

    /// Age in seconds of the oldest event that is not stored yet; 0 if all are stored.
    pub fn lag_seconds(&self, appended: Appended) -> f64 {
        match self.oldest {
            Some(oldest) if self.lag_events(appended) > 0 => {
                (Timestamp::now().micros() - oldest.micros()).max(0) as f64 / 1e6
            }
            _ => 0.0,
        }
    }
}
