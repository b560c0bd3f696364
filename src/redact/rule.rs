//! A compiled rule.

use regex::Regex;

use super::mark;
use super::rules;

/// Maximum distance of a rule's companion byte from its literal, with some margin.
const COMPANION_BYTES_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    regex: Regex,
    /// Whether the pattern has a group named `secret`. Then only the group is replaced.
    has_group: bool,
    check: Option<fn(&str) -> bool>,
    /// A byte that every match has after the literal.
    companion: Option<u8>,
    /// Whether the rule has no literals, so that every string is searched with the pattern.
    pub(super) is_always_tried: bool,
}

impl Rule {
    pub(super) fn standard(rule: &rules::Standard) -> Result<Self, regex::Error> {
        let regex = Regex::new(rule.pattern)?;
        let (check, companion) = (rule.check, rule.companion);
        let rule = Self::own(rule.name.to_owned(), regex);
        Ok(Self { check, companion, is_always_tried: false, ..rule })
    }

    /// A rule of a patterns file.
    pub(super) fn own(name: String, regex: Regex) -> Self {
        let has_group = regex.capture_names().flatten().any(|name| name == "secret");
        Self { name, regex, has_group, check: None, companion: None, is_always_tried: true }
    }

    /// Whether there can be a match, given the bytes after a literal.
    pub(super) fn is_plausible(&self, after: &[u8]) -> bool {
        let near = &after[..after.len().min(COMPANION_BYTES_MAX)];
        self.companion.is_none_or(|companion| memchr::memchr(companion, near).is_some())
    }

    /// Calls `take` with the start and end of each secret in a text.
    pub(super) fn find(&self, text: &str, mut take: impl FnMut(usize, usize)) {
        let mut consider = |found: regex::Match<'_>| {
            let is_secret = self.check.is_none_or(|check| check(found.as_str()));
            if is_secret && !found.is_empty() && !mark::contains(text, found.start(), found.end()) {
                take(found.start(), found.end());
            }
        };
        if self.has_group {
            for captures in self.regex.captures_iter(text) {
                captures.name("secret").or(captures.get(0)).into_iter().for_each(&mut consider);
            }
        } else {
            self.regex.find_iter(text).for_each(consider);
        }
    }
}
