//! Timestamps, and the forms in which senders can write them.

use std::borrow::Cow;

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;

/// A point in time: microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Returns the timestamp at a number of microseconds since 1970; `None` outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// Returns the current time of the system clock.
    pub fn now() -> Self {
        let micros = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Days since 1970-01-01 (UTC), rounded down.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals: `2026-11-23T09:00:00.123456Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Timestamp {
    /// Returns the text of `Display`. Not written with `format!`, which took a quarter of the decoding time
    /// of an event.
    pub(super) fn text(self) -> [u8; 27] {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, number: u32| {
            text[at] = b'0' + (number / 10) as u8;
            text[at + 1] = b'0' + (number % 10) as u8;
        };
        let (year, month, day) = civil(self.day());
        let micros = self.0.rem_euclid(86_400_000_000);
        let (seconds, micros) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
        put(0, year as u32 / 100);
        put(2, year as u32 % 100);
        put(5, month as u32);
        put(8, day as u32);
        put(11, seconds / 3600);
        put(14, seconds / 60 % 60);
        put(17, seconds % 60);
        put(20, micros / 10_000);
        put(22, micros / 100 % 100);
        put(24, micros % 100);
        text
    }
}

/// Returns the year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian
/// calendar. The algorithm is `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms".
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

const ALLOWED: &str = "must be ISO 8601 such as 2026-11-23T09:00:00.123456+00:00 (no offset: UTC), \
     or epoch seconds or milliseconds, between the years 1 and 9999";

/// Numbers below this are epoch seconds (up to the year 5138), others are epoch milliseconds (from 1973).
const MILLISECONDS_FROM: f64 = 1e11;

/// Parses a timestamp: ISO 8601 with `T` or a space, with an offset or without (then UTC), or only a date
/// (then midnight UTC). Digits after the microsecond are ignored.
///
/// # Errors
/// If the text has another form. The message says what is allowed.
pub fn parse_text(text: &str) -> Result<Timestamp, String> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    if let Some(timestamp) = stored_form(text) {
        return Ok(timestamp);
    }
    let bad = || format!("{ALLOWED}; not {}", excerpt(text));
    let shortened = short_fraction(text.trim());
    let pieces = PARSER.parse_pieces(&*shortened).map_err(|_| bad())?;
    let offset = match (pieces.to_numeric_offset(), pieces.time_zone_annotation()) {
        (Some(offset), _) => offset,
        (None, None) => Offset::UTC,
        // The name of a time zone without an offset would require the time zone database.
        (None, Some(_)) => return Err(bad()),
    };
    // The parser allows larger offsets than RFC 3339, where the maximum is 23:59.
    if offset.seconds().abs() >= 86_400 {
        return Err(bad());
    }
    let time = pieces.time().unwrap_or(Time::midnight());
    micros(DateTime::from_parts(pieces.date(), time), offset)
        .and_then(Timestamp::from_micros)
        .ok_or_else(bad)
}

/// Parses `2026-11-23T09:00:00.123456Z`, the form in which events are stored and many senders write theirs.
/// `None` for all other forms, which the general parser accepts or rejects.
fn stored_form(text: &str) -> Option<Timestamp> {
    let text: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_i64, |number, &byte| {
            byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Leap seconds are left to the general parser, too.
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let days = days_since_1970(date);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Timestamp::from_micros(seconds * 1_000_000 + number(20, 26)?)
}

/// Truncates a fraction of a second to nine digits, the maximum that the parser accepts.
fn short_fraction(text: &str) -> Cow<'_, str> {
    let Some(point) = text.find(['.', ',']) else { return Cow::Borrowed(text) };
    let fraction = &text[point + 1..];
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 9 {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}{}", &text[..point + 10], &fraction[digits..]))
}

fn days_since_1970(date: jiff::civil::Date) -> i64 {
    date.duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24
}

/// Parses a JSON number: epoch seconds or milliseconds, with or without a fraction.
///
/// # Errors
/// If it is out of range. The message says what is allowed.
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
    // Not computed with jiff's `Timestamp`, whose range ends a day earlier than ours.
    let days = days_since_1970(civil.date());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stored_form_round_trips(micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros()) {
            let timestamp = Timestamp::from_micros(micros).unwrap();
            let text = timestamp.to_string();
            prop_assert_eq!(stored_form(&text), Some(timestamp));
            // An offset requires the general parser, which must agree.
            prop_assert_eq!(parse_text(&text.replace('Z', "+00:00")), Ok(timestamp));
        }

        #[test]
        fn changed_stored_form_is_parsed_as_by_the_general_parser(at in 0..27_usize, byte in 0x20..0x7f_u8) {
            let mut text = *b"2026-11-23T09:00:00.123456Z";
            text[at] = byte;
            let text = std::str::from_utf8(&text).unwrap();
            if let Some(timestamp) = stored_form(text) {
                prop_assert_eq!(parse_text(&text.replace('Z', "+00:00")), Ok(timestamp));
            }
        }
    }
}
