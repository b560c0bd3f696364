//! Values in the JSON of protobuf (`ProtoJSON`), as lenient as its parsers are: null is the default of a
//! field, numbers may be strings, enums are names or numbers.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::text::unescape;

/// Reads null as the default.
pub(super) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list of messages. Null is an empty list, and a null in it is left out.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Vec<Option<T>> = null_default(deserializer)?;
    Ok(list.into_iter().flatten().collect())
}

/// Reads a list that is `Some`, even if it is null, because the member is present.
pub(super) fn present_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    list(deserializer).map(Some)
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    text_option(deserializer).map(Option::unwrap_or_default)
}

pub(super) fn text_option<'de, D>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(deserializer)?.map(String::into_bytes))
}

/// A number, or a string with a number, since many JSON parsers do not support 64-bit numbers. A whole
/// number may have a fraction of zero, or an exponent.
pub(super) struct Number<T>(pub(super) T);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not every number fits a `serde_json` number.
        let value = Box::<RawValue>::deserialize(deserializer)?;
        let text = match value.get().as_bytes()[0] {
            b'"' => unescape(value.get()).trim().to_owned(),
            b'-' | b'0'..=b'9' => value.get().to_owned(),
            _ => return Err(Error::custom(format!("{value} is not a number"))),
        };
        let whole = || {
            let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0)?;
            format!("{number:.0}").parse().ok()
        };
        (text.parse().ok().or_else(whole))
            .map(Self)
            .ok_or_else(|| Error::custom(format!("{text:?} is not a valid number")))
    }
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::<Number<u64>>::deserialize(deserializer)?.map_or(0, |number| number.0))
}

/// IDs are hexadecimal in OTLP JSON. Some senders write them in base64, as in other JSON of protobuf.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text: String = null_default(deserializer)?;
    let decoded = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    decoded
        .or_else(|_| BASE64.decode(text.as_bytes()))
        .map_err(|_| Error::custom(format!("{text:?} is not a hexadecimal ID")))
}

/// Reads `SEVERITY_NUMBER_INFO3` or its number.
pub(super) fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let number = |name: &str| {
        let name = name.strip_prefix("SEVERITY_NUMBER_").unwrap_or(name);
        let (level, step) = match name.split_at_checked(name.len().saturating_sub(1)) {
            Some((level, step @ ("2" | "3" | "4"))) => (level, step.parse::<i32>().ok()?),
            _ => (name, 1),
        };
        let at = LEVELS.iter().position(|known| *known == level)?;
        Some(4 * i32::try_from(at).ok()? + step)
    };
    enumeration(deserializer, number)
}

/// Reads `SPAN_KIND_CLIENT` or its number.
pub(super) fn span_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let number = |name: &str| {
        let name = name.strip_prefix("SPAN_KIND_")?.to_ascii_lowercase();
        SPAN_KINDS.iter().position(|known| *known == name)?.try_into().ok()
    };
    enumeration(deserializer, number)
}

/// The kinds of spans, by number.
pub(super) const SPAN_KINDS: [&str; 6] =
    ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// Reads `STATUS_CODE_ERROR` or its number.
pub(super) fn status_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let number = |name: &str| {
        let name = name.strip_prefix("STATUS_CODE_")?.to_ascii_lowercase();
        STATUS_CODES.iter().position(|known| *known == name)?.try_into().ok()
    };
    enumeration(deserializer, number)
}

/// The status codes of spans, by number.
pub(super) const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// Reads an enum. An unknown value is the default, so that it does not cost the record.
fn enumeration<'de, D>(
    deserializer: D,
    by_name: impl Fn(&str) -> Option<i32>,
) -> Result<i32, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => by_name(&text).or_else(|| text.trim().parse().ok()),
        Value::Number(number) => number.as_f64().map(|number| number as i32),
        _ => None,
    }
    .unwrap_or_default())
}
