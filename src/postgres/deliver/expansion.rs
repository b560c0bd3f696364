//! How much longer a JSON text gets when PostgreSQL writes it out.
//!
//! `jsonb` keeps numbers as `numeric`, in a few bytes however large the exponent is, and writes them
//! out in full: `1e131071` becomes 131,072 digits. A value may have at most 1 GiB of text
//! (`MaxAllocSize`), so a row with enough of such numbers is stored and can never be read again.
//! Nothing else grows much: white space is put after commas and colons, and strings are written as
//! `serde_json` had to read them, in the same bytes or fewer.

use crate::json::text;

/// By how many bytes the numbers of an event may grow when they are written out. With bodies of at
/// most 256 MiB (`MAX_BODY_BYTES`), a row's text stays below 512 MiB, and below 1 GiB with every
/// backslash doubled, as `COPY` and `pg_dump` do it.
pub(super) const EXPANSION_BYTES_MAX: u64 = 64 << 20;

/// The largest exponent that `numeric` takes; beyond it PostgreSQL refuses the number.
const EXPONENT_MAX: u64 = 131_072;

/// Nothing grows more for its length than `1e131072,`, nine bytes, so a shorter text than this cannot
/// grow by half of [`EXPANSION_BYTES_MAX`]; a row has two.
const SUSPICIOUS_BYTES: usize = (EXPANSION_BYTES_MAX / 2 / EXPONENT_MAX) as usize * 9;

/// The bytes by which the numbers of a valid JSON text grow at most when they are written out.
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
        // Outside strings an `e` stands in `true`, `false`, and before an exponent.
        let signed = usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let digits = bytes[at + signed..].iter().take_while(|byte| byte.is_ascii_digit());
        let exponent = digits.fold(0_u64, |exponent, digit| {
            exponent.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        total = total.saturating_add(exponent.min(EXPONENT_MAX));
    }
    total
}
