//! What the events of one request have in common.

use std::borrow::Cow;

use crate::event::{TEXT_BYTES_MAX, Timestamp};
use crate::journal::Framing;
use crate::redact::{Redactions, Redactor};

/// The limits and settings with which a request is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Context<'r> {
    /// Time at which the request was received.
    pub received_at: Timestamp,
    /// The framing of journal records.
    pub framing: Framing,
    /// Maximum number of events in one request.
    pub batch_events_max: usize,
    /// Maximum nesting of objects and arrays in `data` and in members that the API does not define.
    pub depth_max: usize,
    /// Name of the sender's API key, if events keep it.
    pub key_name: Option<&'r str>,
    /// Replaces secrets; `None` if redaction is off.
    pub redactor: Option<&'r Redactor>,
}

impl Context<'_> {
    /// Replaces the secrets in a JSON text.
    pub(super) fn redact<'t>(&self, json: &'t str, found: &mut Redactions) -> Cow<'t, str> {
        self.redactor.map_or(Cow::Borrowed(json), |redactor| redactor.json(json, found))
    }

    /// Replaces the secrets in a text of a column.
    pub(super) fn redact_text<'t>(
        &self,
        text: Cow<'t, str>,
        found: &mut Redactions,
    ) -> Cow<'t, str> {
        match self.redacted(&text, found) {
            Some(redacted) => beginning(&redacted, TEXT_BYTES_MAX).to_owned().into(),
            None => text,
        }
    }

    /// Replaces the secrets in an ID. A hash of what was sent follows, because two events or sessions whose IDs
    /// became equal would be taken for one.
    pub(super) fn redact_id<'t>(&self, id: Cow<'t, str>, found: &mut Redactions) -> Cow<'t, str> {
        let Some(redacted) = self.redacted(&id, found) else { return id };
        let hash = format!("-{:032x}", xxhash_rust::xxh3::xxh3_128(id.as_bytes()));
        (beginning(&redacted, TEXT_BYTES_MAX - hash.len()).to_owned() + &hash).into()
    }

    /// Returns the text without its secrets; `None` if it has none.
    fn redacted(&self, text: &str, found: &mut Redactions) -> Option<String> {
        match self.redactor?.plain(text, found) {
            Cow::Owned(redacted) => Some(redacted),
            Cow::Borrowed(_) => None,
        }
    }
}

fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
