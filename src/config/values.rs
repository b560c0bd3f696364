//! Settings' values, from text.

use std::time::Duration;

use crate::journal::Rotate;

pub(super) fn parse_journal_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text, 1 << 20, "1MiB", 1 << 60)
}

pub(super) fn parse_rejected_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text, 1024, "1KiB", 1 << 60)
}

pub(super) fn parse_body_bytes(text: &str) -> Result<u64, String> {
    // What `jsonb` can hold, and what is sure to be readable with every escape written out.
    parse_bytes(text, 1024, "1KiB", 256 << 20)
        .map_err(|error| format!("{error}, and at most 256MiB"))
}

pub(super) fn parse_rate_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text, 1 << 10, "1KiB", 1 << 40)
}

pub(super) fn parse_header_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text, 4 << 10, "4KiB and at most 1MiB", 1 << 20)
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok()
        .filter(|time| (Duration::from_secs(1)..=Duration::from_hours(24)).contains(time))
        .ok_or_else(|| "expected a time from 1s to 24h, such as 30s, 10m or 1h".to_owned())
}

fn parse_bytes(text: &str, min: u64, min_name: &str, max: u64) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => 0,
    };
    digits
        .trim()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| (min..=max).contains(bytes))
        .ok_or_else(|| {
            format!("expected a number of bytes, at least {min_name}, such as 10737418240 or 10GiB")
        })
}

/// Reads a time such as `30s`, `5m`, `1h` or `7d`; without a unit, in seconds.
///
/// # Errors
/// What is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    digits
        .trim()
        .parse::<u64>()
        .ok()
        .filter(|_| unit > 0)
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| *seconds <= 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "expected a time of up to 366 days, such as 30, 30s, 10m, 1h or 7d".to_owned()
        })
}

pub(super) fn parse_rotate(text: &str) -> Result<Rotate, String> {
    let mut rotate = Rotate::default();
    for part in text.split(',').map(str::trim) {
        match part.to_ascii_lowercase().as_str() {
            "off" if text.trim().len() == part.len() => {}
            "day" => rotate.daily = true,
            _ => {
                let bytes = parse_bytes(part, 1 << 20, "1MiB", 1 << 60).map_err(|_| {
                    "expected off, day, a size of at least 1MiB, or both: day,100MiB".to_owned()
                })?;
                rotate.bytes_max = Some(bytes);
            }
        }
    }
    Ok(rotate)
}
