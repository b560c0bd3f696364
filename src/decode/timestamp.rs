//! Every form of a timestamp that the wire contract names, to microseconds in UTC.

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;

use crate::event::Timestamp;

const ALLOWED: &str = "must be ISO 8601 such as 2026-11-23T09:00:00.123456+00:00 (no offset: UTC), \
     or epoch seconds or milliseconds, between the years 1 and 9999";

/// Numbers below this are epoch seconds (until the year 5138), from it on epoch milliseconds (from
/// 1973 on).
const MILLISECONDS_FROM: f64 = 1e11;

/// Reads a timestamp from text: ISO 8601 with `T` or a space, with an offset or without (then
/// UTC), or a date alone (then midnight UTC). Digits beyond the microsecond are cut off.
///
/// # Errors
/// What is allowed, if it is none of these.
pub fn parse_text(text: &str) -> Result<Timestamp, String> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let bad = || format!("{ALLOWED}; not {}", excerpt(text));
    let pieces = PARSER.parse_pieces(text.trim()).map_err(|_| bad())?;
    let offset = match (pieces.to_numeric_offset(), pieces.time_zone_annotation()) {
        (Some(offset), _) => offset,
        (None, None) => Offset::UTC,
        // A zone's name alone would need the zone database to be understood.
        (None, Some(_)) => return Err(bad()),
    };
    let time = pieces.time().unwrap_or(Time::midnight());
    micros(DateTime::from_parts(pieces.date(), time), offset)
        .and_then(Timestamp::from_micros)
        .ok_or_else(bad)
}

/// Reads a timestamp from a JSON number: epoch seconds or milliseconds, with a fraction or not.
///
/// # Errors
/// What is allowed, if it is out of range.
pub fn parse_number(number: &str) -> Result<Timestamp, String> {
    let bad = || format!("{ALLOWED}; not {}", excerpt(number));
    if let Ok(whole) = number.parse::<i64>() {
        let unit = if (whole as f64).abs() < MILLISECONDS_FROM { 1_000_000 } else { 1000 };
        return whole.checked_mul(unit).and_then(Timestamp::from_micros).ok_or_else(bad);
    }
    let value: f64 = number.parse().map_err(|_| bad())?;
    let unit = if value.abs() < MILLISECONDS_FROM { 1e6 } else { 1e3 };
    let micros = (value * unit).round();
    if micros.abs() > 1e18 {
        return Err(bad());
    }
    Timestamp::from_micros(micros as i64).ok_or_else(bad)
}

fn micros(civil: DateTime, offset: Offset) -> Option<i64> {
    // Computed by hand rather than by jiff's Timestamp, whose range ends a day before ours.
    let days = civil.date().duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24;
    let time = civil.time();
    let seconds = days * 86_400
        + i64::from(time.hour()) * 3600
        + i64::from(time.minute()) * 60
        + i64::from(time.second())
        - i64::from(offset.seconds());
    seconds.checked_mul(1_000_000)?.checked_add(i64::from(time.subsec_nanosecond()) / 1000)
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
