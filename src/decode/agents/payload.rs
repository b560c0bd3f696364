//! The payload of a hook: one JSON object, whose members are looked up by path.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::event::parse_count;
use crate::json::{text, visit_members};

/// The members of a JSON object, unparsed. If a name occurs twice, the last one counts.
#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct Payload<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Payload<'a> {
    /// Parses a payload.
    ///
    /// # Errors
    /// If the text is not one JSON object.
    pub(in crate::decode) fn parse(json: &'a str) -> serde_json::Result<Self> {
        let mut members = Vec::new();
        visit_members(json, "a hook's payload: a JSON object", |name, raw| {
            members.push((text::unescape(name), raw));
        })?;
        Ok(Self { members })
    }

    /// Returns the raw value at a path such as `tool_response/error`; `None` if it is missing or null.
    pub(in crate::decode) fn raw(&self, path: &str) -> Option<&'a str> {
        let (name, rest) = match path.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let found = self.members.iter().rev().find(|(member, _)| member == name);
        let (_, raw) = found.filter(|(_, raw)| *raw != "null")?;
        match rest {
            None => Some(raw),
            Some(rest) => Self::parse(raw).ok()?.raw(rest),
        }
    }

    /// Whether there is a value at a path that is not null.
    pub(super) fn has(&self, path: &str) -> bool {
        self.raw(path).is_some()
    }

    /// Returns the text at the first of these paths that has one. Numbers are text, too.
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

    /// Returns true if there is a number at a path that is not 0, such as the exit code of a failed command.
    pub(super) fn is_nonzero(&self, path: &str) -> bool {
        let number = self.number(&[path]).and_then(|number| number.parse::<f64>().ok());
        number.is_some_and(|number| number != 0.0)
    }

    /// Returns the raw elements of the array at a path. Any other value is its only element.
    pub(super) fn elements(&self, path: &str) -> Vec<&'a str> {
        let Some(raw) = self.raw(path) else { return Vec::new() };
        if !raw.starts_with('[') {
            return vec![raw];
        }
        let elements: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
        elements.into_iter().map(RawValue::get).collect()
    }

    /// Returns the sum of the counts at these paths; `None` if none of them has one.
    pub(super) fn sum(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        let counts = paths.iter().filter_map(|path| parse_count(&self.number(&[path])?));
        counts.reduce(i64::saturating_add).map(|sum| Cow::Owned(sum.to_string()))
    }

    /// Returns the number at the first of these paths that has one, as it was sent.
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
