//! Conditions on the columns of events, and the order of events.

use crate::event::Timestamp;

/// Order of rows, by time where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// A condition on the columns of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition<'q> {
    /// The column has this value.
    Equal(&'static str, &'q str),
    /// The column has one of these values.
    OneOf(&'static str, &'q [String]),
    /// The column has a value.
    NotNull(&'static str),
    /// The event's time compares like this with another time.
    Time(Comparison, Timestamp),
    /// The event is on this side of a boundary.
    Boundary(&'q Boundary),
}

/// How a value compares with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    AtMost,
    AtLeast,
    Greater,
}

impl Comparison {
    /// The same comparison, with equal values included.
    pub(super) fn or_equal(self) -> Self {
        match self {
            Self::Less | Self::AtMost => Self::AtMost,
            Self::Greater | Self::AtLeast => Self::AtLeast,
        }
    }
}

/// One side of a position in the order by time, session and event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Boundary {
    pub(crate) comparison: Comparison,
    pub(crate) timestamp: Timestamp,
    pub(crate) session_id: String,
    /// Without it, all events of the session at that time count as one.
    pub(crate) event_id: Option<String>,
}
