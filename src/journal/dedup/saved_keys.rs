//! The keys of a growing file's records, in spans in a file beside it, so that a start need not read
//! the records again.
//!
//! Derived and disposable, and never synced: a span is written after its records are durable and
//! answered, and is trusted only if the file's inode and what stands before the span's end are what
//! they were. Records without a span that fits are read themselves: see [`super::recovery`].
//!
//! When the file has the keys of more than a window, it becomes `.old`, in place of the one before, and a
//! new one is begun: so the two have some 36 MiB at most.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::dedup::window::WINDOW_RECORDS;

/// A span is written once it has so many keys, or its records have so many bytes: what a start after
/// a crash reads at most, some milliseconds' worth. Tests use few records, and want many spans.
const SPAN_KEYS: usize = if cfg!(test) { 4 } else { 4096 };
const SPAN_BYTES: u64 = if cfg!(test) { 32 << 10 } else { 2 << 20 };

/// With fewer of both, reading the records costs as little as a span.
const SPAN_KEYS_MIN: usize = if cfg!(test) { 2 } else { 32 };
const SPAN_BYTES_MIN: u64 = 64 << 10;

/// When the file becomes the old one: its keys fill the window then, with room for spans' heads.
const TURN_BYTES: u64 = if cfg!(test) { 4096 } else { WINDOW_RECORDS as u64 * 16 + (2 << 20) };

/// How many bytes before a span's end are hashed, at most: some small records, or the end of a large one
/// with the time to the microsecond.
const MARK_BYTES: u64 = 4096;

/// A span begins with this, the numbers of [`Head`] in little endian, the CRC-32C of its keys and that of
/// the head up to there. The keys follow, 16 bytes each, in the order of their records.
const MAGIC: &[u8; 8] = b"hookkey1";
const HEAD_BYTES: usize = 64;

/// Which records a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    inode: u64,
    /// Where its first record begins, and where its last one ends.
    from: u64,
    to: u64,
    mark: u64,
    mark_bytes: u32,
    keys: u32,
}

impl Head {
    fn encode(self, keys_checksum: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        let numbers = [self.inode, self.from, self.to, self.mark];
        for (place, number) in bytes[8..40].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.mark_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.keys.to_le_bytes());
        bytes[48..52].copy_from_slice(&keys_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The head and the checksum of its keys; `None` if it is none.
    fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<(Self, u32)> {
        let long = |at| bytes[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let short = |at| bytes[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        if !bytes.starts_with(MAGIC) || short(60)? != crc32c::crc32c(&bytes[..60]) {
            return None;
        }
        let head = Self {
            inode: long(8)?,
            from: long(16)?,
            to: long(24)?,
            mark: long(32)?,
            mark_bytes: short(40)?,
            keys: short(44)?,
        };
        (u64::from(head.mark_bytes) <= MARK_BYTES).then_some((head, short(48)?))
    }
}

/// Records in a row, and their keys in the same order.
#[derive(Debug)]
pub(in crate::journal) struct Span {
    head: Head,
    keys: Vec<u128>,
}

impl Span {
    fn new(inode: u64, from: u64) -> Self {
        let head = Head { inode, from, to: from, mark: 0, mark_bytes: 0, keys: 0 };
        Self { head, keys: Vec::new() }
    }

    /// A span of records that stand in the file already.
    pub(in crate::journal) fn read(
        file: &File,
        inode: u64,
        from: u64,
        to: u64,
        keys: &[u128],
    ) -> io::Result<Self> {
        let mut span = Self::new(inode, from);
        let bytes = (to - from).min(MARK_BYTES);
        let mut end = vec![0; bytes as usize];
        file.read_exact_at(&mut end, to - bytes)?;
        span.extend(to, &end, keys);
        Ok(span)
    }

    /// Adds records that end in those bytes, at `to`.
    fn extend(&mut self, to: u64, records: &[u8], keys: &[u128]) {
        let end = &records[records.len().saturating_sub(MARK_BYTES as usize)..];
        self.head.to = to;
        self.head.mark = xxhash_rust::xxh3::xxh3_64(end);
        self.head.mark_bytes = end.len() as u32;
        self.keys.extend_from_slice(keys);
    }

    fn is_due(&self) -> bool {
        is_due(self.head.to - self.head.from, self.keys.len())
    }
}

/// Whether records of so many bytes and keys make a span.
pub(in crate::journal) fn is_due(bytes: u64, keys: usize) -> bool {
    bytes >= SPAN_BYTES || keys >= SPAN_KEYS
}

/// A span in the file, its keys unread.
#[derive(Debug)]
pub(in crate::journal) struct Saved {
    head: Head,
    keys_checksum: u32,
    file: Arc<File>,
    keys_at: u64,
}

impl Saved {
    /// Where its first record begins.
    pub(in crate::journal) fn from(&self) -> u64 {
        self.head.from
    }

    /// Where its last record ends.
    pub(in crate::journal) fn to(&self) -> u64 {
        self.head.to
    }

    /// Whether this file has the records that the span is about.
    pub(in crate::journal) fn fits(&self, file: &File, inode: u64) -> bool {
        let mut end = vec![0; self.head.mark_bytes as usize];
        let Some(at) = self.head.to.checked_sub(end.len() as u64) else { return false };
        self.head.inode == inode
            && file.read_exact_at(&mut end, at).is_ok()
            && xxhash_rust::xxh3::xxh3_64(&end) == self.head.mark
    }

    /// Its keys; `None` if they are damaged.
    pub(in crate::journal) fn keys(&self) -> Option<Vec<u128>> {
        let mut bytes = vec![0; self.head.keys as usize * 16];
        self.file.read_exact_at(&mut bytes, self.keys_at).ok()?;
        let fit = crc32c::crc32c(&bytes) == self.keys_checksum;
        let keys = bytes.as_chunks::<16>().0.iter().map(|key| u128::from_le_bytes(*key));
        fit.then(|| keys.collect())
    }
}

/// The file of spans, to append to.
#[derive(Debug)]
pub(in crate::journal) struct KeyLog {
    path: PathBuf,
    file: Option<Arc<File>>,
    /// Where the last whole span ends, and the next one is written.
    len: u64,
    /// What is durable, but not in the file yet.
    pending: Span,
    failing: bool,
}

impl KeyLog {
    /// Nothing is opened yet.
    pub(in crate::journal) fn new(path: PathBuf) -> Self {
        Self { path, file: None, len: 0, pending: Span::new(0, 0), failing: false }
    }

    /// Opens the file, making it if need be; returns the spans that are there, in no order. What is
    /// damaged, and what stands behind it, is left out, and will be written over.
    pub(in crate::journal) fn open(&mut self) -> Vec<Saved> {
        let mut saved = Vec::new();
        if let Ok(old) = File::open(self.old_path()) {
            scan(&Arc::new(old), &mut saved);
        }
        match open(&self.path) {
            Ok(file) => {
                let file = Arc::new(file);
                self.len = scan(&file, &mut saved);
                self.file = Some(file);
            }
            Err(error) => self.failed(&error),
        }
        saved
    }

    /// Takes note of records that have become durable: where they begin, and their keys.
    pub(in crate::journal) fn add(&mut self, inode: u64, from: u64, records: &[u8], keys: &[u128]) {
        let head = &self.pending.head;
        if head.inode != inode || head.to != from {
            // Another file, or one that others have changed: what is between can be read there.
            self.save_all();
            self.pending = Span::new(inode, from);
        }
        self.pending.extend(from + records.len() as u64, records, keys);
    }

    /// Writes what was taken note of, if it is enough.
    pub(in crate::journal) fn save(&mut self) {
        if self.pending.is_due() {
            self.save_all();
        }
    }

    /// Writes what was taken note of.
    pub(in crate::journal) fn save_all(&mut self) {
        let Head { inode, to, .. } = self.pending.head;
        let mut pending = std::mem::replace(&mut self.pending, Span::new(inode, to));
        self.write(&pending);
        pending.keys.clear();
        self.pending.keys = pending.keys;
    }

    /// Writes a span, if it is worth it. Where that fails, a start takes longer, and nothing else.
    pub(in crate::journal) fn write(&mut self, span: &Span) {
        let bytes = span.head.to - span.head.from;
        if span.keys.len() < SPAN_KEYS_MIN && bytes < SPAN_BYTES_MIN {
            return;
        }
        match self.try_write(span) {
            Ok(()) => self.failing = false,
            Err(error) => self.failed(&error),
        }
    }

    fn try_write(&mut self, span: &Span) -> io::Result<()> {
        if self.len >= TURN_BYTES {
            match std::fs::rename(&self.path, self.old_path()) {
                // Deleted by someone, as it may be.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            self.file = Some(Arc::new(open(&self.path)?));
            self.len = 0;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend(span.keys.iter().flat_map(|key| key.to_le_bytes()));
        let head = Head { keys: span.keys.len() as u32, ..span.head };
        let keys_checksum = crc32c::crc32c(&bytes[HEAD_BYTES..]);
        bytes[..HEAD_BYTES].copy_from_slice(&head.encode(keys_checksum));
        file.write_all_at(&bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew with an empty file: what it had is kept elsewhere.
    pub(in crate::journal) fn clear(&mut self) {
        self.pending = Span::new(0, 0);
        self.len = 0;
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_len(0)) {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                file = %self.path.display(), %error,
                "cannot be written; the next start will read events instead, and take longer"
            );
        }
    }

    fn old_path(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".old");
        PathBuf::from(name)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Finds the spans of a file; returns where the last whole one ends.
fn scan(file: &Arc<File>, saved: &mut Vec<Saved>) -> u64 {
    let len = file.metadata().map_or(0, |found| found.len());
    let mut at = 0;
    let mut bytes = [0; HEAD_BYTES];
    while file.read_exact_at(&mut bytes, at).is_ok()
        && let Some((head, keys_checksum)) = Head::decode(&bytes)
    {
        let keys_at = at + HEAD_BYTES as u64;
        let end = keys_at + u64::from(head.keys) * 16;
        if end > len {
            break;
        }
        saved.push(Saved { head, keys_checksum, file: file.clone(), keys_at });
        at = end;
    }
    at
}
