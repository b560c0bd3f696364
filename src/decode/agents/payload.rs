//! A hook's payload: one JSON object, whose members are looked up by path.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::text;

/// The members of a JSON object, unparsed. Where a name stands twice, the last one counts.
#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct Payload<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Payload<'a> {
    /// The raw value at a path such as `tool_response/error`, if it is there and not null.
    pub(in crate::decode) fn raw(&self, path: &str) -> Option<&'a str> {
        let (name, rest) = match path.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let found = self.members.iter().rev().find(|(member, _)| member == name);
        let (_, raw) = found.filter(|(_, raw)| *raw != "null")?;
        match rest {
            None => Some(raw),
            Some(rest) => serde_json::from_str::<Payload<'a>>(raw).ok()?.raw(rest),
        }
    }

    /// Whether there is something at a path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.raw(path).is_some()
    }

    /// The text at the first of these paths that has any; a number counts as its digits.
    pub(super) fn text(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| {
            let raw = self.raw(path)?;
            match raw.as_bytes()[0] {
                b'"' => Some(text::unescape(raw)).filter(|text| !text.is_empty()),
                b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
                _ => None,
            }
        })
    }

    /// The number at the first of these paths that has one, as it is spelled.
    pub(super) fn number(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| {
            let raw = self.raw(path)?;
            matches!(raw.as_bytes()[0], b'-' | b'0'..=b'9').then_some(Cow::Borrowed(raw))
        })
    }
}

impl<'a> FromIterator<(Cow<'a, str>, &'a str)> for Payload<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, &'a str)>>(members: I) -> Self {
        Self { members: members.into_iter().collect() }
    }
}

impl<'de> Deserialize<'de> for Payload<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Payload<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a hook's payload: a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<&'de RawValue>()? {
                    let value = map.next_value::<&'de RawValue>()?;
                    members.push((text::unescape(key.get()), value.get()));
                }
                Ok(Payload { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}
