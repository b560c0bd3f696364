//! CSV (RFC 4180). Strings are written as text, numbers and objects as JSON, null as an empty cell.

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

/// Appends the row of a stored line.
pub(super) fn row(line: &[u8], columns: &[&Member], out: &mut Vec<u8>) {
    let mut cells = vec![Cow::Borrowed(""); columns.len()];
    each_member(line, |name, value| {
        let Some(at) = columns.iter().position(|column| column.name == name) else { return };
        cells[at] = match value.as_bytes().first() {
            Some(b'"') => unescape(value),
            Some(b'n') | None => Cow::Borrowed(""),
            Some(_) => Cow::Borrowed(value),
        };
    });
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if cell.contains(['"', ',', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}
