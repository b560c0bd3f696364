//! How long a client may make the server wait while it reads a response.

use std::time::Duration;

/// Bytes that a client must read in a second on average.
const BYTES_PER_SECOND_MIN: u32 = 8 << 10;

/// The time that is left to wait for a client. Waiting uses it up, and what the client reads earns it again:
/// so a client that reads below the minimum rate loses its connection, in pauses as well as in drops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    left: Duration,
    max: Duration,
}

impl Patience {
    /// The full time of `max`.
    pub(super) fn new(max: Duration) -> Self {
        Self { left: max, max }
    }

    /// The time that is left.
    pub(super) fn left(self) -> Duration {
        self.left
    }

    /// Uses up the time that the client made the server wait.
    pub(super) fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// Adds the time that these bytes may take. Returns their number.
    pub(super) fn has_read(&mut self, bytes: usize) -> usize {
        let earned = Duration::from_secs(bytes as u64) / BYTES_PER_SECOND_MIN;
        self.left = self.left.saturating_add(earned).min(self.max);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the seconds after which a client that takes these steps is given up.
    fn seconds_with(bytes: usize, every_seconds: u64) -> Option<u64> {
        let mut patience = Patience::new(Duration::from_secs(30));
        (1..1000).map(|step| step * every_seconds).find(|_| {
            if patience.left() <= Duration::from_secs(every_seconds) {
                return true;
            }
            patience.waited(Duration::from_secs(every_seconds));
            patience.has_read(bytes);
            false
        })
    }

    #[test]
    fn a_rate_below_the_minimum_is_given_up_however_steady_it_is() {
        assert_eq!(seconds_with(0, 1), Some(30));
        assert_eq!(seconds_with(600, 1), Some(33));
        assert_eq!(seconds_with(4 << 10, 1), Some(59));
        assert_eq!(seconds_with(64 << 10, 16), Some(48));
        for (bytes, every_seconds) in [(8 << 10, 1), (160 << 10, 20), (1 << 20, 29)] {
            assert_eq!(seconds_with(bytes, every_seconds), None);
        }
    }
}
