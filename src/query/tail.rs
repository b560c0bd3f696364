//! Events in the order of their arrival.

use super::filter::Filter;
use super::page::{PageQuery, SelectedMembers};

/// Maximum number of events that one query of a tail looks at.
const TAIL_EVENTS_MAX: usize = 500;

/// A query for the events that arrived after a position.
#[derive(Clone, Debug, Default)]
pub struct TailQuery {
    /// Which events.
    pub filter: Filter,
    /// Members of each event in the response.
    pub members: SelectedMembers,
}

impl TailQuery {
    /// The same query as a page, whose limits a chunk has.
    pub(crate) fn into_page(self) -> PageQuery {
        let Self { filter, members } = self;
        PageQuery { members, ..PageQuery::new(filter, TAIL_EVENTS_MAX) }
    }
}

/// A position in the order of arrival, between two events. The store defines its text, which stays valid
/// as long as the events themselves: across restarts, and after the index was built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition(pub(crate) String);

impl StreamPosition {
    /// The position that a client sent. The store rejects an unknown one when it is used.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
