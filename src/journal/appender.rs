//! The two kinds of journal files behind one interface.

use std::io;

use super::KeyOf;
use super::dedup::saved_keys::SavedKeys;
use super::file::WriteError;
use super::jsonl::JsonlAppender;
use super::segments::appender::SegmentAppender;

/// Appends records to the files of a journal and makes them durable.
#[derive(Debug)]
pub(super) enum Appender {
    Jsonl(JsonlAppender),
    Segments(SegmentAppender),
}

impl Appender {
    /// Appends framed records with these keys; returns the end of the journal once they are durable.
    pub(super) fn append(&mut self, records: &[u8], keys: &[u128]) -> Result<u64, WriteError> {
        match self {
            Self::Jsonl(jsonl) => jsonl.append(records, keys),
            Self::Segments(segments) => segments.append(records, keys),
        }
    }

    /// The keys of the newest records, newest first, at most a dedup window.
    pub(super) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        match self {
            Self::Jsonl(jsonl) => jsonl.recent_keys(key_of),
            Self::Segments(segments) => segments.recent_keys(key_of),
        }
    }

    pub(super) fn saved_keys(&mut self) -> &mut SavedKeys {
        match self {
            Self::Jsonl(jsonl) => jsonl.saved_keys(),
            Self::Segments(segments) => segments.saved_keys(),
        }
    }

    /// Position after the newest durable record; always 0 in `jsonl` storage, which has no positions.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Jsonl(_) => 0,
            Self::Segments(segments) => segments.segments().end(),
        }
    }
}
