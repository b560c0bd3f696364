//! CSV as RFC 4180 has it: texts as they are, objects as JSON, null as nothing.

use std::borrow::Cow;

use crate::json::each_member;
use crate::json::text::unescape;

/// Appends a line with the names of the columns.
pub(super) fn header(columns: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(columns.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends an event.
pub(super) fn row(line: &[u8], columns: &[&str], out: &mut Vec<u8>) {
    let mut cells = vec![Cow::Borrowed(""); columns.len()];
    each_member(line, |name, value| {
        let Some(at) = columns.iter().position(|column| *column == name) else { return };
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
