//! The growth of a JSON text when PostgreSQL writes it.
//!
//! `jsonb` stores numbers as `numeric`, in a few bytes even if the exponent is large, and writes them in
//! full: `1e131071` becomes 131,072 digits. The text of a value is limited to 1 GiB (`MaxAllocSize`), so a row
//! with many such numbers can be stored and never read. Other tokens do not grow much: white space is
//! added after commas and colons, and strings are written in the same number of bytes or fewer.

use crate::json::text;

/// Maximum growth of an event in bytes. With bodies of at most 256 MiB (`MAX_BODY_BYTES`), the text of a row
/// is below 512 MiB, and below 1 GiB with every backslash doubled, as `COPY` and `pg_dump` write it.
pub(super) const EXPANSION_BYTES_MAX: u64 = 64 << 20;

/// Maximum exponent of a `numeric`. PostgreSQL rejects larger ones.
const EXPONENT_MAX: u64 = 131_072;

/// Texts shorter than this cannot grow by half of [`EXPANSION_BYTES_MAX`], of which a row has two: nothing grows
/// more for its length than the nine bytes `1e131072,`.
const SUSPICIOUS_BYTES: usize = (EXPANSION_BYTES_MAX / 2 / EXPONENT_MAX) as usize * 9;

/// Returns the maximum number of bytes by which a valid JSON text grows.
pub(super) fn expansion(json: &str) -> u64 {
    let bytes = json.as_bytes();
    if bytes.len() < SUSPICIOUS_BYTES {
        return 0;
    }
    let mut total: u64 = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'"', b'e', b'E', &bytes[at..]) {
        at += found;
        if bytes[at] == b'"' {
            at = text::string_end(bytes, at);
            continue;
        }
        at += 1;
        // Outside strings, an `e` is in `true`, `false`, or before an exponent.
        let signed = usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let digits = bytes[at + signed..].iter().take_while(|byte| byte.is_ascii_digit());
        let exponent = digits.fold(0_u64, |exponent, digit| {
            exponent.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        total = total.saturating_add(exponent.min(EXPONENT_MAX));
    }
    total
}
