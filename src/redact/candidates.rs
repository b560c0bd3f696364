//! The places in a JSON text where a secret can be.

use super::Redactor;

/// Finds the places where a secret can be. Each source is read once, whatever the number of calls.
pub(super) struct Candidates<'r, 't> {
    redactor: &'r Redactor,
    json: &'t [u8],
    /// The next place of each source: two searchers, and two kinds of escapes.
    next: [Option<usize>; 4],
}

impl<'r, 't> Candidates<'r, 't> {
    pub(super) fn new(redactor: &'r Redactor, json: &'t [u8]) -> Self {
        Self { redactor, json, next: [None; 4] }
    }

    /// Returns the first place from `at` on.
    pub(super) fn from(&mut self, at: usize) -> Option<usize> {
        if self.redactor.is_always_tried {
            return Some(at);
        }
        let mut first = None;
        for source in 0..self.next.len() {
            if self.next[source].is_none_or(|next| next < at) {
                // A source without another place has one at infinity.
                self.next[source] = Some(self.find(source, at).unwrap_or(usize::MAX));
            }
            first = [first, self.next[source]].into_iter().flatten().min();
        }
        first.filter(|first| *first < usize::MAX)
    }

    fn find(&self, source: usize, at: usize) -> Option<usize> {
        let Self { redactor, json, .. } = self;
        match &redactor.scan {
            _ if source == 2 => memchr::memmem::find(&json[at..], b"\\/").map(|found| at + found),
            _ if source == 3 => escaped_ascii(json, at),
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

/// Returns the first escape `\u0020` to `\u007f` from `at` on. Like `\/`, it is of a character that needs no
/// escape, and can hide a literal from the searchers. An escaped backslash can be taken for the start of one.
fn escaped_ascii(json: &[u8], at: usize) -> Option<usize> {
    let rest = json.get(at..)?;
    let found = memchr::memmem::find_iter(rest, b"\\u00")
        .find(|found| matches!(rest.get(found + 4), Some(b'2'..=b'7')));
    found.map(|found| at + found)
}
