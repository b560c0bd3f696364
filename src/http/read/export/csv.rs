//! CSV (RFC 4180). Strings are written as text, numbers and objects as JSON, null as an empty cell, and an
//! empty string as an empty cell in quotes. NUL, which many readers take for the end of the text, becomes
//! U+FFFD.

use std::borrow::Cow;

use crate::event::Member;
use crate::json::each_member;
use crate::json::text::unescape;

/// Appends the header row.
pub(super) fn header(columns: &[&Member], out: &mut Vec<u8>) {
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(column.name.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// First characters of a cell that spreadsheets take for a formula.
const FORMULA_STARTS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// The form of cells with text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellForm {
    /// The text itself.
    Exact,
    /// With an apostrophe before a text that spreadsheets take for a formula.
    Spreadsheet,
}

/// Appends the row of a stored line.
pub(super) fn row(line: &[u8], columns: &[&Member], form: CellForm, out: &mut Vec<u8>) {
    let mut cells: Vec<Option<Cow<'_, str>>> = vec![None; columns.len()];
    each_member(line, |name, value| {
        let Some(at) = columns.iter().position(|column| column.name == name) else { return };
        cells[at] = match value.as_bytes().first() {
            Some(b'"') => Some(text_cell(unescape(value), form)),
            Some(b'n') | None => None,
            Some(_) => Some(Cow::Borrowed(value)),
        };
    });
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let Some(cell) = cell else { continue };
        if cell.is_empty() || cell.contains(['"', ',', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn text_cell(text: Cow<'_, str>, form: CellForm) -> Cow<'_, str> {
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text };
    match form {
        CellForm::Spreadsheet if text.starts_with(FORMULA_STARTS) => format!("'{text}").into(),
        _ => text,
    }
}
