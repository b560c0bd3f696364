//! IDs of events that arrive without one.

use std::hash::{DefaultHasher, Hasher};

use uuid::Uuid;

/// Number of bytes before the checksum: the time, the version, the variant and a counter.
const CHECKED_BYTES: usize = 12;

/// Returns a new ID: a UUIDv7 (RFC 9562, 5.7), in ascending order within a process. Its last four bytes, which may
/// be random, are a checksum of the others, by which [`is_generated`] recognises it.
pub(crate) fn generate() -> String {
    let mut bytes = Uuid::now_v7().into_bytes();
    let checksum = checksum(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
    Uuid::from_bytes(bytes).to_string()
}

/// Returns whether [`generate`] made this ID, so that no sender knows it. One of 2^32 other UUIDs passes too.
pub(crate) fn is_generated(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|uuid| {
        let (checked, found) = uuid.as_bytes().split_at(CHECKED_BYTES);
        found == checksum(checked)
    })
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    let [checksum @ .., _, _, _, _] = hasher.finish().to_be_bytes();
    checksum
}

#[cfg(test)]
mod tests {
    use super::{generate, is_generated};

    #[test]
    fn generated_ids_ascend_and_are_recognised() {
        let ids: Vec<_> = (0..1_000).map(|_| generate()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| is_generated(id)));
        assert!(!is_generated(&uuid::Uuid::now_v7().to_string()));
    }
}
