//! The lines of a file or of standard input, compressed or not.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use crate::event::Timestamp;

/// Maximum length of a line: the largest body that any server accepts.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Maximum window of zstd: 128 MiB, which is also what its command line accepts by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A file or standard input.
pub(super) struct ImportSource {
    reader: Box<dyn BufRead>,
    /// The latest time at which the events can have happened: the file's modification time, or now.
    pub(super) known_by: Timestamp,
    /// Size, if it is a file.
    pub(super) bytes: Option<u64>,
    read: Rc<Cell<u64>>,
}

/// The next line.
pub(super) enum Next {
    Line,
    /// A line that is too long for any server. It was skipped.
    TooLong,
    End,
}

impl ImportSource {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        if path == Path::new("-") {
            let reader = decompressed(Counting { inner: io::stdin(), read: read.clone() })?;
            return Ok(Self { reader, known_by: Timestamp::now(), bytes: None, read });
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = i64::try_from(modified.as_micros()).ok().and_then(Timestamp::from_micros);
        // Lines that are appended from now on are not read: for a rejected.jsonl, they can be what the
        // server rejects of this import.
        let bytes = if metadata.is_file() { Some(metadata.len()) } else { None };
        let inner = file.take(bytes.unwrap_or(u64::MAX));
        let reader = decompressed(Counting { inner, read: read.clone() })?;
        Ok(Self { reader, known_by: modified.unwrap_or_else(Timestamp::now), bytes, read })
    }

    /// Returns the number of bytes read so far, before decompression.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    /// Reads a line, with its line feed if it has one.
    pub(super) fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<Next> {
        let mut part = |line: &mut Vec<u8>| {
            line.clear();
            self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)
        };
        if part(line)? == 0 {
            return Ok(Next::End);
        }
        let whole = |line: &[u8]| line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        if whole(line) {
            return Ok(Next::Line);
        }
        while !whole(line) {
            part(line)?;
        }
        Ok(Next::TooLong)
    }
}

/// Decompresses gzip (RFC 1952) and zstd (RFC 8878), which are recognized by their first bytes.
fn decompressed(mut input: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut head = Vec::new();
    input.by_ref().take(4).read_to_end(&mut head)?;
    let (gzip, zstd) = (head.starts_with(b"\x1f\x8b"), head == b"\x28\xb5\x2f\xfd");
    let input = BufReader::with_capacity(256 << 10, io::Cursor::new(head).chain(input));
    Ok(if gzip {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input)))
    } else if zstd {
        let mut decoder = zstd::Decoder::with_buffer(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Box::new(BufReader::new(decoder))
    } else {
        Box::new(input)
    })
}

/// Counts the bytes that are read.
struct Counting<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}
