//! The keys of a file's newest records: from the spans of its [`KeyLog`] where they fit, from the
//! records themselves where not. What had to be read is saved for the next time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::journal::dedup::saved_keys::{KeyLog, Saved, Span, is_due};

/// How much of a file is read at a time, from its end, since nobody knows where so many lines begin.
const BLOCK_BYTES: u64 = 1 << 20;

/// Reads one file's keys, newest first.
pub(in crate::journal) struct Reading<'a, F> {
    pub(in crate::journal) log: &'a mut KeyLog,
    pub(in crate::journal) saved: &'a [Saved],
    /// The key of a line without its line feed, if it has one.
    pub(in crate::journal) key_of: F,
    pub(in crate::journal) keys_max: usize,
    pub(in crate::journal) newest_first: &'a mut Vec<u128>,
}

impl<F: Fn(&[u8]) -> Option<u128>> Reading<'_, F> {
    /// Adds the keys of this file to those of newer ones, until there are enough.
    pub(in crate::journal) fn read(&mut self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let inode = metadata.ino();
        let mut end = metadata.len();
        let mut saved: Vec<&Saved> = self.saved.iter().collect();
        saved.sort_by_key(|span| std::cmp::Reverse(span.to()));
        for span in saved {
            if self.is_enough() {
                return Ok(());
            }
            if span.from() >= span.to() || span.to() > end || !span.fits(file, inode) {
                continue;
            }
            let Some(keys) = span.keys() else { continue };
            self.read_lines(file, inode, span.to()..end)?;
            let wanted = self.keys_max - self.newest_first.len();
            self.newest_first.extend(keys.into_iter().rev().take(wanted));
            end = span.from();
        }
        self.read_lines(file, inode, 0..end)
    }

    fn is_enough(&self) -> bool {
        self.newest_first.len() >= self.keys_max
    }

    /// Adds the keys of the lines there, from the last to the first.
    fn read_lines(&mut self, file: &File, inode: u64, range: Range<u64>) -> io::Result<()> {
        let mut at = range.end;
        // What `at` is in the middle of, from there on.
        let mut rest_of_line: Vec<u8> = Vec::new();
        // Where the next span ends, and where its keys begin.
        let (mut to, mut newest) = (None, self.newest_first.len());
        let mut block = Vec::new();
        while at > range.start && !self.is_enough() {
            let size = (at - range.start).min(BLOCK_BYTES);
            at -= size;
            block.resize(size as usize, 0);
            file.read_exact_at(&mut block, at)?;
            block.extend_from_slice(&rest_of_line);
            let mut end = block.len();
            for found in memchr::memrchr_iter(b'\n', &block[..size as usize]) {
                let from = at + found as u64 + 1;
                let line = block[found + 1..end].trim_ascii_end();
                end = found;
                let Some(span_to) = to else {
                    // What follows the last line feed is nothing, or a line that may still grow.
                    to = Some(from);
                    if !line.is_empty() {
                        self.newest_first.extend((self.key_of)(line));
                        newest = self.newest_first.len();
                    }
                    continue;
                };
                self.newest_first.extend((self.key_of)(line));
                if self.is_enough() || is_due(span_to - from, self.newest_first.len() - newest) {
                    self.save(file, inode, from..span_to, newest)?;
                    (to, newest) = (Some(from), self.newest_first.len());
                }
                if self.is_enough() {
                    return Ok(());
                }
            }
            block.truncate(end);
            std::mem::swap(&mut block, &mut rest_of_line);
        }
        if range.is_empty() || self.is_enough() {
            return Ok(());
        }
        self.newest_first.extend((self.key_of)(rest_of_line.trim_ascii_end()));
        to.map_or(Ok(()), |to| self.save(file, inode, range.start..to, newest))
    }

    /// Saves the keys from `newest` on, which are those of the lines there.
    fn save(
        &mut self,
        file: &File,
        inode: u64,
        range: Range<u64>,
        newest: usize,
    ) -> io::Result<()> {
        let keys: Vec<u128> = self.newest_first[newest..].iter().rev().copied().collect();
        let span = Span::read(file, inode, range.start, range.end, &keys)?;
        self.log.write(&span);
        Ok(())
    }
}
