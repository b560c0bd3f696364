//! The raw members of a JSON object.

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Calls with the name and the raw value of each member of a JSON object; false if it is none.
pub fn each_member<'l>(line: &'l [u8], mut call: impl FnMut(&str, &'l str)) -> bool {
    struct Members<'c, 'l>(&'c mut dyn FnMut(&str, &'l str));
    impl<'l> Visitor<'l> for Members<'_, 'l> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'l>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<std::borrow::Cow<'l, str>>()? {
                (self.0)(&name, map.next_value::<&'l RawValue>()?.get());
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    json.deserialize_map(Members(&mut call)).is_ok()
}
