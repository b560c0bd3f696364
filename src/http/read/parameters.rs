//! Query parameters. A parameter that is unknown, repeated or malformed is an error that names it.

use std::borrow::Cow;
use std::fmt::Write;
use std::str::FromStr;

use axum::http::Uri;

use super::parameter_sets::{EVENTS_DEFAULT, EVENTS_MAX, QueryParameter, TEXT_BYTES_MAX};
use crate::event::MEMBERS;
use crate::event::Timestamp;
use crate::event::timestamp;
use crate::http::problem::Problem;
use crate::query::{FILTER_COLUMNS, Filter, Order, PageKey, PageQuery, SelectedMembers};

/// The parameters of one request.
pub(super) struct Parameters<'u>(Vec<(Cow<'u, str>, Cow<'u, str>)>);

impl<'u> Parameters<'u> {
    /// Reads the parameters of a request, all of which must be known to its route.
    pub(super) fn read(uri: &'u Uri, known: &[&[QueryParameter]]) -> Result<Self, Problem> {
        let names = || known.iter().copied().flatten().map(|parameter| parameter.name);
        let query = uri.query().unwrap_or_default();
        let all: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        for (at, (name, _)) in all.iter().enumerate() {
            if !names().any(|known| known == name) {
                let known: Vec<_> = names().collect();
                let error = format!("is not known; allowed: {}", known.join(", "));
                return Err(Problem::parameter(name, &error));
            }
            if name != "event_type" && all[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::parameter(name, "is repeated; allowed: once"));
            }
        }
        Ok(Self(all))
    }

    /// Returns the value of a parameter. An empty value counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(found, _)| found == name);
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// Returns the filter.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let mut filter = Filter::default();
        for column in FILTER_COLUMNS {
            filter.equal.extend(self.get(column).map(|value| (column, value.to_owned())));
        }
        for types in self.all("event_type") {
            let types = types.split(',').map(str::trim).filter(|name| !name.is_empty());
            filter.event_types.extend(types.map(str::to_owned));
        }
        if filter.event_types.len() > 50 {
            let error = "has more than 50 names; allowed: up to 50, separated by commas";
            return Err(Problem::parameter("event_type", error));
        }
        filter.since = self.time("since")?;
        filter.until = self.time("until")?;
        filter.text = self.get("q").map(str::to_owned);
        if filter.text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            let error = format!("is longer than {TEXT_BYTES_MAX} bytes");
            return Err(Problem::parameter("q", &error));
        }
        Ok(filter)
    }

    /// Returns a point in time, given as a timestamp or as a duration before now.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bad = || {
            let allowed = "a time such as 2026-11-23T09:00:00Z (no offset: UTC; a '+' in an address \
                is written %2B), epoch seconds or milliseconds, or or a duration before now: 30s, 15m, 2h, 7d";
            Problem::parameter(name, &format!("is {text:?}; allowed: {allowed}"))
        };
        if let Some(seconds) = seconds(text) {
            let micros = Timestamp::now().micros().checked_sub(seconds.saturating_mul(1_000_000));
            let ago = micros.and_then(Timestamp::from_micros);
            return Ok(Some(ago.unwrap_or(Timestamp::MIN)));
        }
        let is_number = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
        let time = if is_number && text.len() != 8 {
            timestamp::parse_number(text)
        } else {
            timestamp::parse_text(text)
        };
        time.map(Some).map_err(|_| bad())
    }

    /// Returns a number from 1 to `max`.
    pub(super) fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| {
            Problem::parameter(
                name,
                &format!("is {text:?}; allowed: a whole number from 1 to {max}"),
            )
        })
    }

    /// Returns the meaning of one of the allowed words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        found.map(Some).ok_or_else(|| {
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Problem::parameter(name, &format!("is {text:?}; allowed: {}", allowed.join(", ")))
        })
    }

    /// Returns the members that `fields` and `data` select.
    pub(super) fn members(&self) -> Result<SelectedMembers, Problem> {
        let with_data = self.word("data", &[("true", true), ("false", false)])?;
        let Some(fields) = self.get("fields") else {
            return Ok(if with_data == Some(false) {
                SelectedMembers::WithoutData
            } else {
                SelectedMembers::All
            });
        };
        let mut names = Vec::new();
        for name in fields.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !MEMBERS.iter().any(|member| member.name == name) {
                let allowed = MEMBERS.map(|member| member.name).join(", ");
                let error = format!("has {name:?}; allowed, separated by commas: {allowed}");
                return Err(Problem::parameter("fields", &error));
            }
            let is_wanted = name != "data" || with_data != Some(false);
            if is_wanted && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if names.is_empty() {
            let error = "selects no member; allowed: at least one name besides those that data=false leaves out";
            return Err(Problem::parameter("fields", error));
        }
        Ok(SelectedMembers::Only(names))
    }

    /// Returns the page key in `cursor`.
    pub(super) fn cursor(&self) -> Result<Option<PageKey>, Problem> {
        let Some(cursor) = self.get("cursor") else { return Ok(None) };
        read_cursor(cursor).map(Some).ok_or_else(|| {
            let error = "is not a cursor of this server; allowed: the next_cursor of a page";
            Problem::parameter("cursor", error)
        })
    }

    /// Returns a duration of at least one second, in seconds.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = seconds(text).filter(|seconds| (1..=366 * 86_400).contains(seconds));
        found.map(Some).ok_or_else(|| {
            let allowed = "a time from 1s to 366d, such as 30s, 15m, 2h, 7d";
            Problem::parameter(name, &format!("is {text:?}; allowed: {allowed}"))
        })
    }

    /// Returns the query of `GET /events`.
    pub(super) fn page(&self) -> Result<PageQuery, Problem> {
        let order =
            self.word("order", &[("asc", Order::Ascending), ("desc", Order::Descending)])?;
        Ok(PageQuery {
            order: order.unwrap_or_default(),
            after: self.cursor()?,
            members: self.members()?,
            ..PageQuery::new(self.filter()?, self.number("limit", EVENTS_DEFAULT, EVENTS_MAX)?)
        })
    }
}

/// Parses a duration such as `15m`. Returns seconds.
fn seconds(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    i64::from_str(&text[..text.len() - 1]).ok().filter(|n| *n >= 0)?.checked_mul(unit)
}

/// Returns the shortest common duration that divides `seconds` into at most `buckets_max` buckets.
pub(super) fn bucket_length(seconds: i64, buckets_max: i64) -> i64 {
    const COMMON: [i64; 10] = [1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400, 604_800];
    let fits = |length: &&i64| seconds / **length <= buckets_max;
    COMMON.iter().find(fits).copied().unwrap_or(seconds / buckets_max + 1)
}

/// Encodes a page key as a cursor, which is opaque to clients.
pub(super) fn cursor_to(key: &PageKey) -> String {
    let mut cursor = form_urlencoded::Serializer::new(String::new());
    let time = key.timestamp.micros().to_string();
    cursor.append_pair(&time, &key.session_id).append_pair("", &key.event_id);
    // Hexadecimal digits need no escaping in a URL.
    cursor.finish().bytes().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn read_cursor(cursor: &str) -> Option<PageKey> {
    let pairs = cursor.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    let mut pairs = form_urlencoded::parse(&bytes);
    let ((time, session_id), (_, event_id)) = (pairs.next()?, pairs.next()?);
    let timestamp = Timestamp::from_micros(time.parse().ok()?)?;
    Some(PageKey {
        timestamp,
        session_id: session_id.into_owned(),
        event_id: event_id.into_owned(),
    })
}
