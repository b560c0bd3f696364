//! JSON in a canonical form, so that values which differ only in notation are equal.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Returns the members of an object; of two with one name, the last. Strings must be valid Unicode.
pub(super) fn members(json: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    serde_json::from_str(json).map_err(|error| format!("{error} in {json:.300}"))
}

/// Returns a value with sorted members, minimal escapes, and numbers as digits and exponent.
pub(super) fn canonical(json: &str) -> Result<String, String> {
    let invalid = |error: serde_json::Error| format!("{error} in {json:.300}");
    Ok(match json.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(json).map_err(invalid)?;
            quoted(&text)
        }
        Some(b'{') => {
            let members = members(json)?.into_iter();
            let members = members
                .map(|(name, raw)| Ok(format!("{}:{}", quoted(&name), canonical(raw.get())?)));
            format!("{{{}}}", members.collect::<Result<Vec<_>, String>>()?.join(","))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(invalid)?;
            let elements = elements.into_iter().map(|raw| canonical(raw.get()));
            format!("[{}]", elements.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Some(b'-' | b'0'..=b'9') => decimal(json),
        _ => json.to_owned(),
    })
}

/// Returns a text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns a number as `-15e3`: without zeros at the ends of its digits.
fn decimal(number: &str) -> String {
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent: i64 = exponent.trim_start_matches('+').parse().expect("an exponent");
    let exponent = exponent - fraction.len() as i64 + zeros as i64;
    format!("{sign}{significant}e{exponent}")
}
