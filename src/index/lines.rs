//! Lines of the file: what the index keeps of one, and how one is read back.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Deserialize;

use crate::decode::{Context, Format, decode, is_object};
use crate::event::{Event, Timestamp};
use crate::journal::Framing;

/// A line that is longer is no event, and is left out.
pub(super) const LINE_BYTES_MAX: usize = 256 << 20;

/// Most lines end within so many bytes.
const LINE_BYTES: usize = 2048;

/// A line so near to the one before it need not be announced: the system sees by itself that a file is read
/// from one end to the other, and then reads more at once than it is told line by line.
pub(super) const READ_TOGETHER_BYTES: u64 = 4096;

/// A line that is an event.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is the large one")]
pub(super) enum Line<'a> {
    /// As this server writes it.
    Own(Event<'a>),
    /// As another program writes it: in the form of a request. This is what we would have stored.
    Foreign(Vec<u8>),
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    /// Reads a line; `None` if it is no event. `read_at` is the time of a foreign event that has none.
    pub(super) fn read(line: &'a [u8], read_at: Timestamp) -> Option<Self> {
        if let Some(event) = own(line) {
            return Some(Self::Own(event));
        }
        let id: Id<'_> = serde_json::from_slice(line).ok()?;
        // Made from the line itself, so that an index that is built again has the same.
        let id = id
            .event_id
            .map_or_else(|| format!("{:032x}", xxhash_rust::xxh3::xxh3_128(line)), Cow::into_owned);
        foreign(line, &id, read_at).map(Self::Foreign)
    }

    /// The event's line in our form, if it is not as it stands in the file.
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

/// Tells the system that the line at an offset will be read soon, so that it reads many at once.
pub(super) fn announce(file: &File, offset: u64) {
    let bytes = std::num::NonZero::new(LINE_BYTES as u64);
    // Where it cannot be, the line is read all the same.
    let _ = rustix::fs::fadvise(file, offset, bytes, rustix::fs::Advice::WillNeed);
}

/// What the index reads back: the line at an offset, in the form in which this server writes it. One of another
/// program gets what it lacks from the index.
pub(super) fn read_back(
    file: &File,
    offset: u64,
    event_id: &str,
    timestamp: Timestamp,
) -> io::Result<Option<Vec<u8>>> {
    let Some(line) = read_line(file, offset)? else { return Ok(None) };
    if own(&line).is_none() {
        return Ok(foreign(&line, event_id, timestamp));
    }
    // Someone may have edited it in its place; an answer must be JSON all the same.
    Ok(is_object(&line).then_some(line))
}

/// The line that begins at an offset, without its line feed; `None` if none begins there, or none ends.
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

/// A request's event in the form of a stored line; `None` if it is not valid. Where it has no time
/// of its own, and as the time received, it gets `timestamp`.
fn foreign(line: &[u8], event_id: &str, timestamp: Timestamp) -> Option<Vec<u8>> {
    // Of a name that stands twice, the last counts.
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
