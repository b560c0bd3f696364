//! Repair of the end of the JSON Lines file at start: a crash may have left a partial line, and another
//! program may have appended to it since.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::de::IgnoredAny;

use crate::journal::file::{AppendFile, WriteError, with_suffix};
use crate::json::text::skip_byte_order_marks;

/// The start of a line that this server writes.
const LINE_START: &[u8] = b"{\"event_id\":";

/// A member that the lines of other programs do not need.
const OWN_MEMBER: &[u8] = b",\"received_at\":";

/// Bytes at the end of the file that are searched for a partial line, first few, then many: the newest line
/// of this server is usually the last one.
const SEARCH_BYTES: [u64; 2] = [64 << 10, 16 << 20];

/// Maximum bytes that are parsed to find the end of one partial line.
const PARSE_BYTES_MAX: usize = 64 << 20;

/// Separates a partial line from the line that another program appended to it, and repairs a last line
/// without a line feed.
pub(super) fn repair(file: &mut AppendFile, path: &Path) -> io::Result<()> {
    for bytes in SEARCH_BYTES {
        if separate_joined_lines(file, path, bytes)? {
            break;
        }
    }
    repair_tail(file, path)
}

/// Completes a last line that lacks only its line feed, as some editors leave it. Moves any other torn
/// tail to a file with the suffix `.torn`.
fn repair_tail(file: &mut AppendFile, path: &Path) -> io::Result<()> {
    let (start, tail) = file.torn_tail()?;
    if tail.is_empty() {
        return Ok(());
    }
    if is_json(skip_byte_order_marks(&tail)) {
        return append(file, b"\n");
    }
    move_aside(path, &tail)?;
    let end = start + tail.len() as u64;
    if file.handle().metadata()?.len() == end {
        file.handle().set_len(start)?;
        file.handle().sync_all()
    } else {
        // Another program has appended since.
        file.blank(start..end)
    }
}

/// Searches the last bytes of the file, from its end back to the newest whole line of this server. Returns
/// false if more has to be searched.
fn separate_joined_lines(file: &mut AppendFile, path: &Path, bytes: u64) -> io::Result<bool> {
    let len = file.handle().metadata()?.len();
    let start = len.saturating_sub(bytes);
    let mut text = vec![0; (len - start) as usize];
    file.handle().read_exact_at(&mut text, start)?;
    let mut end = text.len();
    loop {
        let feed = memchr::memrchr(b'\n', &text[..end]);
        if feed.is_none() && start > 0 {
            return Ok(false);
        }
        let line_start = feed.map_or(0, |feed| feed + 1);
        let line = text[line_start..end].trim_ascii_end();
        if is_own(line) {
            return Ok(true);
        }
        if let Some(partial) = partial_line(line) {
            let at = start + line_start as u64;
            separate(file, path, &line[..partial], at..at + partial as u64)?;
        }
        let Some(feed) = feed else { return Ok(true) };
        end = feed;
    }
}

/// Overwrites a partial line, so that only the line of the other program remains. The file keeps its
/// length, because other programs may append at any time.
fn separate(
    file: &mut AppendFile,
    path: &Path,
    partial: &[u8],
    range: Range<u64>,
) -> io::Result<()> {
    move_aside(path, partial)?;
    file.blank(range)?;
    if is_json(partial) {
        // Only its line feed is missing.
        let (_, tail) = file.torn_tail()?;
        let before: &[u8] = if tail.is_empty() { b"" } else { b"\n" };
        append(file, &[before, partial, b"\n"].concat())?;
    }
    Ok(())
}

/// Copies a partial line to the file with the suffix `.torn`.
fn move_aside(path: &Path, partial: &[u8]) -> io::Result<()> {
    let aside = with_suffix(path, ".torn");
    append(&mut AppendFile::open(&aside)?, &[partial, b"\n"].concat())?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), bytes = partial.len(),
        "a crash left a partial last line, which was never acknowledged; moved aside"
    );
    Ok(())
}

fn append(file: &mut AppendFile, bytes: &[u8]) -> io::Result<()> {
    let appended = file.append(bytes).map_err(|error| match error {
        WriteError::Undone(error) | WriteError::Fatal(error) => error,
        WriteError::Full(_) => io::ErrorKind::StorageFull.into(),
    });
    appended.map(drop)
}

/// Returns true if the line is whole and in the form of this server.
fn is_own(line: &[u8]) -> bool {
    line.starts_with(LINE_START)
        && memchr::memmem::find(line, OWN_MEMBER).is_some()
        && is_json(line)
}

/// Returns the length of the partial line of this server at the start of a line, if a whole JSON object
/// follows it.
fn partial_line(line: &[u8]) -> Option<usize> {
    if line.first() != Some(&b'{') || is_json(line) {
        return None;
    }
    let mut parsed_bytes = 0;
    let mut at = 1;
    while parsed_bytes < PARSE_BYTES_MAX {
        at += memchr::memchr(b'{', &line[at..])?;
        let partial = &line[..at];
        if !partial.starts_with(LINE_START) && !LINE_START.starts_with(partial) {
            return None;
        }
        match serde_json::from_slice::<IgnoredAny>(&line[at..]) {
            Ok(_) => return Some(at),
            Err(error) => parsed_bytes += error.column(),
        }
        at += 1;
    }
    None
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(skip_byte_order_marks(text)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_line_ends_where_the_line_of_another_program_begins() {
        let own = br#"{"event_id":"1","event_type":"t","data":{"a":{"b":"{"}},"received_at":""}"#;
        let other = br#"{"event_type": "t", "session_id": "s", "data": {"c": {}}}"#;
        for cut in 1..own.len() {
            let joined = [&own[..cut], other].concat();
            assert_eq!(partial_line(&joined), Some(cut), "{}", String::from_utf8_lossy(&joined));
        }
        assert_eq!(partial_line(&[&own[..], other].concat()), Some(own.len()));
        for line in [&own[..], other, b"", b"{", b"text {}", b"{\"other\": {}"] {
            assert_eq!(partial_line(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
