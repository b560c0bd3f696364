//! Secrets out of events before the journal has them: each is replaced by a mark that names the rule,
//! `[redacted:github-token]`. Pure, except that a patterns file is read once.
//!
//! Nearly all events have no secret, so the work is to find that out quickly: one pass looks for the
//! literals without which no rule can match. Only a string that has one is unescaped and given to
//! the rules' regular expressions, and only what they match is replaced; every other byte stays as it was.

mod file;
mod rules;

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use crate::json::text;

/// What every mark begins with.
const MARK: &str = "[redacted:";

/// Most bytes of a rule's name.
const NAME_BYTES_MAX: usize = 50;

/// How far after its literal a rule's companion can stand, and more.
const COMPANION_BYTES_MAX: usize = 1024;

/// How often a string is looked at again after something in it was replaced: what stood beside a
/// secret can be a secret by itself once the mark stands between.
const ROUNDS_MAX: usize = 4;

/// `REDACT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redact {
    /// Nothing is replaced.
    Off,
    /// The standard rules.
    Standard,
    /// The rules of a patterns file.
    File(PathBuf),
}

impl FromStr for Redact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.trim() {
            "" => return Err("expected off, standard, or the path of a patterns file".to_owned()),
            off if off.eq_ignore_ascii_case("off") => Self::Off,
            standard if standard.eq_ignore_ascii_case("standard") => Self::Standard,
            path => Self::File(path.into()),
        })
    }
}

/// Finds secrets and replaces them.
#[derive(Debug)]
pub struct Redactor {
    rules: Vec<Rule>,
    /// Find any literal, seven times as fast as `literals` can; `None` on a processor that lacks
    /// what it takes.
    scan: Option<[Searcher; 2]>,
    /// The rule of each literal, in the order in which they are given to the searchers.
    scanned: [Vec<usize>; 2],
    /// Tells which literals are there.
    literals: AhoCorasick,
    /// Which rule each literal is of.
    rule_of_literal: Vec<usize>,
    /// Whether a rule has no literals, so that every string has to be tried.
    tries_all: bool,
}

#[derive(Debug)]
struct Rule {
    name: String,
    regex: Regex,
    /// Whether there is a group named `secret`, which alone is replaced.
    has_group: bool,
    check: Option<fn(&str) -> bool>,
    /// A byte that every match has after the literal.
    companion: Option<u8>,
    /// Whether it has no literals, so that every string has to be tried.
    always: bool,
}

/// How many secrets were replaced, by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redactions(Vec<u64>);

impl Redactions {
    /// Adds others of the same redactor.
    pub fn add(&mut self, others: &Self) {
        self.0.resize(self.0.len().max(others.0.len()), 0);
        for (count, more) in self.0.iter_mut().zip(&others.0) {
            *count += more;
        }
    }

    fn count(&mut self, rule: usize) {
        self.0.resize(self.0.len().max(rule + 1), 0);
        self.0[rule] += 1;
    }
}

/// A part of a text that a rule matches.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    rule: usize,
}

impl Redactor {
    /// The redactor that the setting asks for; `None` if it is off.
    ///
    /// # Errors
    /// Which file, line and why, if there is something wrong with a patterns file.
    pub fn new(redact: &Redact) -> Result<Option<Self>, String> {
        let (standard, own) = match redact {
            Redact::Off => return Ok(None),
            Redact::Standard => (true, Vec::new()),
            Redact::File(path) => file::read(path)?,
        };
        let mut literals: Vec<&str> = Vec::new();
        let mut rule_of_literal = Vec::new();
        let mut rules = Vec::new();
        for rule in rules::STANDARD.iter().filter(|_| standard) {
            literals.extend(rule.literals);
            rule_of_literal.extend(rule.literals.iter().map(|_| rules.len()));
            rules.push(Rule::standard(rule).map_err(|error| error.to_string())?);
        }
        rules.extend(own.into_iter().map(|(name, regex)| Rule::own(name, regex)));
        // Neighbours, so that those in one searcher begin alike and are rarely looked at in vain. Two,
        // because one takes 64 literals.
        let mut sorted: Vec<_> = literals.iter().copied().zip(rule_of_literal.clone()).collect();
        sorted.sort_unstable();
        let (first, second) = sorted.split_at(sorted.len() / 2);
        let searcher = |part: &[(&str, usize)]| Searcher::new(part.iter().map(|(text, _)| text));
        let scan = searcher(first).zip(searcher(second)).map(|(first, second)| [first, second]);
        let scanned = [first, second].map(|part| part.iter().map(|(_, rule)| *rule).collect());
        let literals = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(literals)
            .map_err(|error| error.to_string())?;
        let tries_all = rules.iter().any(|rule| rule.always);
        Ok(Some(Self { rules, scan, scanned, literals, rule_of_literal, tries_all }))
    }

    /// The rules' names and how many secrets of each were found, where any was.
    pub fn by_rule<'r>(
        &'r self,
        found: &'r Redactions,
    ) -> impl Iterator<Item = (&'r str, u64)> + 'r {
        let counts = self.rules.iter().zip(&found.0);
        counts.filter(|(_, count)| **count > 0).map(|(rule, count)| (rule.name.as_str(), *count))
    }

    /// Redacts every string of a valid JSON text, names of members among them. The result is valid
    /// JSON, and what is no secret stays as it was, to the byte.
    pub fn json<'t>(&self, json: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        let bytes = json.as_bytes();
        let mut suspicions = Suspicions { redactor: self, json: bytes, next: [None; 3] };
        let Some(mut hit) = suspicions.from(0) else { return Cow::Borrowed(json) };
        let mut out = String::new();
        let (mut copied, mut at) = (0, 0);
        while let Some(quote) = bytes.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let start = at + quote;
            at = text::string_end(bytes, start);
            if hit >= at {
                continue;
            }
            if let Some(redacted) = self.string(&json[start..at], found) {
                out.push_str(&json[copied..start]);
                out.push_str(&redacted);
                copied = at;
            }
            let Some(next) = suspicions.from(at) else { break };
            hit = next;
        }
        if copied == 0 {
            return Cow::Borrowed(json);
        }
        out.push_str(&json[copied..]);
        Cow::Owned(out)
    }

    /// Redacts a text that is no JSON.
    pub fn plain<'t>(&self, text: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        let mut redacted = Cow::Borrowed(text);
        for _ in 0..ROUNDS_MAX {
            let spans = self.spans(&redacted);
            if spans.is_empty() {
                break;
            }
            let mut out = String::with_capacity(redacted.len());
            let mut copied = 0;
            for span in spans {
                out.push_str(&redacted[copied..span.start]);
                self.mark(span, found, &mut out);
                copied = span.end;
            }
            out.push_str(&redacted[copied..]);
            redacted = Cow::Owned(out);
        }
        redacted
    }

    /// Redacts what was sent as an event and is none: JSON, or not even that, which is searched as it
    /// stands.
    pub fn original<'t>(&self, sent: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        match serde_json::from_str::<serde::de::IgnoredAny>(sent) {
            Ok(_) => self.json(sent, found),
            Err(_) => self.plain(sent, found),
        }
    }

    /// Redacts a JSON string token; `None` if there is no secret in it.
    fn string(&self, token: &str, found: &mut Redactions) -> Option<String> {
        let mut redacted: Option<String> = None;
        for _ in 0..ROUNDS_MAX {
            let token = redacted.as_deref().unwrap_or(token);
            let spans = self.spans(&text::unescape(token));
            if spans.is_empty() {
                break;
            }
            let mut out = String::with_capacity(token.len());
            let (mut copied, mut raw, mut unescaped) = (0, 1, 0);
            for span in spans {
                let start = raw_offset(token, &mut raw, &mut unescaped, span.start);
                out.push_str(&token[copied..start]);
                self.mark(span, found, &mut out);
                copied = raw_offset(token, &mut raw, &mut unescaped, span.end);
            }
            out.push_str(&token[copied..]);
            redacted = Some(out);
        }
        redacted
    }

    fn mark(&self, span: Span, found: &mut Redactions, out: &mut String) {
        found.count(span.rule);
        out.push_str(MARK);
        out.push_str(&self.rules[span.rule].name);
        out.push(']');
    }

    /// What the rules match in a text, in order and without overlaps.
    fn spans(&self, text: &str) -> Vec<Span> {
        let mut wanted: Vec<bool> = self.rules.iter().map(|rule| rule.always).collect();
        for literal in self.literals.find_iter(text) {
            wanted[self.rule_of_literal[literal.pattern().as_usize()]] = true;
        }
        let mut spans = Vec::new();
        for (rule, _) in wanted.into_iter().enumerate().filter(|(_, wanted)| *wanted) {
            self.rules[rule].find(text, |start, end| spans.push(Span { start, end, rule }));
        }
        // Of two that overlap, all goes, by the name of the one that begins first.
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        spans.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
            }
            overlaps
        });
        spans
    }
}

impl Rule {
    fn standard(rule: &rules::Standard) -> Result<Self, regex::Error> {
        let regex = Regex::new(rule.pattern)?;
        let (check, companion) = (rule.check, rule.companion);
        Ok(Self { check, companion, always: false, ..Self::own(rule.name.to_owned(), regex) })
    }

    fn own(name: String, regex: Regex) -> Self {
        let has_group = regex.capture_names().flatten().any(|name| name == "secret");
        Self { name, regex, has_group, check: None, companion: None, always: true }
    }

    /// Whether there can be a match, by what follows the literal.
    fn is_plausible(&self, after: &[u8]) -> bool {
        let near = &after[..after.len().min(COMPANION_BYTES_MAX)];
        self.companion.is_none_or(|companion| memchr::memchr(companion, near).is_some())
    }

    /// Calls `take` with each secret's start and end.
    fn find(&self, text: &str, mut take: impl FnMut(usize, usize)) {
        let mut consider = |found: regex::Match<'_>| {
            let is_secret = self.check.is_none_or(|check| check(found.as_str()));
            if is_secret && !found.is_empty() && !in_mark(text, found.start(), found.end()) {
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

/// Whether this part of a text lies within a mark, which stays as it is.
fn in_mark(text: &str, start: usize, end: usize) -> bool {
    let window = text.floor_char_boundary(start.saturating_sub(MARK.len() + NAME_BYTES_MAX));
    let Some(mark) = text[window..end].rfind(MARK).map(|at| window + at) else { return false };
    let name = &text[mark + MARK.len()..];
    let length = name.bytes().take_while(|byte| is_name_byte(*byte)).count();
    let mark_end = mark + MARK.len() + length + 1;
    length <= NAME_BYTES_MAX && name[length..].starts_with(']') && mark <= start && end <= mark_end
}

fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

/// Where in a JSON text there can be secrets. Each source is read once, however often it is asked.
struct Suspicions<'r, 't> {
    redactor: &'r Redactor,
    json: &'t [u8],
    /// Where each source suspects something next: two searchers, and hidden text.
    next: [Option<usize>; 3],
}

impl Suspicions<'_, '_> {
    /// The first place from `at` on.
    fn from(&mut self, at: usize) -> Option<usize> {
        if self.redactor.tries_all {
            return Some(at);
        }
        let mut first = None;
        for source in 0..self.next.len() {
            if self.next[source].is_none_or(|next| next < at) {
                // Nothing more is as far away as can be.
                self.next[source] = Some(self.find(source, at).unwrap_or(usize::MAX));
            }
            first = [first, self.next[source]].into_iter().flatten().min();
        }
        first.filter(|first| *first < usize::MAX)
    }

    fn find(&self, source: usize, at: usize) -> Option<usize> {
        let Self { redactor, json, .. } = self;
        match &redactor.scan {
            _ if source == 2 => hidden_text(json, at),
            Some(searchers) => {
                let mut at = at;
                loop {
                    let span = aho_corasick::Span::from(at..json.len());
                    let found = searchers[source].find_in(json, span)?;
                    let rule = redactor.scanned[source][found.pattern().as_usize()];
                    if redactor.rules[rule].is_plausible(&json[found.end()..]) {
                        return Some(found.start());
                    }
                    at = found.end();
                }
            }
            None if source == 0 => {
                let input = aho_corasick::Input::new(json).span(at..json.len());
                redactor.literals.find(input).map(|found| found.start())
            }
            None => None,
        }
    }
}

/// Where, from `at` on, a JSON text has escapes for characters that need none, so that a literal can
/// stand in it unseen: `\/`, and `\u0020` to `\u007f`. An escaped backslash can be taken for the
/// beginning of one.
fn hidden_text(json: &[u8], at: usize) -> Option<usize> {
    let rest = json.get(at..)?;
    let slash = memchr::memmem::find(rest, b"\\/");
    let plain = memchr::memmem::find_iter(&rest[..slash.unwrap_or(rest.len())], b"\\u00")
        .find(|found| matches!(rest.get(found + 4), Some(b'2'..=b'7')));
    plain.or(slash).map(|found| at + found)
}

/// Where in the token the character begins that begins at `wanted` in its unescaped text. `raw` and
/// `unescaped` are where the last call ended, and say the same place.
fn raw_offset(token: &str, raw: &mut usize, unescaped: &mut usize, wanted: usize) -> usize {
    let bytes = token.as_bytes();
    while *unescaped < wanted {
        let plain = memchr::memchr(b'\\', &bytes[*raw..]).unwrap_or(bytes.len() - *raw);
        let plain = plain.min(wanted - *unescaped);
        *raw += plain;
        *unescaped += plain;
        if *unescaped < wanted {
            let (escape, character) = text::escape_len(bytes, *raw);
            *raw += escape;
            *unescaped += character;
        }
    }
    *raw
}
