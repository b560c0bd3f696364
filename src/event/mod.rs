//! The event: its fields, their limits, and the line it is stored as. No I/O.

pub(crate) mod generated_id;
pub mod line;
mod members;
mod promoted;
pub mod timestamp;

use std::borrow::Cow;

pub use members::{MEMBERS, Member, MemberKind};
pub use promoted::{ColumnKind, PromotedColumn, PromotedColumns, parse_count, parse_measure};
pub use timestamp::Timestamp;
pub(crate) use timestamp::civil;

/// Maximum length of an ID or name in bytes (UTF-8, unescaped): `event_id`, `event_type`, `session_id`,
/// `workflow_id`, `phase_id`, `milestone_id`, and promoted columns. Two of them and a timestamp are far
/// below the 2,704 bytes that PostgreSQL allows for an index entry.
pub const TEXT_BYTES_MAX: usize = 255;

/// A hook event. Borrows from the request body or the stored line where it can.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Identifies the event within its session; 1 to 255 bytes.
    pub event_id: Cow<'a, str>,
    /// What happened; 1 to 255 bytes. Any value is valid.
    pub event_type: Cow<'a, str>,
    /// The session of the agent; 1 to 255 bytes.
    pub session_id: Cow<'a, str>,
    /// Up to 255 bytes.
    pub workflow_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub phase_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub milestone_id: Option<Cow<'a, str>>,
    /// The payload: a JSON object as it was sent, without white space between tokens.
    pub data: Cow<'a, str>,
    /// Time of the event, as the sender gave it; else the time it was received.
    pub timestamp: Timestamp,
    /// Time at which this server received it.
    pub received_at: Timestamp,
    /// Values that are stored beside `data`.
    pub promoted: PromotedColumns<'a>,
    /// A JSON object of the members that the API does not define.
    pub extra: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// Returns the 128-bit key that identifies duplicates: a hash of `session_id` and `event_id`.
    /// It must not change between versions, because journals store it. Two different events have the
    /// same key with a probability of 2^-128. A sender who constructs a collision on purpose can only
    /// suppress an event whose IDs they know, and could as well have sent an event with those IDs.
    pub fn key(&self) -> u128 {
        key(&self.session_id, &self.event_id)
    }
}

/// Returns the key of an event with these IDs; see [`Event::key`].
pub fn key(session_id: &str, event_id: &str) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(&(session_id.len() as u64).to_le_bytes());
    hasher.update(session_id.as_bytes());
    hasher.update(event_id.as_bytes());
    hasher.digest128()
}
