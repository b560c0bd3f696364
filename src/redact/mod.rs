//! Redaction: replaces secrets in events before they are written to the journal. A secret becomes a mark with the
//! name of its rule, `[redacted:github-token]`. Pure, except that a patterns file is read once.
//!
//! Nearly all events have no secrets, so the common case must be fast: one pass searches for the literals
//! without which no rule can match. Only strings with a literal are unescaped and searched with the rules'
//! regular expressions. Only matches are replaced; all other bytes are kept.

mod candidates;
mod file;
mod mark;
mod redactions;
mod rule;
mod rules;
mod setting;

use std::borrow::Cow;

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, MatchKind};

use self::candidates::Candidates;
pub use self::redactions::Redactions;
use self::rule::{Rule, TimeSpent};
pub use self::setting::Redact;
use crate::json::text;

/// Maximum number of times a string is searched again after a replacement: the text beside a secret can be
/// a secret by itself once the mark is between them.
const ROUNDS_MAX: usize = 4;

/// Replaces secrets.
#[derive(Debug)]
pub struct Redactor {
    rules: Vec<Rule>,
    /// Find any literal, seven times as fast as `literals`; `None` if the processor lacks the instructions.
    scan: Option<[Searcher; 2]>,
    /// The rule of each literal of the searchers.
    scanned: [Vec<usize>; 2],
    /// Finds the literals of all rules.
    literals: AhoCorasick,
    /// The rule of each literal of `literals`.
    rule_of_literal: Vec<usize>,
    /// True if there are rules of a file, so that every string is searched.
    is_always_tried: bool,
}

/// A match of a rule.
#[derive(Clone, Copy, Debug)]
struct RuleMatch {
    start: usize,
    end: usize,
    rule: usize,
}

impl Redactor {
    /// Returns the redactor for the setting; `None` if it is off.
    ///
    /// # Errors
    /// If the patterns file is invalid. The message has its path and the line.
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
        // Sorted, so that the literals of a searcher have similar prefixes and false candidates are rare.
        // Two searchers, because each supports 64 literals.
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
        let is_always_tried = rules.iter().any(|rule| rule.is_own);
        Ok(Some(Self { rules, scan, scanned, literals, rule_of_literal, is_always_tried }))
    }

    /// Returns the names of the rules that replaced secrets, with the number of secrets. `unsearched` are strings
    /// that were replaced as a whole, because the patterns of the file are too slow for them.
    pub fn by_rule<'r>(
        &'r self,
        found: &'r Redactions,
    ) -> impl Iterator<Item = (&'r str, u64)> + 'r {
        let counts = self.rules.iter().map(|rule| rule.name.as_str()).zip(found.counts().to_vec());
        counts.chain([(mark::UNSEARCHED, found.unsearched)]).filter(|(_, count)| *count > 0)
    }

    /// Replaces secrets in the strings of a valid JSON text, also in names of members. The result is valid
    /// JSON; all bytes that are not part of a secret are kept.
    pub fn json<'t>(&self, json: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        let bytes = json.as_bytes();
        let mut candidates = Candidates::new(self, bytes);
        let Some(mut hit) = candidates.from(0) else { return Cow::Borrowed(json) };
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
            let Some(next) = candidates.from(at) else { break };
            hit = next;
        }
        if copied == 0 {
            return Cow::Borrowed(json);
        }
        out.push_str(&json[copied..]);
        Cow::Owned(out)
    }

    /// Replaces secrets in a text.
    pub fn plain<'t>(&self, text: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        let mut redacted = Cow::Borrowed(text);
        for _ in 0..ROUNDS_MAX {
            let Ok(spans) = self.spans(&redacted, found) else {
                return Cow::Owned(mark_unsearched(found));
            };
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

    /// Replaces secrets in a rejected event, which may not be valid JSON. Invalid JSON is searched as text.
    pub fn original<'t>(&self, sent: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        if serde_json::from_str::<serde::de::IgnoredAny>(sent).is_ok() {
            return self.json(sent, found);
        }
        // Escapes can hide a secret.
        let unescaped = text::with_plain_ascii(sent);
        let mut hidden = found.next();
        match self.plain(&unescaped, &mut hidden) {
            Cow::Owned(redacted) if matches!(unescaped, Cow::Owned(_)) => {
                found.add(&hidden);
                Cow::Owned(redacted)
            }
            _ => self.plain(sent, found),
        }
    }

    /// Replaces secrets in a JSON string token; `None` if it has none.
    fn string(&self, token: &str, found: &mut Redactions) -> Option<String> {
        let mut redacted: Option<String> = None;
        for _ in 0..ROUNDS_MAX {
            let token = redacted.as_deref().unwrap_or(token);
            let Ok(spans) = self.spans(&text::unescape(token), found) else {
                return Some(format!("\"{}\"", mark_unsearched(found)));
            };
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

    fn mark(&self, span: RuleMatch, found: &mut Redactions, out: &mut String) {
        found.count(span.rule);
        mark::write(&self.rules[span.rule].name, out);
    }

    /// Returns the matches of all rules in a text, in order and without overlaps.
    fn spans(&self, text: &str, found: &mut Redactions) -> Result<Vec<RuleMatch>, TimeSpent> {
        let mut wanted: Vec<bool> = self.rules.iter().map(|rule| rule.is_own).collect();
        for literal in self.literals.find_iter(text) {
            wanted[self.rule_of_literal[literal.pattern().as_usize()]] = true;
        }
        let mut spans = Vec::new();
        for (rule, _) in wanted.into_iter().enumerate().filter(|(_, wanted)| *wanted) {
            let take = |start, end| spans.push(RuleMatch { start, end, rule });
            self.rules[rule].find(text, &mut found.spent, take)?;
        }
        // Overlapping matches are replaced together, with the name of the first.
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        spans.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
            }
            overlaps
        });
        Ok(spans)
    }
}

/// Returns the mark of a text that was not searched because the time was spent: it may have secrets.
fn mark_unsearched(found: &mut Redactions) -> String {
    found.unsearched += 1;
    let mut text = String::new();
    mark::write(mark::UNSEARCHED, &mut text);
    text
}

/// Returns the offset in a string token of the character at offset `wanted` in its unescaped text. `raw` and
/// `unescaped` are the same position in both, where the last call ended.
fn raw_offset(token: &str, raw: &mut usize, unescaped: &mut usize, wanted: usize) -> usize {
    let bytes = token.as_bytes();
    while *unescaped < wanted {
        // Searched no further than needed: a search to the end for each match would take quadratic time.
        let missing = wanted - *unescaped;
        let plain = memchr::memchr(b'\\', &bytes[*raw..][..missing]).unwrap_or(missing);
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
