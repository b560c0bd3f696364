//! The fast path for JSON: validates it and finds the members of events in one pass.
//!
//! What the scanner does not accept, for any reason, is parsed by `serde_json`, which also gives the error
//! messages. So the scanner may fail on valid JSON, and must never accept invalid JSON.

use super::fields::{Field, Fields, Scanned};
use crate::event::PromotedColumn;
use crate::json::text;

/// The objects and arrays around a value, up to 128 levels.
#[derive(Default)]
struct Nesting {
    /// A bit for each level, the innermost last: 1 for objects.
    objects: u128,
    depth: u32,
    deepest: u32,
}

impl Nesting {
    /// Returns false if there are too many levels.
    fn enter(&mut self, is_object: bool) -> bool {
        if self.depth == u128::BITS {
            return false;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        true
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// A position in a JSON text. Each method skips white space and reads one token or value; `None` if the
/// text has something else, or must be parsed by `serde_json`.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether white space was skipped since this was last reset.
    spaced: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, spaced: false }
    }

    /// An object. Returns its members as the fields of an event, and its text.
    pub(super) fn fields(&mut self) -> Option<(Fields<'a>, &'a str)> {
        let mut fields = Fields::default();
        self.take(b'{')?;
        let start = self.at - 1;
        if self.take(b'}').is_none() {
            loop {
                let key = self.string()?;
                self.take(b':')?;
                // A name with escapes never matches without unescaping.
                let name = &key[1..key.len() - 1];
                match Field::of(name).or_else(|| Field::of(&text::unescape(key))) {
                    Some(Field::Data) => {
                        let mut scanned = Scanned::default();
                        let value = self.value(Some(&mut scanned))?;
                        fields.set_data(value, scanned);
                    }
                    Some(field) => fields.set(field, self.value(None)?),
                    None => fields.keep_extra(key, self.value(None)?),
                }
                if self.take(b',').is_none() {
                    break;
                }
            }
            self.take(b'}')?;
        }
        Some((fields, &self.text[start..self.at]))
    }

    /// The given byte, which must not be white space.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The end of the text.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Returns the next byte that is not white space, without reading it.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
            self.spaced = true;
        }
        bytes.get(self.at).copied()
    }

    /// A value. Notes in `scanned` what was found on the way.
    fn value(&mut self, mut scanned: Option<&mut Scanned<'a>>) -> Option<&'a str> {
        let mut next = self.peek()?;
        self.spaced = false;
        let start = self.at;
        let mut nesting = Nesting::default();
        // The column for the next value.
        let mut column: Option<PromotedColumn> = None;
        loop {
            let token = self.at;
            let is_complete = if let b'{' | b'[' = next {
                // The last of two members with one name counts.
                if let (Some(column), Some(scanned)) = (column.take(), &mut scanned) {
                    scanned.promoted[column] = None;
                }
                !self.open(next == b'{', &mut nesting)?
            } else {
                self.scalar(next)?;
                if let (Some(column), Some(scanned)) = (column.take(), &mut scanned) {
                    scanned.promoted.set_json(column, &self.text[token..self.at]);
                }
                true
            };
            if is_complete && !self.has_next(&mut nesting)? {
                break;
            }
            if nesting.is_in_object() {
                let name = self.string()?;
                self.take(b':')?;
                if nesting.depth == 1 && scanned.is_some() {
                    column = PromotedColumn::from_token(name);
                }
            }
            next = self.peek()?;
        }
        if let Some(scanned) = scanned {
            (scanned.is_compact, scanned.depth) = (!self.spaced, nesting.deepest as usize);
        }
        Some(&self.text[start..self.at])
    }

    /// The start of an object or array. Returns false if it is empty; its end is read then, too.
    fn open(&mut self, is_object: bool, nesting: &mut Nesting) -> Option<bool> {
        self.at += 1;
        nesting.deepest = nesting.deepest.max(nesting.depth + 1);
        if self.take(if is_object { b'}' } else { b']' }).is_some() {
            return Some(false);
        }
        nesting.enter(is_object).then_some(true)
    }

    /// What follows a value: the ends of the objects and arrays that end with it, then the comma before the
    /// next value. Returns false after the end of the outermost value.
    fn has_next(&mut self, nesting: &mut Nesting) -> Option<bool> {
        while nesting.depth > 0 {
            match (self.peek()?, nesting.is_in_object()) {
                (b',', _) => {
                    self.at += 1;
                    return Some(true);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    nesting.leave();
                }
                _ => return None,
            }
        }
        Some(false)
    }

    /// A string, number or literal that begins with `first`.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => None,
        }
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        let found = self.text.as_bytes()[self.at..].starts_with(literal.as_bytes());
        found.then(|| self.at += literal.len())
    }

    /// A number: RFC 8259, section 6.
    fn number(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let digits = |at: usize| {
            let count = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            (count > 0).then_some(at + count)
        };
        let mut at = self.at + usize::from(bytes[self.at] == b'-');
        at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = digits(at + 1 + sign)?;
        }
        self.at = at;
        Some(())
    }

    /// A string with its quotes: RFC 8259, section 7.
    fn string(&mut self) -> Option<&'a str> {
        if self.peek()? != b'"' {
            return None;
        }
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start + 1;
        loop {
            at += plain_len(&bytes[at..]);
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => match bytes.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' => {
                        let hex = bytes.get(at + 2..at + 6)?;
                        if !hex.iter().all(u8::is_ascii_hexdigit) {
                            return None;
                        }
                        at += 6;
                    }
                    _ => return None,
                },
                _control => return None,
            }
        }
        self.at = at + 1;
        Some(&self.text[start..self.at])
    }
}

/// Returns the number of bytes before the first quote, backslash or control character.
///
/// Tests blocks of 32 bytes without a branch, which compilers vectorize. The block with a special byte is
/// tested in words of 8 bytes, with the tests for a zero byte and for a byte less than `n` from Sean Eron
/// Anderson's "Bit Twiddling Hacks". A borrow can mark wrong bytes only after a correct one.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let is_plain = |wide: &&[u8; 32]| !wide.iter().fold(false, |any, &byte| any | special(byte));
    let plain = bytes.as_chunks::<32>().0.iter().take_while(is_plain).count() * 32;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes[plain..].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = is_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let marked = (quote | backslash | control) & HIGHS;
        if marked != 0 {
            return plain + at * 8 + (marked.trailing_zeros() / 8) as usize;
        }
    }
    let found = rest.iter().position(|&byte| special(byte));
    bytes.len() - rest.len() + found.unwrap_or(rest.len())
}
