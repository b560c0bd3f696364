//! A span: the keys of consecutive records of a file, with a fingerprint of the records they belong to.
//!
//! | bytes | content (numbers are little endian) |
//! |---|---|
//! | 0..8 | `hookkey1` |
//! | 8..16 | inode of the file with the records |
//! | 16..32 | start and end of the records in that file |
//! | 32..40 | XXH3-64 of the last bytes of the records |
//! | 40..48 | how many bytes were hashed, and the number of keys |
//! | 48..52 | CRC-32C of the keys |
//! | 52..60 | zero |
//! | 60..64 | CRC-32C of the bytes before |
//! | 64.. | 16 bytes per key, in the order of the records |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"hookkey1";
const HEADER_BYTES: usize = 64;

/// Maximum number of bytes that are hashed before the end of a span. Covers several small records, or
/// the end of a large one with its timestamps.
const MARK_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    inode: u64,
    start: u64,
    end: u64,
    mark: u64,
    mark_bytes: u32,
    keys: u32,
}

impl Header {
    fn encode(self, keys_checksum: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        let numbers = [self.inode, self.start, self.end, self.mark];
        for (field, number) in bytes[8..40].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.mark_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.keys.to_le_bytes());
        bytes[48..52].copy_from_slice(&keys_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Returns the header and the checksum of the keys; `None` if it is damaged.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<(Self, u32)> {
        let long = |at| bytes[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let short = |at| bytes[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        if !bytes.starts_with(MAGIC) || short(60)? != crc32c::crc32c(&bytes[..60]) {
            return None;
        }
        let header = Self {
            inode: long(8)?,
            start: long(16)?,
            end: long(24)?,
            mark: long(32)?,
            mark_bytes: short(40)?,
            keys: short(44)?,
        };
        (u64::from(header.mark_bytes) <= MARK_BYTES).then_some((header, short(48)?))
    }
}

/// A span in memory, to be written.
#[derive(Debug)]
pub(super) struct KeySpan {
    header: Header,
    keys: Vec<u128>,
}

impl KeySpan {
    /// An empty span at an offset.
    pub(super) fn new(inode: u64, start: u64) -> Self {
        let header = Header { inode, start, end: start, mark: 0, mark_bytes: 0, keys: 0 };
        Self { header, keys: Vec::new() }
    }

    /// The span of records that are already in the file.
    pub(super) fn of_file(
        file: &File,
        inode: u64,
        start: u64,
        end: u64,
        keys: &[u128],
    ) -> io::Result<Self> {
        let mut span = Self::new(inode, start);
        let bytes = (end - start).min(MARK_BYTES);
        let mut last = vec![0; bytes as usize];
        file.read_exact_at(&mut last, end - bytes)?;
        span.extend(end, &last, keys);
        Ok(span)
    }

    /// Adds the keys of records that end with the bytes `last`, at the offset `end`.
    pub(super) fn extend(&mut self, end: u64, last: &[u8], keys: &[u128]) {
        let marked = &last[last.len().saturating_sub(MARK_BYTES as usize)..];
        self.header.end = end;
        self.header.mark = xxhash_rust::xxh3::xxh3_64(marked);
        self.header.mark_bytes = marked.len() as u32;
        self.keys.extend_from_slice(keys);
    }

    /// Empties the span and moves its start to its end. Keeps the capacity for keys.
    pub(super) fn restart(&mut self) {
        self.header.start = self.header.end;
        self.keys.clear();
    }

    pub(super) fn inode(&self) -> u64 {
        self.header.inode
    }

    pub(super) fn end(&self) -> u64 {
        self.header.end
    }

    /// Length of the records.
    pub(super) fn record_bytes(&self) -> u64 {
        self.header.end - self.header.start
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend(self.keys.iter().flat_map(|key| key.to_le_bytes()));
        let header = Header { keys: self.keys.len() as u32, ..self.header };
        let keys_checksum = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode(keys_checksum));
        bytes
    }
}

/// A span on disk, whose keys have not been read.
#[derive(Debug)]
pub(crate) struct SavedSpan {
    header: Header,
    keys_checksum: u32,
    file: Arc<File>,
    keys_offset: u64,
}

impl SavedSpan {
    /// Start of the records.
    pub(super) fn start(&self) -> u64 {
        self.header.start
    }

    /// End of the records.
    pub(super) fn end(&self) -> u64 {
        self.header.end
    }

    /// Returns true if `file` still has the records that the span was made from: the same inode, and
    /// the same bytes before the span's end. The device number is not compared, because it may change
    /// at every boot.
    pub(super) fn matches(&self, file: &File, inode: u64) -> bool {
        let mut last = vec![0; self.header.mark_bytes as usize];
        let Some(at) = self.header.end.checked_sub(last.len() as u64) else { return false };
        self.header.inode == inode
            && file.read_exact_at(&mut last, at).is_ok()
            && xxhash_rust::xxh3::xxh3_64(&last) == self.header.mark
    }

    /// Reads the keys; `None` if they are damaged.
    pub(super) fn keys(&self) -> Option<Vec<u128>> {
        let mut bytes = vec![0; self.header.keys as usize * 16];
        self.file.read_exact_at(&mut bytes, self.keys_offset).ok()?;
        let is_intact = crc32c::crc32c(&bytes) == self.keys_checksum;
        let keys = bytes.as_chunks::<16>().0.iter().map(|key| u128::from_le_bytes(*key));
        is_intact.then(|| keys.collect())
    }
}

/// Reads the headers of a file of spans up to the first damaged one; returns the offset after the last
/// intact span.
pub(super) fn read_headers(file: &Arc<File>, spans: &mut Vec<SavedSpan>) -> u64 {
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let mut at = 0;
    let mut bytes = [0; HEADER_BYTES];
    while file.read_exact_at(&mut bytes, at).is_ok()
        && let Some((header, keys_checksum)) = Header::decode(&bytes)
    {
        let keys_offset = at + HEADER_BYTES as u64;
        let end = keys_offset + u64::from(header.keys) * 16;
        if end > len {
            break;
        }
        spans.push(SavedSpan { header, keys_checksum, file: file.clone(), keys_offset });
        at = end;
    }
    at
}
