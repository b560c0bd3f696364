//! A page of events in the order of their time.

use super::condition::{Boundary, Comparison, Order};
use super::filter::Filter;
use super::select::Select;
use crate::event::Timestamp;

/// Maximum number of events that one page of a text search looks at, because no index helps it.
const SEARCH_EVENTS_MAX: usize = 50_000;

/// Maximum number of events that one query looks at. One query for all would exceed the time limit of the
/// store, and delay the deletion of old events.
const QUERY_EVENTS_MAX: usize = 10_000;

/// Sort key of an event, which a page cursor carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// The event's time.
    pub timestamp: Timestamp,
    /// The session's id.
    pub session_id: String,
    /// The event's id.
    pub event_id: String,
}

/// A query for one page of events, or for the rest of a page.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Which events.
    pub filter: Filter,
    /// Order of the events.
    pub order: Order,
    /// Starts after this event.
    pub after: Option<PageKey>,
    /// Maximum number of events.
    pub limit: usize,
    /// Members of each event in the response.
    pub members: SelectedMembers,
    /// Maximum number of further events that a text search looks at.
    pub(crate) search_events: usize,
}

impl PageQuery {
    /// All events on one page.
    pub fn all(filter: Filter) -> Self {
        Self { search_events: usize::MAX, ..Self::new(filter, usize::MAX) }
    }

    /// The first page with all members, in the default order.
    pub fn new(filter: Filter, limit: usize) -> Self {
        Self {
            filter,
            order: Order::default(),
            after: None,
            limit,
            members: SelectedMembers::default(),
            search_events: SEARCH_EVENTS_MAX,
        }
    }

    /// Maximum number of further events to look at.
    pub(super) fn scan_max(&self) -> usize {
        if self.filter.text.is_some() { self.search_events } else { self.limit }
    }

    /// Number of rows that the next query looks at.
    pub(crate) fn rows(&self) -> usize {
        // Of the rows that a text search reads, few are sent.
        let query_max =
            if self.filter.text.is_some() { SEARCH_EVENTS_MAX } else { QUERY_EVENTS_MAX };
        self.scan_max().min(query_max)
    }

    /// Returns whether the payload (`data` and `extra`) has to be read.
    pub(crate) fn needs_data(&self) -> bool {
        self.filter.text.is_some() || self.members.has("data")
    }

    /// The rows of the next query, and one more, which shows that there are more.
    pub(crate) fn select(&self) -> Select {
        let comparison = match self.order {
            Order::Ascending => Comparison::Greater,
            Order::Descending => Comparison::Less,
        };
        let order = ["timestamp", "session_id", "event_id"].map(|column| (column, self.order));
        Select {
            filter: self.filter.clone(),
            boundary: self.after.as_ref().map(|key| Boundary {
                comparison,
                timestamp: key.timestamp,
                session_id: key.session_id.clone(),
                event_id: Some(key.event_id.clone()),
            }),
            order_by: order.to_vec(),
            limit: Some(self.rows() + 1),
            ..Select::default()
        }
    }
}

/// Members of an event that a response has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SelectedMembers {
    /// All members.
    #[default]
    All,
    /// All members except the payload (`data` and `extra`).
    WithoutData,
    /// Only these members.
    Only(Vec<String>),
}

impl SelectedMembers {
    /// Returns whether the response has the member.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::WithoutData => name != "data" && name != "extra",
            Self::Only(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}
