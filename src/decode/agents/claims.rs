//! Which event a hook reports: decided by `emit`, which knows by what registration it runs.
//!
//! - A payload with the ID of a tool call identifies the event itself.
//! - Otherwise, two runs by *one* registration are two events, however alike their payloads are:
//!   parallel calls of one tool carry the same millisecond.
//! - Two runs by *two* registrations (the user's and the project's settings) are one event each time.
//!   So each registration claims each event once: the first event with this payload that it has not
//!   claimed yet, within a second unless the payload has a time of its own.
//!
//! The claims are in a file of fixed-size records, which `emit` reads and appends to under a lock.

use xxhash_rust::xxh3::xxh3_128;

use super::identity::FiringIdentity;
use crate::event::Timestamp;

/// Maximum time between two runs for one event. A hook that is registered twice runs within
/// milliseconds.
pub(super) const SAME_FIRING_MICROS: i64 = 1_000_000;

/// Number of claims that are looked at; more than any agent makes in a second.
const CLAIMS_MAX: usize = 512;

const CLAIM_BYTES: usize = 48;

/// An event that a registration has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    hash: u128,
    registration: u64,
    at: Timestamp,
    /// The event's ID.
    pub event_id: u128,
    is_needed: bool,
}

impl Claim {
    /// Returns the event that a registration reports, given earlier claims, oldest first.
    pub fn new(
        identity: FiringIdentity,
        registration: &str,
        fired_at: Timestamp,
        claims: &[u8],
    ) -> Self {
        let registration = xxhash_rust::xxh3::xxh3_64(registration.as_bytes());
        let hash = identity.hash();
        let own = Self { hash, registration, at: fired_at, event_id: hash, is_needed: true };
        if matches!(identity, FiringIdentity::Unique(_)) {
            return Self { is_needed: false, ..own };
        }
        let is_near = |claim: &Self| {
            matches!(identity, FiringIdentity::Timed(_))
                || (fired_at.micros() - claim.at.micros()).abs() <= SAME_FIRING_MICROS
        };
        let same: Vec<Self> =
            decoded(claims).filter(|claim| claim.hash == hash && is_near(claim)).collect();
        let is_own = |id: u128| {
            same.iter().any(|claim| claim.event_id == id && claim.registration == registration)
        };
        if let Some(other) = same.iter().find(|claim| !is_own(claim.event_id)) {
            return Self { registration, ..*other };
        }
        // Every event with this payload is claimed: this is another one.
        let count = same.iter().filter(|claim| claim.registration == registration).count();
        let mut name = hash.to_le_bytes().to_vec();
        match identity {
            FiringIdentity::Timed(_) if count == 0 => return own,
            FiringIdentity::Timed(_) | FiringIdentity::Unique(_) => {}
            FiringIdentity::Bare(_) => name.extend(fired_at.micros().to_le_bytes()),
        }
        name.extend((count as u64).to_le_bytes());
        Self { event_id: xxh3_128(&name), ..own }
    }

    /// True if later claims depend on this one: the payload does not identify the event.
    pub fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Time of the event.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The record in the file of claims.
    pub fn encoded(&self) -> [u8; CLAIM_BYTES] {
        let mut record = [0; CLAIM_BYTES];
        record[..16].copy_from_slice(&self.hash.to_le_bytes());
        record[16..32].copy_from_slice(&self.event_id.to_le_bytes());
        record[32..40].copy_from_slice(&self.registration.to_le_bytes());
        record[40..].copy_from_slice(&self.at.micros().to_le_bytes());
        record
    }

    fn decoded(record: &[u8; CLAIM_BYTES]) -> Option<Self> {
        Some(Self {
            hash: u128::from_le_bytes(record[..16].try_into().ok()?),
            event_id: u128::from_le_bytes(record[16..32].try_into().ok()?),
            registration: u64::from_le_bytes(record[32..40].try_into().ok()?),
            at: Timestamp::from_micros(i64::from_le_bytes(record[40..].try_into().ok()?))?,
            is_needed: true,
        })
    }
}

/// The claims to keep of a file: the newest whole records.
pub fn newest_claims(claims: &[u8]) -> &[u8] {
    let (records, _) = claims.as_chunks::<CLAIM_BYTES>();
    records[records.len().saturating_sub(CLAIMS_MAX)..].as_flattened()
}

fn decoded(claims: &[u8]) -> impl Iterator<Item = Claim> {
    newest_claims(claims).as_chunks::<CLAIM_BYTES>().0.iter().filter_map(Claim::decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1000).expect("a time")
    }

    /// Returns the event IDs of runs, each by a registration at a time.
    fn events(identity: FiringIdentity, runs: &[(&str, i64)]) -> Vec<u128> {
        let mut claims = Vec::new();
        let run = |&(registration, millis): &(&str, i64)| {
            let claim = Claim::new(identity, registration, at(millis), &claims);
            claims.extend(claim.encoded());
            claim.event_id
        };
        runs.iter().map(run).collect()
    }

    fn distinct(mut ids: Vec<u128>) -> usize {
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    #[test]
    fn payload_with_an_id_is_one_event() {
        let ids = events(FiringIdentity::Unique(7), &[("", 0), ("", 0), ("project", 90_000)]);
        assert_eq!(ids, [7, 7, 7]);
    }

    #[test]
    fn runs_of_one_registration_are_distinct_events() {
        for identity in [FiringIdentity::Timed(7), FiringIdentity::Bare(7)] {
            assert_eq!(distinct(events(identity, &[("", 0), ("", 0), ("", 1), ("", 1)])), 4);
        }
        assert_eq!(events(FiringIdentity::Timed(7), &[("", 0)]), [7]);
    }

    #[test]
    fn two_registrations_claim_each_event_once() {
        for identity in [FiringIdentity::Timed(7), FiringIdentity::Bare(7)] {
            for runs in [
                [("", 0), ("", 0), ("project", 1), ("project", 2)],
                [("", 0), ("project", 0), ("", 1), ("project", 2)],
                [("project", 0), ("", 0), ("", 1), ("project", 2)],
            ] {
                assert_eq!(distinct(events(identity, &runs)), 2, "{runs:?}");
            }
        }
    }

    #[test]
    fn bare_payloads_more_than_a_second_apart_are_distinct_events() {
        let runs = [("", 0), ("project", 1001)];
        assert_eq!(distinct(events(FiringIdentity::Bare(7), &runs)), 2);
        assert_eq!(distinct(events(FiringIdentity::Timed(7), &runs)), 1);
    }

    #[test]
    fn damaged_claims_are_ignored() {
        let claim = Claim::new(FiringIdentity::Bare(7), "", at(0), &[1; CLAIM_BYTES + 5]);
        assert_eq!(Claim::decoded(&claim.encoded()), Some(claim));
        assert_eq!(newest_claims(&vec![0; CLAIM_BYTES * 600]).len(), CLAIM_BYTES * CLAIMS_MAX);
    }
}
