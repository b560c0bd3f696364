//! Reads the keys of a file's newest records at start: from saved spans where they match, from the
//! records where they do not. Keys that had to be read from records are saved for the next start.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::saved_keys::{SavedKeys, is_span_due};
use super::span::{KeySpan, SavedSpan};

/// Bytes that are read at a time. Files are read backwards, since the start of the newest million
/// lines is not known.
const BLOCK_BYTES: u64 = 1 << 20;

/// Collects keys, newest first.
pub(crate) struct KeyReader<'a, F> {
    pub(crate) saved_keys: &'a mut SavedKeys,
    pub(crate) spans: &'a [SavedSpan],
    /// Returns the key of a line without its line feed, if it has one.
    pub(crate) key_of: F,
    /// Maximum number of keys.
    pub(crate) keys_max: usize,
    pub(crate) newest_first: &'a mut Vec<u128>,
}

impl<F: Fn(&[u8]) -> Option<u128>> KeyReader<'_, F> {
    /// Adds the keys of a file that is older than those read before, until there are enough.
    pub(crate) fn read(&mut self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let inode = metadata.ino();
        let mut end = metadata.len();
        let mut spans: Vec<&SavedSpan> = self.spans.iter().collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.end()));
        for span in spans {
            if self.is_full() {
                return Ok(());
            }
            let is_before = span.start() < span.end() && span.end() <= end;
            if !is_before || !span.matches(file, inode) {
                continue;
            }
            let Some(keys) = span.keys() else { continue };
            self.read_lines(file, inode, span.end()..end)?;
            let wanted = self.keys_max - self.newest_first.len();
            self.newest_first.extend(keys.into_iter().rev().take(wanted));
            end = span.start();
        }
        self.read_lines(file, inode, 0..end)
    }

    fn is_full(&self) -> bool {
        self.newest_first.len() >= self.keys_max
    }

    /// Adds the keys of the lines in a range of the file, from the last line to the first.
    fn read_lines(&mut self, file: &File, inode: u64, range: Range<u64>) -> io::Result<()> {
        let mut at = range.end;
        // The part after `at` of the line that `at` is in.
        let mut line_end: Vec<u8> = Vec::new();
        // The end of the next span to save, and the index of its first key.
        let (mut span_end, mut span_keys) = (None, self.newest_first.len());
        let mut block = Vec::new();
        while at > range.start && !self.is_full() {
            let size = (at - range.start).min(BLOCK_BYTES);
            at -= size;
            block.resize(size as usize, 0);
            file.read_exact_at(&mut block, at)?;
            block.extend_from_slice(&line_end);
            let mut end = block.len();
            for found in memchr::memrchr_iter(b'\n', &block[..size as usize]) {
                let start = at + found as u64 + 1;
                let line = block[found + 1..end].trim_ascii_end();
                end = found;
                let Some(to) = span_end else {
                    // After the last line feed there is nothing, or a line that may still grow.
                    span_end = Some(start);
                    if !line.is_empty() {
                        self.newest_first.extend((self.key_of)(line));
                        span_keys = self.newest_first.len();
                    }
                    continue;
                };
                self.newest_first.extend((self.key_of)(line));
                let keys = self.newest_first.len() - span_keys;
                if self.is_full() || is_span_due(to - start, keys) {
                    self.save(file, inode, start..to, span_keys)?;
                    (span_end, span_keys) = (Some(start), self.newest_first.len());
                }
                if self.is_full() {
                    return Ok(());
                }
            }
            block.truncate(end);
            std::mem::swap(&mut block, &mut line_end);
        }
        if range.is_empty() || self.is_full() {
            return Ok(());
        }
        self.newest_first.extend((self.key_of)(line_end.trim_ascii_end()));
        span_end.map_or(Ok(()), |to| self.save(file, inode, range.start..to, span_keys))
    }

    /// Saves the keys from the index `first` on, which belong to the lines in a range of the file.
    fn save(&mut self, file: &File, inode: u64, range: Range<u64>, first: usize) -> io::Result<()> {
        let keys: Vec<u128> = self.newest_first[first..].iter().rev().copied().collect();
        self.saved_keys.write(&KeySpan::of_file(file, inode, range.start, range.end, &keys)?);
        Ok(())
    }
}
