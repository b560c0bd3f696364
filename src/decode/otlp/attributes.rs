//! Attributes: searching them, and writing them as plain JSON.

use data_encoding::BASE64;

use super::wire::{AnyValue, AttributeValue, KeyValue, lossy};
use crate::json::text::quoted;

/// The attributes of a record, which take precedence over those of its resource.
pub(super) struct Attributes<'a> {
    pub(super) record: &'a [KeyValue],
    pub(super) resource: &'a [KeyValue],
}

impl Attributes<'_> {
    fn find<T>(&self, names: &[&str], read: impl Fn(&AttributeValue) -> Option<T>) -> Option<T> {
        names.iter().find_map(|name| {
            // The last of two with one name counts.
            let mut all = self.record.iter().rev().chain(self.resource.iter().rev());
            let found = all.find(|attribute| attribute.key == name.as_bytes())?;
            read(found.value.as_ref()?.value.as_ref()?)
        })
    }

    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            AttributeValue::String(text) => {
                Some(lossy(text).into_owned()).filter(|text| !text.is_empty())
            }
            AttributeValue::Int(number) => Some(number.to_string()),
            AttributeValue::Double(number) => number.is_finite().then(|| number.to_string()),
            _ => None,
        })
    }

    /// Returns the number of an attribute. Some agents send numbers as strings.
    pub(super) fn number(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| match value {
            AttributeValue::Int(number) => Some(number.to_string()),
            AttributeValue::Double(number) => number.is_finite().then(|| number.to_string()),
            AttributeValue::String(text) => {
                let text = lossy(text);
                serde_json::from_str::<serde_json::Number>(text.trim()).ok()?;
                Some(text.trim().to_owned())
            }
            _ => None,
        })
    }
}

/// Appends attributes as a JSON object.
pub(super) fn write_object(members: &[KeyValue], out: &mut String) {
    out.push('{');
    for (at, member) in members.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&quoted(&lossy(&member.key)));
        out.push(':');
        write_value(member.value.as_ref(), out);
    }
    out.push('}');
}

/// Appends a value as plain JSON.
pub(super) fn write_value(value: Option<&AnyValue>, out: &mut String) {
    match value.and_then(|value| value.value.as_ref()) {
        None => out.push_str("null"),
        Some(AttributeValue::String(text)) => out.push_str(&quoted(&lossy(text))),
        Some(AttributeValue::Bool(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        Some(AttributeValue::Int(number)) => out.push_str(&number.to_string()),
        // JSON has no such numbers: NaN and infinity become strings.
        Some(AttributeValue::Double(number)) if !number.is_finite() => {
            out.push_str(&quoted(&number.to_string()));
        }
        Some(AttributeValue::Double(number)) => {
            out.push_str(&serde_json::Value::from(*number).to_string());
        }
        Some(AttributeValue::Array(array)) => {
            out.push('[');
            for (at, value) in array.values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_value(Some(value), out);
            }
            out.push(']');
        }
        Some(AttributeValue::Map(map)) => write_object(&map.values, out),
        Some(AttributeValue::Bytes(bytes)) => out.push_str(&quoted(&BASE64.encode(bytes))),
    }
}
