//! The result of decoding a request.

use super::context::Context;
use crate::journal::Batch;
use crate::redact::Redactions;

/// The events of a request, as journal records, and those that were rejected.
#[derive(Debug)]
pub struct Decoded {
    /// The valid events.
    pub batch: Batch,
    /// The invalid events.
    pub rejected: Vec<Rejected>,
    /// The number of secrets replaced in either.
    pub redactions: Redactions,
    /// The number of records that are valid and not stored, such as metrics.
    pub ignored: usize,
}

impl Decoded {
    /// Starts with no events, for a body of this length.
    pub(super) fn new(context: &Context<'_>, body_bytes: usize) -> Self {
        Self {
            // Stored lines are a little longer than the events in the body.
            batch: Batch::new(context.framing, body_bytes + body_bytes / 4 + 256),
            rejected: Vec::new(),
            redactions: Redactions::default(),
            ignored: 0,
        }
    }

    /// A body that could not be decoded, as one rejected event.
    pub fn undecodable(context: &Context<'_>, reason: String, body: &[u8]) -> Self {
        let mut decoded = Self::new(context, 0);
        let original = String::from_utf8_lossy(body).into_owned();
        decoded.reject(context, 0, Invalid::event(reason), original);
        decoded
    }

    /// Adds a rejected event. Its secrets are replaced, too.
    pub(super) fn reject(
        &mut self,
        context: &Context<'_>,
        index: usize,
        mut reason: Invalid,
        mut original: String,
    ) {
        if let Some(redactor) = context.redactor {
            original = redactor.original(&original, &mut self.redactions).into_owned();
            // The reason can quote the event, whose secrets have been counted already.
            let mut again = self.redactions.next();
            let counted = &mut again;
            reason.error = redactor.plain(&reason.error, counted).into_owned();
            reason.field = reason.field.map(|name| redactor.plain(&name, counted).into_owned());
            self.redactions.spend(&again);
        }
        self.rejected.push(Rejected { index, reason, original });
    }
}

/// An event that was not accepted.
#[derive(Debug, PartialEq)]
pub struct Rejected {
    /// Position in the batch, from 0. In NDJSON, blank lines do not count.
    pub index: usize,
    /// Why it was rejected.
    pub reason: Invalid,
    /// The event as it was sent, without its secrets. For a line that is not JSON, the line.
    pub original: String,
}

/// Why an event is invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    /// The field that is invalid, if it is a single one.
    pub field: Option<String>,
    /// A description that follows the field's name: what is wrong, and what is allowed.
    pub error: String,
}

impl Invalid {
    pub(super) fn field(name: &str, error: String) -> Self {
        Self { field: Some(name.to_owned()), error }
    }

    pub(super) fn event(error: String) -> Self {
        Self { field: None, error }
    }
}

/// Why a body as a whole was rejected.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8: invalid byte at offset {at}")]
    NotUtf8 {
        /// The offset of the first invalid byte.
        at: usize,
    },
    /// The body is not JSON, or not of the expected shape.
    #[error("{0}")]
    NotJson(String),
    /// The body has more events than one request may have.
    #[error("the batch has more than {max} events; send it in several requests")]
    TooManyEvents {
        /// The limit, in events.
        max: usize,
    },
}
