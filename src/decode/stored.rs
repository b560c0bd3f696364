//! Lines that a server has stored, for `import`: the line becomes the event that it was. Its extra
//! fields stand under `extra` and become fields again, its facts count as they are, and
//! `received_at` is the time at which this server receives it; `key_name` is that of who imports. A line of another form is an event
//! as senders send it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::compact::Fact;
use super::fields::{Field, Fields};
use super::{Invalid, agents};
use crate::event::Facts;
use crate::json::text;

/// Turns a stored line's members into what was sent.
pub(super) fn rename(mut fields: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    if !is_stored(&fields) {
        return agents::rename(fields);
    }
    let mut facts = Facts::default();
    for (name, raw) in fields.take_extra() {
        // Lines are parsed in place.
        let Cow::Borrowed(raw) = raw else { continue };
        if let Some(fact) = fact(&name) {
            match raw.as_bytes()[0] {
                b'"' => fact.keep_string(&mut facts, raw),
                b'-' | b'0'..=b'9' => fact.keep_number(&mut facts, raw),
                _ => {}
            }
        } else if name == "\"extra\"" && raw != "null" {
            let Ok(Members(members)) = serde_json::from_str(raw) else {
                let error = format!("must be an object, not {}", text::kind(raw));
                return Err(Invalid::field("extra", error));
            };
            for (name, raw) in members {
                fields.keep_extra(name, raw);
            }
        }
    }
    fields.set_facts(facts);
    Ok(fields)
}

/// Whether all members that every stored line has are there, and no others than it can have.
fn is_stored(fields: &Fields<'_>) -> bool {
    let mut received = false;
    let all_known = fields.extras().iter().all(|(name, _)| {
        received |= name == "\"received_at\"";
        matches!(&**name, "\"received_at\"" | "\"key_name\"" | "\"extra\"") || fact(name).is_some()
    });
    received && all_known && Field::ALL.iter().all(|field| fields.has(*field))
}

/// The fact of that name, a JSON string.
fn fact(name: &str) -> Option<Fact> {
    Fact::of(name.get(1..name.len() - 1)?.as_bytes())
}

/// An object's members as they stand there.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, raw)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get(), raw.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
