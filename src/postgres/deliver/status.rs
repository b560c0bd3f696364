//! What the forwarder tells the world.

use crate::event::Timestamp;
use crate::journal::Appended;

/// How the forwarder gets on.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether the database is connected.
    pub connected: bool,
    /// Why it is not, or why the last batch failed.
    pub error: Option<String>,
    /// The journal is stored up to this position.
    pub position: u64,
    /// Of the records counted in [`Appended::records`], how many are stored; negative while older
    /// ones wait.
    pub records: i64,
    /// When the oldest event that is not stored was received.
    pub oldest: Option<Timestamp>,
}

impl Status {
    /// Events in the journal that are not in the store.
    pub fn lag_events(&self, appended: Appended) -> u64 {
        u64::try_from(appended.records as i64 - self.records).unwrap_or(0)
    }

    /// Seconds since the oldest of them was received; 0 if there is none.
    pub fn lag_seconds(&self, appended: Appended) -> f64 {
        match self.oldest {
            Some(oldest) if self.lag_events(appended) > 0 => {
                (Timestamp::now().micros() - oldest.micros()).max(0) as f64 / 1e6
            }
            _ => 0.0,
        }
    }
}
