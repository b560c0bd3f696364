//! The mark that replaces a secret: `[redacted:github-token]`.

const START: &str = "[redacted:";

/// The name in marks of strings that were not searched. No rule has it.
pub(super) const UNSEARCHED: &str = "unsearched";

/// Maximum length of a rule's name in bytes.
pub(super) const NAME_BYTES_MAX: usize = 50;

pub(super) fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

/// Appends the mark of a rule.
pub(super) fn write(rule: &str, out: &mut String) {
    out.push_str(START);
    out.push_str(rule);
    out.push(']');
}

/// Whether a range of a text is within a mark, which must not be replaced again.
pub(super) fn contains(text: &str, start: usize, end: usize) -> bool {
    let window = text.floor_char_boundary(start.saturating_sub(START.len() + NAME_BYTES_MAX));
    let Some(mark) = text[window..end].rfind(START).map(|at| window + at) else { return false };
    let name = &text[mark + START.len()..];
    let length =
        name.bytes().take(NAME_BYTES_MAX + 1).take_while(|byte| is_name_byte(*byte)).count();
    let mark_end = mark + START.len() + length + 1;
    length <= NAME_BYTES_MAX && name[length..].starts_with(']') && mark <= start && end <= mark_end
}
