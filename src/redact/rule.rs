//! A compiled rule.

use std::time::Duration;

use regex::{Match, Regex};
use rustix::time::{ClockId, clock_gettime};

use super::mark;
use super::rules;

/// Maximum distance of a rule's companion byte from its literal, with some margin.
const COMPANION_BYTES_MAX: usize = 1024;

/// Number of bytes that a pattern of a file sees at a time. Between two such windows the time is checked.
const WINDOW_BYTES: usize = 16 << 10;

/// Number of bytes by which windows overlap: the longest secret that is found wherever it is.
const OVERLAP_BYTES: usize = 8 << 10;

/// Maximum CPU time that a request can spend with the patterns of a file. Patterns without nested repetitions
/// search hundreds of megabytes in this time; the slowest, tens of kilobytes.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);

/// The time for the patterns of a file is spent.
pub(super) struct TimeSpent;

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    regex: Regex,
    /// Whether the pattern has a group named `secret`. Then only the group is replaced.
    has_group: bool,
    check: Option<fn(&str) -> bool>,
    /// A byte that every match has after the literal.
    companion: Option<u8>,
    /// True if the rule is one of a file. It has no literals, so every string is searched with the pattern, in
    /// windows and for a limited time.
    pub(super) is_own: bool,
}

impl Rule {
    pub(super) fn standard(rule: &rules::Standard) -> Result<Self, regex::Error> {
        let regex = Regex::new(rule.pattern)?;
        let (check, companion) = (rule.check, rule.companion);
        let rule = Self::own(rule.name.to_owned(), regex);
        Ok(Self { check, companion, is_own: false, ..rule })
    }

    /// A rule of a patterns file.
    pub(super) fn own(name: String, regex: Regex) -> Self {
        let has_group = regex.capture_names().flatten().any(|name| name == "secret");
        Self { name, regex, has_group, check: None, companion: None, is_own: true }
    }

    /// Whether there can be a match, given the bytes after a literal.
    pub(super) fn is_plausible(&self, after: &[u8]) -> bool {
        let near = &after[..after.len().min(COMPANION_BYTES_MAX)];
        self.companion.is_none_or(|companion| memchr::memchr(companion, near).is_some())
    }

    /// Calls `take` with the start and end of each secret in a text. Matches can overlap. `spent` is the time
    /// spent by rules of a file.
    pub(super) fn find(
        &self,
        text: &str,
        spent: &mut Duration,
        mut take: impl FnMut(usize, usize),
    ) -> Result<(), TimeSpent> {
        let mut take = |found: Match<'_>| {
            let is_secret = self.check.is_none_or(|check| check(found.as_str()));
            if is_secret && !found.is_empty() && !mark::contains(text, found.start(), found.end()) {
                take(found.start(), found.end());
            }
        };
        if !self.is_own {
            self.find_within(text, 0, &mut take);
            return Ok(());
        }
        let mut start = 0;
        loop {
            if *spent > SEARCH_TIME_MAX {
                return Err(TimeSpent);
            }
            let begun = thread_time();
            let end = text.ceil_char_boundary((start + WINDOW_BYTES).min(text.len()));
            self.find_within(&text[..end], start, &mut take);
            *spent += thread_time().saturating_sub(begun);
            if end == text.len() {
                return Ok(());
            }
            start = text.floor_char_boundary(end - OVERLAP_BYTES);
        }
    }

    /// Calls `take` with each secret from `start` on; the text before is context.
    fn find_within(&self, text: &str, start: usize, take: &mut impl FnMut(Match<'_>)) {
        let mut at = start;
        while at <= text.len() {
            let found = if self.has_group {
                let captures = self.regex.captures_at(text, at);
                captures.and_then(|all| Some((all.get(0)?, all.name("secret").or(all.get(0))?)))
            } else {
                self.regex.find_at(text, at).map(|found| (found, found))
            };
            let Some((whole, secret)) = found else { return };
            take(secret);
            at = if whole.is_empty() {
                text.ceil_char_boundary(whole.end() + 1)
            } else {
                whole.end()
            };
            if whole.is_empty() && whole.end() == text.len() {
                return;
            }
        }
    }
}

/// CPU time of the current thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
