//! Text from outside, made safe to show: on a terminal and in a log, control characters could change colors and
//! positions or forge lines, and invisible characters could reorder or hide text (Unicode Technical Report 36).

use std::borrow::Cow;
use std::fmt::Write;

/// True if a character is not shown as itself: controls, separators of lines, and the characters that the Unicode
/// property `Default_Ignorable_Code_Point` has, but for the variation selectors of emoji.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns the text on one line, with escapes such as `\n` and `\u{202e}` for hidden characters.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    one_line_but(text, |_| false)
}

/// Like [`one_line`], but keeps the hidden characters for which `keeps` returns true.
pub(crate) fn one_line_but(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |character| is_hidden(character) && !keeps(character);
    let Some(first) = text.find(is_escaped) else { return Cow::Borrowed(text) };
    let mut shown = text[..first].to_owned();
    for character in text[first..].chars() {
        if is_escaped(character) {
            // Writing to a string cannot fail. `escape_debug` would keep some of them.
            let _ = match character {
                '\n' | '\r' | '\t' => write!(shown, "{}", character.escape_default()),
                _ => write!(shown, "{}", character.escape_unicode()),
            };
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Cuts a text after a number of bytes, and says how many are missing.
pub(crate) fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(bytes_max)];
    Cow::Owned(format!("{kept}... ({} more bytes)", text.len() - kept.len()))
}
