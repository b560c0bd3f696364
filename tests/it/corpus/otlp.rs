//! Exports of OpenTelemetry with odd values as attributes, in JSON and protobuf.

use serde_json::value::RawValue;

use super::json::{canonical, members, quoted};
use super::values::OddValue;

/// Maximum nesting of values in attributes that both encodings accept.
pub(super) const DEPTH_MAX: usize = 20;

/// A number as exporters send it.
enum Number {
    Int(i64),
    Double(f64),
}

fn number(raw: &str) -> Number {
    let double = || Number::Double(raw.parse().expect("a number"));
    raw.parse().map_or_else(|_| double(), Number::Int)
}

/// Returns a value in the form in which attributes can hold it.
pub(super) fn representable(raw: &str) -> Result<String, String> {
    Ok(match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => match number(raw) {
            Number::Int(number) => number.to_string(),
            Number::Double(number) if number.is_finite() => format!("{number:e}"),
            Number::Double(number) => quoted(&number.to_string()),
        },
        Some(b'[') => {
            let elements = elements(raw).into_iter().map(|raw| representable(raw.get()));
            format!("[{}]", elements.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Some(b'{') => {
            let members = members(raw)?.into_iter();
            let members = members
                .map(|(name, raw)| Ok(format!("{}:{}", quoted(&name), representable(raw.get())?)));
            format!("{{{}}}", members.collect::<Result<Vec<_>, String>>()?.join(","))
        }
        _ => canonical(raw)?,
    })
}

fn elements(raw: &str) -> Vec<&RawValue> {
    serde_json::from_str(raw).expect("an array")
}

/// Returns the members of an object with their names as they are sent.
fn sent_members(object: &str) -> Vec<(String, String)> {
    struct Pairs(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some((name, value)) =
                        map.next_entry::<&'de RawValue, &'de RawValue>()?
                    {
                        pairs.push((name.get().to_owned(), value.get().to_owned()));
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Pairs>(object).expect("an object").0
}

/// Returns a value as an `AnyValue` in JSON.
pub(super) fn json_value(raw: &str) -> String {
    match raw.as_bytes()[0] {
        b'"' => format!("{{\"stringValue\":{raw}}}"),
        b't' | b'f' => format!("{{\"boolValue\":{raw}}}"),
        b'[' => {
            let values: Vec<_> = elements(raw).iter().map(|raw| json_value(raw.get())).collect();
            format!("{{\"arrayValue\":{{\"values\":[{}]}}}}", values.join(","))
        }
        b'{' => format!("{{\"kvlistValue\":{{\"values\":[{}]}}}}", json_attributes(raw)),
        b'n' => "{}".to_owned(),
        _ => match number(raw) {
            Number::Int(number) => format!("{{\"intValue\":\"{number}\"}}"),
            Number::Double(_) => format!("{{\"doubleValue\":{raw}}}"),
        },
    }
}

/// Returns the members of an object as attributes in JSON.
pub(super) fn json_attributes(object: &str) -> String {
    let pairs = sent_members(object).into_iter();
    let pairs =
        pairs.map(|(name, raw)| format!("{{\"key\":{name},\"value\":{}}}", json_value(&raw)));
    pairs.collect::<Vec<_>>().join(",")
}

/// Appends a field of a message: its number, and the bytes of a length-delimited value.
pub(super) fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(raw: &str) -> String {
    serde_json::from_str(raw).expect("a string")
}

/// Returns a value as an `AnyValue` in protobuf.
fn protobuf_value(raw: &str) -> Vec<u8> {
    let (mut out, mut inner) = (Vec::new(), Vec::new());
    match raw.as_bytes()[0] {
        b'"' => field(1, text(raw).as_bytes(), &mut out),
        b't' => out.extend([2 << 3, 1]),
        b'f' => out.extend([2 << 3, 0]),
        b'[' => {
            for raw in elements(raw) {
                field(1, &protobuf_value(raw.get()), &mut inner);
            }
            field(5, &inner, &mut out);
        }
        b'{' => field(6, &protobuf_attributes(1, raw), &mut out),
        b'n' => {}
        _ => match number(raw) {
            Number::Int(number) => {
                out.push(3 << 3);
                varint(number.cast_unsigned(), &mut out);
            }
            Number::Double(number) => {
                out.push(4 << 3 | 1);
                out.extend(number.to_le_bytes());
            }
        },
    }
    out
}

/// Returns the members of an object as attributes in protobuf, in a field with this number.
pub(super) fn protobuf_attributes(number: u8, object: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, raw) in sent_members(object) {
        let mut pair = Vec::new();
        field(1, text(&name).as_bytes(), &mut pair);
        field(2, &protobuf_value(&raw), &mut pair);
        field(number, &pair, &mut out);
    }
    out
}

/// Returns true if attributes can hold the value.
pub(super) fn is_representable(value: &OddValue) -> bool {
    value.depth <= DEPTH_MAX
}
