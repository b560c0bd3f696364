//! Rate limits for each sender: `RATE_LIMIT_EVENTS` and `RATE_LIMIT_BYTES`.
//!
//! A token bucket with the capacity of one second. The cost of a request is known only after it has
//! been received and decoded, so a request is admitted while any tokens are left, and may leave the
//! bucket in debt; requests are then rejected until the debt is repaid. A batch that is larger than
//! one second's worth is therefore accepted, and the average rate still holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::http::client_id::ClientId;
use crate::http::problem::Problem;
use crate::metrics::Limit;

/// Maximum number of buckets, about 2 MiB. Beyond it, new senders share one bucket until others have
/// been idle long enough to be evicted.
const SENDERS_MAX: usize = 16 * 1024;

/// Minimum interval between two scans of a full table for buckets to evict.
const EVICT_INTERVAL: Duration = Duration::from_secs(1);

/// The buckets of all senders.
#[derive(Debug)]
pub(super) struct RateLimits {
    events_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    by_sender: HashMap<ClientId, Bucket>,
    scanned_at: Instant,
}

/// The tokens that a sender has left; negative if it is in debt.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    events: f64,
    bytes: f64,
    refilled_at: Instant,
}

impl RateLimits {
    /// `None` means no limit.
    pub(super) fn new(events_per_second: Option<u64>, bytes_per_second: Option<u64>) -> Self {
        let buckets = Buckets { by_sender: HashMap::new(), scanned_at: Instant::now() };
        Self {
            events_per_second: events_per_second.map(|rate| rate as f64),
            bytes_per_second: bytes_per_second.map(|rate| rate as f64),
            buckets: Mutex::new(buckets),
        }
    }

    /// Rejects a request while its sender is in debt.
    pub(super) fn check(&self, sender: &ClientId) -> Result<(), Problem> {
        if self.is_off() {
            return Ok(());
        }
        let bucket = *self.bucket(&mut self.lock(), sender, Instant::now());
        for (rate, tokens, unit, limit) in [
            (self.events_per_second, bucket.events, "events", Limit::RateEvents),
            (self.bytes_per_second, bucket.bytes, "bytes", Limit::RateBytes),
        ] {
            let Some(rate) = rate else { continue };
            if tokens <= 0.0 {
                let detail = format!(
                    "the sender exceeded its rate limit of {rate} {unit} per second ({})",
                    limit.name()
                );
                let seconds = (-tokens / rate).ceil().clamp(1.0, 3600.0) as u16;
                return Err(Problem::too_many(detail, seconds).of(limit));
            }
        }
        Ok(())
    }

    /// Subtracts the cost of a request from its sender's bucket.
    pub(super) fn charge(&self, sender: &ClientId, events: usize, bytes: usize) {
        if self.is_off() {
            return;
        }
        let mut buckets = self.lock();
        let bucket = self.bucket(&mut buckets, sender, Instant::now());
        bucket.events -= events as f64;
        bucket.bytes -= bytes as f64;
    }

    fn is_off(&self) -> bool {
        self.events_per_second.is_none() && self.bytes_per_second.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the sender's bucket, refilled up to `now`.
    fn bucket<'b>(
        &self,
        buckets: &'b mut Buckets,
        sender: &ClientId,
        now: Instant,
    ) -> &'b mut Bucket {
        let Buckets { by_sender, scanned_at } = buckets;
        let mut sender = sender;
        if by_sender.len() >= SENDERS_MAX && !by_sender.contains_key(sender) {
            if now.duration_since(*scanned_at) >= EVICT_INTERVAL {
                *scanned_at = now;
                by_sender.retain(|_, bucket| !self.is_full(&self.refilled(*bucket, now)));
            }
            if by_sender.len() >= SENDERS_MAX {
                sender = &ClientId::Others;
            }
        }
        let full = || Bucket {
            events: self.events_per_second.unwrap_or_default(),
            bytes: self.bytes_per_second.unwrap_or_default(),
            refilled_at: now,
        };
        let bucket = by_sender.entry(sender.clone()).or_insert_with(full);
        *bucket = self.refilled(*bucket, now);
        bucket
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let seconds = now.saturating_duration_since(bucket.refilled_at).as_secs_f64();
        let refill = |tokens: f64, rate: Option<f64>| {
            rate.map_or(0.0, |rate| (tokens + seconds * rate).min(rate))
        };
        Bucket {
            events: refill(bucket.events, self.events_per_second),
            bytes: refill(bucket.bytes, self.bytes_per_second),
            refilled_at: now,
        }
    }

    /// Returns true if the bucket equals that of a new sender, so that it can be evicted.
    fn is_full(&self, bucket: &Bucket) -> bool {
        bucket.events >= self.events_per_second.unwrap_or_default()
            && bucket.bytes >= self.bytes_per_second.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(number: u32) -> ClientId {
        ClientId::new(None, Some(IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn table_is_bounded() {
        let rates = RateLimits::new(Some(10), None);
        for number in 0..2 * SENDERS_MAX as u32 {
            rates.charge(&address(number), 1, 1);
        }
        assert_eq!(rates.lock().by_sender.len(), SENDERS_MAX + 1);
        // New senders share one bucket, which is in debt.
        assert!(rates.check(&address(u32::MAX)).is_err());
        assert!(rates.check(&address(1)).is_ok());
        let later = Instant::now() + Duration::from_secs(5);
        rates.bucket(&mut rates.lock(), &address(u32::MAX), later);
        // What remains is one new bucket and the shared one, which is still in debt.
        assert_eq!(rates.lock().by_sender.len(), 2);
    }

    #[test]
    fn bucket_refills_to_one_second_at_most() {
        let rates = RateLimits::new(Some(10), Some(1000));
        let sender = address(1);
        rates.charge(&sender, 30, 500);
        let charged_at = Instant::now();
        let mut buckets = rates.lock();
        let mut after = |seconds| {
            let now = charged_at + Duration::from_secs(seconds);
            let bucket = rates.bucket(&mut buckets, &sender, now);
            (bucket.events.round(), bucket.bytes.round())
        };
        assert_eq!(after(1), (-10.0, 1000.0));
        assert_eq!(after(3), (10.0, 1000.0));
        assert_eq!(after(9), (10.0, 1000.0));
    }
}
