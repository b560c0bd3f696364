//! The members of a JSON object, unparsed.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::de::Read;
use serde_json::value::RawValue;

use super::text::unescape;

/// Calls `visit` with each member of a JSON object: the name as a JSON string token, and the raw value.
///
/// # Errors
/// If the text is not one JSON object. `expected` describes the object in the error's text.
pub fn visit_members<'j>(
    json: &'j str,
    expected: &str,
    visit: impl FnMut(&'j str, &'j str),
) -> serde_json::Result<()> {
    visit_all(serde_json::Deserializer::from_str(json), expected, visit)
}

/// Calls `visit` with each member of a JSON object: the name as text, and the raw value. Returns false if
/// the bytes are not one JSON object.
pub fn each_member<'j>(json: &'j [u8], mut visit: impl FnMut(&str, &'j str)) -> bool {
    let visit = |name: &'j str, value| visit(&unescape(name), value);
    visit_all(serde_json::Deserializer::from_slice(json), "an object", visit).is_ok()
}

fn visit_all<'j, R: Read<'j>>(
    mut deserializer: serde_json::Deserializer<R>,
    expected: &str,
    visit: impl FnMut(&'j str, &'j str),
) -> serde_json::Result<()> {
    deserializer.deserialize_map(MemberVisitor { expected, visit })?;
    deserializer.end()
}

struct MemberVisitor<'e, F> {
    expected: &'e str,
    visit: F,
}

impl<'j, F: FnMut(&'j str, &'j str)> Visitor<'j> for MemberVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_map<A: MapAccess<'j>>(mut self, mut map: A) -> Result<(), A::Error> {
        // Names are taken raw too, so that a name that is not valid Unicode is not an error.
        while let Some((name, value)) = map.next_entry::<&'j RawValue, &'j RawValue>()? {
            (self.visit)(name.get(), value.get());
        }
        Ok(())
    }
}
