//! How much each sender may send: `RATE_LIMIT_EVENTS` and `RATE_LIMIT_BYTES`.
//!
//! Each sender has an allowance that is filled up to a second's worth. What a request costs is known only
//! once it has been received and decoded, so it is let in as long as anything is left, and may leave the
//! allowance in debt; until that is paid, requests are refused. So a batch larger than a second's worth
//! gets through, and the average holds all the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::http::problem::Problem;
use crate::metrics::Limit;

/// Most senders that are told apart, about 2 MiB of them. Beyond it, those not seen before share one
/// allowance until others have been idle long enough to be forgotten.
const SENDERS_MAX: usize = 16 * 1024;

/// How often a full table is searched for senders that can be forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Sender {
    /// The name of an API key.
    Key(Arc<str>),
    /// An address; of IPv6 the network of 64 bits, which is what one customer has.
    Address(IpAddr),
    /// Whoever came when the table was full.
    Others,
}

impl Sender {
    /// By key if there is one, else by address.
    pub(in crate::http) fn new(key: Option<Arc<str>>, peer: Option<IpAddr>) -> Self {
        match (key, peer.map(|peer| peer.to_canonical())) {
            (Some(name), _) => Self::Key(name),
            (None, Some(IpAddr::V6(address))) => {
                Self::Address(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Others,
        }
    }
}

/// What all senders have left.
#[derive(Debug)]
pub struct Rates {
    events_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    senders: Mutex<Senders>,
}

#[derive(Debug)]
struct Senders {
    left: HashMap<Sender, Left>,
    searched: Instant,
}

/// What one sender has left; below zero, its debt.
#[derive(Clone, Copy, Debug)]
struct Left {
    events: f64,
    bytes: f64,
    at: Instant,
}

impl Rates {
    /// Nothing stands for no limit.
    pub fn new(events_per_second: Option<u64>, bytes_per_second: Option<u64>) -> Self {
        Self {
            events_per_second: events_per_second.map(|rate| rate as f64),
            bytes_per_second: bytes_per_second.map(|rate| rate as f64),
            senders: Mutex::new(Senders { left: HashMap::new(), searched: Instant::now() }),
        }
    }

    /// Lets a request in, or says when to come again.
    pub(in crate::http) fn admit(&self, sender: &Sender) -> Result<(), Problem> {
        if self.is_off() {
            return Ok(());
        }
        let left = *self.left(&mut self.lock(), sender, Instant::now());
        for (rate, left, what, limit) in [
            (self.events_per_second, left.events, "events", Limit::RateEvents),
            (self.bytes_per_second, left.bytes, "bytes", Limit::RateBytes),
        ] {
            let Some(rate) = rate else { continue };
            if left <= 0.0 {
                let detail = format!(
                    "this sender may send {rate} {what} a second ({}), and has sent more",
                    limit.name()
                );
                let seconds = (-left / rate).ceil().clamp(1.0, 3600.0) as u16;
                return Err(Problem::too_many(detail, seconds).of(limit));
            }
        }
        Ok(())
    }

    /// Takes what a request cost.
    pub(in crate::http) fn charge(&self, sender: &Sender, events: usize, bytes: usize) {
        if self.is_off() {
            return;
        }
        let mut senders = self.lock();
        let left = self.left(&mut senders, sender, Instant::now());
        left.events -= events as f64;
        left.bytes -= bytes as f64;
    }

    fn is_off(&self) -> bool {
        self.events_per_second.is_none() && self.bytes_per_second.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a sender has left now.
    fn left<'s>(&self, senders: &'s mut Senders, sender: &Sender, now: Instant) -> &'s mut Left {
        let Senders { left, searched } = senders;
        let mut sender = sender;
        if left.len() >= SENDERS_MAX && !left.contains_key(sender) {
            if now.duration_since(*searched) >= FORGET_INTERVAL {
                *searched = now;
                left.retain(|_, left| !self.is_full(&self.filled(*left, now)));
            }
            if left.len() >= SENDERS_MAX {
                sender = &Sender::Others;
            }
        }
        let new = || Left {
            events: self.events_per_second.unwrap_or_default(),
            bytes: self.bytes_per_second.unwrap_or_default(),
            at: now,
        };
        let left = left.entry(sender.clone()).or_insert_with(new);
        *left = self.filled(*left, now);
        left
    }

    /// With what has come in since it was looked at.
    fn filled(&self, left: Left, now: Instant) -> Left {
        let seconds = now.saturating_duration_since(left.at).as_secs_f64();
        let fill = |left: f64, rate: Option<f64>| {
            rate.map_or(0.0, |rate| (left + seconds * rate).min(rate))
        };
        Left {
            events: fill(left.events, self.events_per_second),
            bytes: fill(left.bytes, self.bytes_per_second),
            at: now,
        }
    }

    /// Whether it is that of a sender never seen.
    fn is_full(&self, left: &Left) -> bool {
        left.events >= self.events_per_second.unwrap_or_default()
            && left.bytes >= self.bytes_per_second.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Sender {
        Sender::new(None, Some(IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn the_table_has_an_end() {
        let rates = Rates::new(Some(10), None);
        for number in 0..2 * SENDERS_MAX as u32 {
            rates.charge(&address(number), 1, 1);
        }
        assert_eq!(rates.lock().left.len(), SENDERS_MAX + 1);
        // Who came late shares what is left, and has used it up.
        assert!(rates.admit(&address(u32::MAX)).is_err());
        assert!(rates.admit(&address(1)).is_ok());
        let later = Instant::now() + Duration::from_secs(5);
        rates.left(&mut rates.lock(), &address(u32::MAX), later);
        // Of those that are left, one is new and one still in debt.
        assert_eq!(rates.lock().left.len(), 2);
    }

    #[test]
    fn an_allowance_is_filled_up_to_a_second() {
        let rates = Rates::new(Some(10), Some(1000));
        let sender = address(1);
        rates.charge(&sender, 30, 500);
        let begun = Instant::now();
        let mut senders = rates.lock();
        let mut after = |seconds| {
            let left = rates.left(&mut senders, &sender, begun + Duration::from_secs(seconds));
            (left.events.round(), left.bytes.round())
        };
        assert_eq!(after(1), (-10.0, 1000.0));
        assert_eq!(after(3), (10.0, 1000.0));
        assert_eq!(after(9), (10.0, 1000.0));
    }

    #[test]
    fn an_address_is_the_network_of_one_customer() {
        let of = |text: &str| Sender::new(None, Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
