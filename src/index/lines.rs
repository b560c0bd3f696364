//! Lines of a JSON Lines file: reading events for the index, and reading a line back for a query.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::decode::{Context, Format, decode, is_object};
use crate::event::{Event, Timestamp};
use crate::journal::Framing;
use crate::json::each_member;
use crate::json::text::{replace_lone_surrogates, skip_byte_order_marks, unescape};

/// Maximum length of an event's line; longer lines are ignored.
pub(super) const LINE_BYTES_MAX: usize = 256 << 20;

/// Initial read size, which is enough for most lines.
const LINE_BYTES: usize = 2048;

/// Distance from the previous line below which a line is not prefetched: the kernel detects sequential
/// reads by itself, and reads ahead more than it would line by line.
pub(super) const READ_TOGETHER_BYTES: u64 = 4096;

/// A line that is an event.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is the large one")]
pub(super) enum ParsedLine<'a> {
    /// A line in the stored form, as this server writes it.
    Own(Event<'a>),
    /// A line of another program, in the form of a request; converted to the stored form.
    Foreign(Vec<u8>),
}

impl<'a> ParsedLine<'a> {
    /// Parses a line; `None` if it is not an event. `read_at` is the timestamp of a foreign event that
    /// has none.
    pub(super) fn read(line: &'a [u8], read_at: Timestamp) -> Option<Self> {
        let line = skip_byte_order_marks(line);
        if let Some(event) = own(line) {
            return Some(Self::Own(event));
        }
        let mut sent = None;
        if !each_member(line, |name, raw| {
            if name == "event_id" {
                sent = Some(raw).filter(|raw| *raw != "null");
            }
        }) {
            return None;
        }
        let id = match sent {
            Some(raw) if raw.starts_with('"') => unescape(raw),
            Some(_) => return None,
            // Derived from the line, so that a rebuilt index has the same id.
            None => format!("{:032x}", xxhash_rust::xxh3::xxh3_128(line)).into(),
        };
        foreign(line, &id, read_at).map(Self::Foreign)
    }

    /// The line in the stored form, if it differs from the line in the file.
    pub(super) fn foreign_line(&self) -> Option<&[u8]> {
        match self {
            Self::Own(_) => None,
            Self::Foreign(line) => Some(line),
        }
    }
}

fn own(line: &[u8]) -> Option<Event<'_>> {
    let is_plain = line.first() == Some(&b'{')
        && line.last() == Some(&b'}')
        && memchr::memchr(b'\r', line).is_none();
    if is_plain { Event::from_line(line).ok() } else { None }
}

/// Asks the kernel to read the line at an offset in the background.
pub(super) fn prefetch(file: &File, offset: u64) {
    let bytes = std::num::NonZero::new(LINE_BYTES as u64);
    // A hint only: on an error the line is read later.
    let _ = rustix::fs::fadvise(file, offset, bytes, rustix::fs::Advice::WillNeed);
}

/// Reads the line at an offset in the stored form, with U+FFFD for lone surrogates; `None` if it is not an
/// event any more. A foreign line gets the id and the timestamp that it lacks from the index.
pub(super) fn read_back(
    file: &File,
    offset: u64,
    event_id: &str,
    timestamp: Timestamp,
) -> io::Result<Option<Vec<u8>>> {
    let Some(mut line) = read_line(file, offset)? else { return Ok(None) };
    let marks = line.len() - skip_byte_order_marks(&line).len();
    line.drain(..marks);
    replace_lone_surrogates(&mut line);
    if own(&line).is_none() {
        return Ok(foreign(&line, event_id, timestamp));
    }
    // Another program may have edited the line in place; a response must be valid JSON.
    Ok(is_object(&line).then_some(line))
}

/// Reads the line that starts at an offset, without its line feed; `None` if no whole line starts there.
fn read_line(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let before = usize::from(offset > 0);
    let (mut line, mut read) = (vec![0; LINE_BYTES], 0);
    while line.len() <= LINE_BYTES_MAX {
        let new = file.read_at(&mut line[read..], offset - before as u64 + read as u64)?;
        if new == 0 || (before == 1 && line[0] != b'\n') {
            break;
        }
        let start = read.max(before);
        read += new;
        if let Some(end) = line.get(start..read).and_then(|new| memchr::memchr(b'\n', new)) {
            line.truncate(start + end);
            line.drain(..before);
            return Ok(Some(line));
        }
        if read == line.len() {
            line.resize(2 * read, 0);
        }
    }
    Ok(None)
}

/// Converts a line in the form of a request to the stored form; `None` if it is not a valid event.
/// `timestamp` is used as the time received, and as the event's time if it has none.
fn foreign(line: &[u8], event_id: &str, timestamp: Timestamp) -> Option<Vec<u8>> {
    // Appended at the end, because the last of two equal member names counts.
    let mut event = line.trim_ascii_end().strip_suffix(b"}")?.to_vec();
    if event.trim_ascii() != b"{" {
        event.push(b',');
    }
    event.extend_from_slice(b"\"event_id\":");
    crate::json::text::write_string(event_id, &mut event);
    event.push(b'}');
    let context = Context {
        received_at: timestamp,
        framing: Framing::Plain,
        batch_events_max: 1,
        depth_max: usize::MAX,
        key_name: None,
        redactor: None,
    };
    let decoded = decode(Format::Object, &event, &context).ok()?;
    let line = decoded.batch.records().next()?.1;
    Some(line.strip_suffix(b"\n").unwrap_or(line).to_vec())
}
