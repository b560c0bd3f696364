//! Reads the durable part of the segments, in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::buffer;
use crate::journal::file::line_start;
use crate::journal::record;
use crate::journal::segments::{Segment, Segments};

/// Reads the journal of `postgres` storage.
#[derive(Clone, Debug)]
pub struct Reader {
    segments: Arc<Segments>,
}

/// Some records in a row.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Where the last record ends: the position to read from next.
    pub next: u64,
    /// Bytes that should have stood before the first record and are not there: a segment was deleted or cut.
    pub missing: u64,
    bytes: Vec<u8>,
}

/// A record's JSON, or its raw bytes and why they are no record.
pub type Record<'a> = Result<&'a [u8], (&'a [u8], &'static str)>;

impl Chunk {
    /// Each record's JSON, or its raw bytes and why they are no record.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records_by_position().map(|(_, record)| record)
    }

    /// The same with the position at which each ends.
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

    /// How many bytes the records have, with what frames them.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to read yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// See [`Reader::fingerprint`].
    pub fn fingerprint(&self) -> i64 {
        let lines = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let start = memchr::memrchr(b'\n', lines).map_or(0, |at| at + 1);
        fingerprint(&lines[start..])
    }
}

impl Reader {
    pub(in crate::journal) fn new(segments: Arc<Segments>) -> Self {
        Self { segments }
    }

    /// What the journal is called in a database: a UUID.
    pub fn id(&self) -> String {
        self.segments.id()
    }

    /// Gives the journal a new identity. For a copy of a journal that goes its own way.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn renew_id(&self) -> io::Result<()> {
        self.segments.renew_id()
    }

    /// Where the journal's oldest record begins.
    pub fn start(&self) -> u64 {
        self.segments.list().front().map_or(0, |segment| segment.base)
    }

    /// Where the newest durable record ends.
    pub fn end(&self) -> u64 {
        self.segments.end()
    }

    /// Bytes and number of the segments.
    pub fn size(&self) -> (u64, usize) {
        (self.segments.bytes(), self.segments.list().len())
    }

    /// Reads whole records from a position, about `bytes_max` bytes, but at least one record.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn read(&self, position: u64, bytes_max: usize) -> io::Result<Chunk> {
        let mut at = position;
        let (segment, sealed, file, end) = loop {
            let (segment, sealed) = {
                let list = self.segments.list();
                let at = list.partition_point(|segment| segment.end() <= at);
                match list.get(at) {
                    Some(segment) => (*segment, at + 1 < list.len()),
                    None => return Ok(Chunk { next: position, ..Chunk::default() }),
                }
            };
            match self.open(segment)? {
                Some((file, end)) if at < end => break (segment, sealed, file, end),
                // Someone else's hand has taken what was there; the rest must not wait for it.
                _ if sealed => at = segment.end(),
                _ => {
                    let error = "the active segment was deleted or cut by someone else";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        };
        let from = at.max(segment.base);
        let left = (end - from) as usize;
        let mut size = bytes_max.min(left);
        loop {
            let mut bytes = buffer::of(size);
            bytes.resize(size, 0);
            file.read_exact_at(&mut bytes, from - segment.base)?;
            match memchr::memrchr(b'\n', &bytes) {
                Some(last) => bytes.truncate(last + 1),
                // The end of a segment that was cut: what is left of its last record.
                None if size == left && sealed => {}
                None if size == left => {
                    let error = "the active segment does not end with a whole record";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                None => {
                    size = (size * 2).min(left);
                    continue;
                }
            }
            let next = from + bytes.len() as u64;
            return Ok(Chunk { next, missing: from - position, bytes });
        }
    }

    /// A hash of the record that ends at `position`, by which a database recognises the journal
    /// whose position it has: one that was restored, cloned or emptied has another record there, or
    /// none. `None` if no record ends there.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn fingerprint(&self, position: u64) -> io::Result<Option<i64>> {
        let containing = |segment: &&Segment| segment.base < position && position <= segment.end();
        let Some(segment) = self.segments.list().iter().find(containing).copied() else {
            return Ok(None);
        };
        let Some((file, found)) = self.open(segment)?.filter(|(_, found)| position <= *found)
        else {
            return Ok(None);
        };
        let (end, found) = (position - segment.base, found - segment.base);
        let mut last = [0];
        file.read_exact_at(&mut last, end - 1)?;
        if last != *b"\n" {
            // A cut segment's remains were the last record read from it.
            if end != found {
                return Ok(None);
            }
        }
        let text_end = if last == *b"\n" { end - 1 } else { end };
        let start = line_start(&file, text_end)?;
        let mut line = vec![0; (text_end - start) as usize];
        file.read_exact_at(&mut line, start)?;
        Ok(Some(fingerprint(&line)))
    }

    /// How many records stand between two positions. Damaged ones count.
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
                let Some((file, found_end)) = self.open(segment)? else { continue };
                let end = end.min(found_end);
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

    /// Deletes the segments that are no longer needed once everything before `position` is stored.
    ///
    /// # Errors
    /// If a file cannot be deleted; the next call tries again.
    pub fn trim(&self, position: u64) -> io::Result<()> {
        self.segments.trim(position)
    }

    /// The segment's file, and where what it has ends: before the segment's end if someone has cut
    /// it. `None` if someone has deleted it.
    fn open(&self, segment: Segment) -> io::Result<Option<(File, u64)>> {
        let path = self.segments.path(segment.base);
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match File::open(&path) {
            Ok(file) => {
                let len = file.metadata().map_err(named)?.len().min(segment.len);
                Ok(Some((file, segment.base + len)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(error)),
        }
    }
}

fn fingerprint(line: &[u8]) -> i64 {
    xxhash_rust::xxh3::xxh3_64(line).cast_signed()
}
