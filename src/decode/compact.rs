//! Compacts a JSON value in one pass: removes white space between tokens, limits the nesting, and
//! collects the promoted columns of an object.

use std::borrow::Cow;

use crate::event::{PromotedColumn, PromotedColumns};
use crate::json::text;

/// The value is nested deeper than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

/// Returns the value without white space between tokens (borrowed if there was none), and the promoted
/// columns among the members of an object.
///
/// `raw` must be one syntactically valid JSON value, as `serde_json`'s `RawValue` guarantees.
///
/// # Errors
/// [`TooDeep`].
pub(super) fn compact(
    raw: &str,
    depth_max: usize,
) -> Result<(Cow<'_, str>, PromotedColumns<'_>), TooDeep> {
    let bytes = raw.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut top_level = TopLevel::default();
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at = text::string_end(bytes, at);
                if depth == 1 {
                    top_level.string(&raw[start..at]);
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(&raw[copied..at]);
                at +=
                    count_while(&bytes[at..], |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
                copied = at;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Err(TooDeep);
                }
                top_level.open(depth, bytes[at]);
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' => {
                if depth == 1 {
                    top_level.comma();
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                at += count_while(&bytes[at..], |byte| {
                    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                });
                if depth == 1 {
                    top_level.number(&raw[start..at]);
                }
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Ok((Cow::Borrowed(raw), top_level.promoted));
    }
    out.push_str(&raw[copied..]);
    Ok((Cow::Owned(out), top_level.promoted))
}

fn count_while(bytes: &[u8], is_included: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_included(**byte)).count()
}

/// The members of the outermost object.
#[derive(Default)]
struct TopLevel<'a> {
    is_object: bool,
    /// Whether the next string is the name of a member.
    is_name_next: bool,
    /// The column for the next value.
    column: Option<PromotedColumn>,
    promoted: PromotedColumns<'a>,
}

impl<'a> TopLevel<'a> {
    fn open(&mut self, depth: usize, bracket: u8) {
        if depth == 1 {
            self.is_object = bracket == b'{';
            self.is_name_next = self.is_object;
        } else {
            self.column = None;
        }
    }

    fn comma(&mut self) {
        self.is_name_next = self.is_object;
        self.column = None;
    }

    fn string(&mut self, token: &'a str) {
        if self.is_name_next {
            self.column = PromotedColumn::from_token(token);
            self.is_name_next = false;
            // The last of two members with one name counts, of any type.
            if let Some(column) = self.column {
                self.promoted[column] = None;
            }
        } else if let Some(column) = self.column.take() {
            self.promoted.set_json(column, token);
        }
    }

    fn number(&mut self, token: &'a str) {
        if let Some(column) = self.column.take() {
            self.promoted.set_json(column, token);
        }
    }
}
