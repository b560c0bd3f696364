//! JSON strings.

use std::borrow::Cow;

/// Removes all byte order marks at the start of a text: a shell may add one to a text that has one.
pub fn skip_byte_order_marks(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b"\xEF\xBB\xBF") {
        text = rest;
    }
    text
}

/// Returns the text of a JSON string token, which includes its quotes. A lone surrogate, which is not valid
/// Unicode, becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut replaced = raw.to_owned().into_bytes();
    replace_unicode_escapes(&mut replaced, |escape| escape == Escape::LoneSurrogate);
    Cow::Owned(serde_json::from_slice(&replaced).unwrap_or_else(|_| inner.to_owned()))
}

/// Returns the end of the string token that starts at `start` in valid JSON.
pub fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => match memchr::memchr2(b'"', b'\\', &json[at..]) {
                Some(next) => at += next,
                None => break,
            },
        }
    }
    json.len()
}

/// Returns a text, which need not be valid JSON, with the escapes of visible ASCII characters replaced: those that
/// need no escape.
pub(crate) fn with_plain_ascii(json: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', json.as_bytes().get(at..).unwrap_or_default()) {
        at += found;
        let (length, character) = match (json.as_bytes().get(at + 1), unit(json.as_bytes(), at)) {
            (Some(b'/'), _) => (2, '/'),
            (_, Some(unit @ 0x20..=0x7e)) => (6, char::from(unit as u8)),
            // Also an escaped backslash.
            _ => {
                at += 2;
                continue;
            }
        };
        plain.push_str(&json[copied..at]);
        plain.push(character);
        at += length;
        copied = at;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    plain.push_str(&json[copied..]);
    Cow::Owned(plain)
}

/// A `\uXXXX` escape that PostgreSQL cannot store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// `\u0000`.
    Nul,
    /// One half of a UTF-16 surrogate pair without the other.
    LoneSurrogate,
}

/// Replaces the escapes for which `replace` returns true with `\ufffd`. `json` must be valid JSON, and stays
/// valid and of the same length.
pub fn replace_unicode_escapes(json: &mut [u8], replace: impl Fn(Escape) -> bool) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', json.get(at..).unwrap_or_default()) {
        at += found;
        let Some(unit) = unit(json, at) else {
            at += 2;
            continue;
        };
        let low_follows = || matches!(self::unit(json, at + 6), Some(0xDC00..=0xDFFF));
        let escape = match unit {
            0 => Some(Escape::Nul),
            0xD800..=0xDBFF if low_follows() => {
                at += 12;
                continue;
            }
            0xD800..=0xDFFF => Some(Escape::LoneSurrogate),
            _ => None,
        };
        if escape.is_some_and(&replace) {
            json[at + 2..at + 6].copy_from_slice(b"fffd");
        }
        at += 6;
    }
}

/// Replaces lone surrogates, which many parsers refuse, with U+FFFD. `json` must be valid JSON, and stays
/// valid and of the same length.
pub fn replace_lone_surrogates(json: &mut [u8]) {
    if has_surrogates(json) {
        replace_unicode_escapes(json, |escape| escape == Escape::LoneSurrogate);
    }
}

/// Returns true if a JSON text may have escapes of surrogates.
pub fn has_surrogates(json: &[u8]) -> bool {
    let has = |escape: &[u8]| memchr::memmem::find(json, escape).is_some();
    has(b"\\ud") || has(b"\\uD")
}

/// Returns valid JSON with only the escapes that strings need, as PostgreSQL writes it.
pub fn with_minimal_escapes(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    if memchr::memchr(b'\\', bytes).is_none() {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        let (len, character) = match unit(bytes, at) {
            None if bytes.get(at + 1) == Some(&b'/') => (2, '/'),
            None => {
                at += 2;
                continue;
            }
            Some(high @ 0xD800..=0xDBFF) => match unit(bytes, at + 6) {
                Some(low @ 0xDC00..=0xDFFF) => {
                    let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    (12, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
                }
                _ => (6, char::REPLACEMENT_CHARACTER),
            },
            Some(unit) => (6, char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        };
        out.push_str(&json[copied..at]);
        push_escaped(character, &json[at..at + len], &mut out);
        at += len;
        copied = at;
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// Appends a character of a string, which was escaped in some form.
fn push_escaped(character: char, escape: &str, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\0'..='\u{1f}' => out.push_str(&escape.to_ascii_lowercase()),
        character => out.push(character),
    }
}

/// Returns the length of the escape at `at`, and the length of its character in UTF-8. The character of a
/// lone surrogate is U+FFFD, as in [`unescape`].
pub fn escape_len(json: &[u8], at: usize) -> (usize, usize) {
    match unit(json, at) {
        None => (2, 1),
        Some(0xD800..=0xDBFF) if matches!(unit(json, at + 6), Some(0xDC00..=0xDFFF)) => (12, 4),
        Some(unit) => (6, char::from_u32(unit).map_or(3, char::len_utf8)),
    }
}

/// Returns the UTF-16 code unit of the `\uXXXX` escape at `at`, if there is one.
fn unit(json: &[u8], at: usize) -> Option<u32> {
    let escape = json.get(at..at + 6)?;
    let hex = escape.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// Returns the type of a JSON value, with its article, for error messages.
pub fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Appends a text as a JSON string token.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    // Nearly all IDs and names need no escapes. A test of every byte without a branch is then faster than
    // a search for the first special byte.
    let plain = !bytes.iter().fold(false, |found, &byte| found | special(byte));
    for (at, &byte) in bytes.iter().enumerate().filter(|_| !plain) {
        if !special(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Returns a text as a JSON string token.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    // Escapes are ASCII, so this is valid UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimal_escapes_are_those_that_strings_need() {
        for (json, minimal) in [
            (r#""plain""#, r#""plain""#),
            (r#""\u00e9\u0041\/""#, "\"\u{e9}A/\""),
            (r#""\ud83d\ude00 \ud83d \udE00""#, "\"\u{1f600} \u{fffd} \u{fffd}\""),
            (r#""\u0022\u005C\\u0041\"""#, r#""\"\\\\u0041\"""#),
            (r#""\u000A\u0008\u000c\u001F\n""#, r#""\n\b\f\u001f\n""#),
        ] {
            assert_eq!(with_minimal_escapes(json), minimal);
        }
    }
}
