//! Lines of the file: what the index keeps of one, and how one is read back.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Deserialize;

use crate::decode::{Context, Format, decode, is_object};
use crate::event::{Event, Timestamp};
use crate::journal::Framing;

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
        let is_plain = line.first() == Some(&b'{')
            && line.last() == Some(&b'}')
            && memchr::memchr(b'\r', line).is_none();
        if is_plain && let Ok(event) = Event::from_line(line) {
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

/// What the index reads back: the line in the form in which this server writes it.
pub(super) fn read_back(
    file: &File,
    offset: u64,
    bytes: usize,
    foreign_as: Option<(&str, Timestamp)>,
) -> io::Result<Option<Vec<u8>>> {
    // With its line feed, and the one before it: if they are where they should be, so is the line.
    let before = usize::from(offset > 0);
    let mut line = vec![0; before + bytes + 1];
    match file.read_exact_at(&mut line, offset - before as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if line.pop() != Some(b'\n') || (before == 1 && line.remove(0) != b'\n') {
        return Ok(None);
    }
    match foreign_as {
        // Someone may have edited it in its place; an answer must be JSON all the same.
        None => Ok(is_object(&line).then_some(line)),
        Some((event_id, timestamp)) => Ok(foreign(&line, event_id, timestamp)),
    }
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
    crate::event::write_string(event_id, &mut event);
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
