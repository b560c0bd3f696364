//! What the events of one request have in common.

use std::borrow::Cow;

use crate::event::Timestamp;
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
}
