//! Reads the durable records of the segments, in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::buffer;
use crate::journal::file::line_start;
use crate::journal::record;
use crate::journal::segments::{Segment, Segments};

/// A reader of the journal of `postgres` storage; clones share the list of segments.
#[derive(Clone, Debug)]
pub struct Reader {
    segments: Arc<Segments>,
}

/// Consecutive records read from the journal.
#[derive(Debug, Default)]
pub struct JournalChunk {
    /// Position after the last record: where the next read starts.
    pub next: u64,
    /// Bytes missing before the first record, because a segment was deleted or truncated by another
    /// program.
    pub missing: u64,
    bytes: Vec<u8>,
}

/// The JSON of a record; if it is damaged, its raw bytes and the reason.
pub type Record<'a> = Result<&'a [u8], (&'a [u8], &'static str)>;

impl JournalChunk {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records_by_position().map(|(_, record)| record)
    }

    /// The records in order, each with the position after it.
    pub fn records_by_position(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let position = self.next - rest.len() as u64;
            Some((position, record::verify(line).map_err(|reason| (line, reason))))
        })
    }

    /// Length of the records in bytes, framing included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns true if there was nothing to read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Fingerprint of the last record; see [`Reader::fingerprint`].
    pub fn fingerprint(&self) -> i64 {
        let lines = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let start = memchr::memrchr(b'\n', lines).map_or(0, |at| at + 1);
        fingerprint(&lines[start..])
    }
}

impl Reader {
    pub(crate) fn new(segments: Arc<Segments>) -> Self {
        Self { segments }
    }

    /// The journal's id in the database, a UUID.
    pub fn id(&self) -> String {
        self.segments.id()
    }

    /// Gives the journal a new id. Needed when it is a copy of a journal that the database knows.
    ///
    /// # Errors
    /// If the id cannot be made durable.
    pub fn renew_id(&self) -> io::Result<()> {
        self.segments.renew_id()
    }

    /// Position of the oldest record.
    pub fn start(&self) -> u64 {
        self.segments.list().front().map_or(0, |segment| segment.base)
    }

    /// Position after the newest durable record.
    pub fn end(&self) -> u64 {
        self.segments.end()
    }

    /// Bytes and number of the segments.
    pub fn size(&self) -> (u64, usize) {
        (self.segments.bytes(), self.segments.list().len())
    }

    /// Reads whole records from a position: about `bytes_max` bytes, at least one record. Blocks.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn read(&self, position: u64, bytes_max: usize) -> io::Result<JournalChunk> {
        let Some(found) = self.find(position)? else {
            return Ok(JournalChunk { next: position, ..JournalChunk::default() });
        };
        let OpenSegment { file, base, end, is_closed } = found;
        let from = position.max(base);
        let available = (end - from) as usize;
        let mut size = bytes_max.min(available);
        loop {
            let mut bytes = buffer::with_capacity(size);
            bytes.resize(size, 0);
            file.read_exact_at(&mut bytes, from - base)?;
            match memchr::memrchr(b'\n', &bytes) {
                Some(last) => bytes.truncate(last + 1),
                // The remains of the last record of a truncated segment.
                None if size == available && is_closed => {}
                None if size == available => {
                    let error = "the active segment does not end with a whole record";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                None => {
                    size = (size * 2).min(available);
                    continue;
                }
            }
            let next = from + bytes.len() as u64;
            return Ok(JournalChunk { next, missing: from - position, bytes });
        }
    }

    /// Opens the segment with the first byte at or after a position; `None` at the end of the journal.
    fn find(&self, position: u64) -> io::Result<Option<OpenSegment>> {
        let mut position = position;
        loop {
            let (segment, is_closed) = {
                let list = self.segments.list();
                let at = list.partition_point(|segment| segment.end() <= position);
                let Some(segment) = list.get(at) else { return Ok(None) };
                (*segment, at + 1 < list.len())
            };
            match self.open(segment)? {
                Some((file, end)) if position < end => {
                    return Ok(Some(OpenSegment { file, base: segment.base, end, is_closed }));
                }
                // Another program deleted or truncated it: skip the missing bytes.
                _ if is_closed => position = segment.end(),
                _ => {
                    let error = "the active segment was deleted or truncated by another program";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// A hash of the record that ends at `position`; `None` if no record ends there. The database
    /// keeps it with the position, to detect a journal that was restored, cloned or emptied: such a
    /// journal has a different record there, or none.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn fingerprint(&self, position: u64) -> io::Result<Option<i64>> {
        let contains = |segment: &&Segment| segment.base < position && position <= segment.end();
        let Some(segment) = self.segments.list().iter().find(contains).copied() else {
            return Ok(None);
        };
        let Some((file, file_end)) = self.open(segment)?.filter(|(_, end)| position <= *end) else {
            return Ok(None);
        };
        let end = position - segment.base;
        let mut last = [0];
        file.read_exact_at(&mut last, end - 1)?;
        let has_line_feed = last == *b"\n";
        // Without a line feed, only the remains of a truncated segment's last record end here.
        if !has_line_feed && position != file_end {
            return Ok(None);
        }
        let text_end = if has_line_feed { end - 1 } else { end };
        let start = line_start(&file, text_end)?;
        let mut line = vec![0; (text_end - start) as usize];
        file.read_exact_at(&mut line, start)?;
        Ok(Some(fingerprint(&line)))
    }

    /// The number of records between two positions, damaged ones included.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn records_between(&self, start: u64, end: u64) -> io::Result<u64> {
        let list: Vec<Segment> = self.segments.list().iter().copied().collect();
        let mut records = 0;
        for segment in list {
            if start <= segment.base && segment.end() <= end && segment.records > 0 {
                records += segment.records;
            } else if start < segment.end() && segment.base < end {
                let Some((file, file_end)) = self.open(segment)? else { continue };
                let end = end.min(file_end);
                let mut at = start.max(segment.base);
                while at < end {
                    let size = (end - at).min(1 << 20);
                    let mut block = vec![0; size as usize];
                    file.read_exact_at(&mut block, at - segment.base)?;
                    records += memchr::memchr_iter(b'\n', &block).count() as u64;
                    at += size;
                }
            }
        }
        Ok(records)
    }

    /// Records that everything before `position` is stored, and deletes segments that are not needed
    /// any more.
    ///
    /// # Errors
    /// If a file cannot be deleted; the next call tries again.
    pub fn delete_delivered(&self, position: u64) -> io::Result<()> {
        self.segments.delete_delivered(position)
    }

    /// Opens a segment's file. Returns it with the position where it ends, which is before the
    /// segment's end if another program has truncated it; `None` if it was deleted.
    fn open(&self, segment: Segment) -> io::Result<Option<(File, u64)>> {
        let path = self.segments.path(segment.base);
        let with_path =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match File::open(&path) {
            Ok(file) => {
                let len = file.metadata().map_err(with_path)?.len().min(segment.len);
                Ok(Some((file, segment.base + len)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(with_path(error)),
        }
    }
}

/// A segment to read from.
struct OpenSegment {
    file: File,
    base: u64,
    /// Position where the file ends.
    end: u64,
    /// True if newer segments exist, so that nothing is appended to this one.
    is_closed: bool,
}

fn fingerprint(line: &[u8]) -> i64 {
    xxhash_rust::xxh3::xxh3_64(line).cast_signed()
}
