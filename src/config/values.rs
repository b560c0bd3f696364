//! Parsers of values: sizes, times, rotation.

use std::time::Duration;

use crate::journal::Rotate;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// Upper bound of sizes that have no other.
const SIZE_MAX: u64 = 1 << 60;

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// Returns a parser of sizes of at least `min`.
pub(super) fn bytes_from(min: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let bytes = parse_bytes(text).filter(|bytes| (min..=SIZE_MAX).contains(bytes));
        bytes.ok_or_else(|| {
            format!("expected a size of at least {}, such as 10737418240 or 10GiB", size(min))
        })
    }
}

/// Returns a parser of sizes from `min` to `max`.
pub(super) fn bytes_between(min: u64, max: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let bytes = parse_bytes(text).filter(|bytes| (min..=max).contains(bytes));
        bytes.ok_or_else(|| format!("expected a size from {} to {}", size(min), size(max)))
    }
}

fn size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    number.checked_mul(match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        "t" | "tib" => 1 << 40,
        _ => return None,
    })
}

/// Parses a time such as `30s`, `5m`, `1h` or `7d`; without a unit, in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_hours(366 * 24);
    let time = parse_time(text).filter(|time| *time <= MAX);
    time.ok_or_else(|| {
        "expected a time of up to 366 days, such as 30, 30s, 10m, 1h or 7d".to_owned()
    })
}

/// Parses a time after which the server gives up on a client or the store.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_hours(24);
    let time = parse_time(text).filter(|time| allowed.contains(time));
    time.ok_or_else(|| "expected a time from 1s to 24h, such as 30s, 10m or 1h".to_owned())
}

fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = number.checked_mul(match unit.as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    })?;
    Some(Duration::from_secs(seconds))
}

/// Splits `10 GiB` into its number and its unit in lower case.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    Some((digits.trim().parse().ok()?, unit))
}

pub(super) fn parse_file_mode(text: &str) -> Result<u32, String> {
    match text.trim_start_matches('0') {
        "600" => Ok(0o600),
        "640" => Ok(0o640),
        "660" => Ok(0o660),
        _ => Err("expected 0600, 0640 or 0660".to_owned()),
    }
}

pub(super) fn parse_rotate(text: &str) -> Result<Rotate, String> {
    let mut rotate = Rotate::default();
    for part in text.split(',').map(str::trim) {
        match part.to_ascii_lowercase().as_str() {
            "off" if text.trim().len() == part.len() => {}
            "day" => rotate.daily = true,
            _ => {
                let bytes = bytes_from(MIB)(part).map_err(|_| {
                    "expected off, day, a size of at least 1MiB, or both: day,100MiB".to_owned()
                })?;
                rotate.bytes_max = Some(bytes);
            }
        }
    }
    Ok(rotate)
}
